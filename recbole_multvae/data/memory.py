"""Whether a model whose memory grows with the square of the number of items fits: known once the data are split."""

from __future__ import annotations

from logging import getLogger

from recbole_multvae.errors import TrainingError
from recbole_multvae.hardware import available_memory


def check_memory(model: str, n_items: int, needed: int) -> None:
    """Write down what training will need, and refuse what will not fit.

    Args:
        model: its name.
        n_items: the number of items without the padding item.
        needed: bytes that training takes beside those that are taken now.

    Raises:
        TrainingError: less memory is available.
    """
    there = available_memory()
    if needed > there:
        raise TrainingError(
            f"{model} needs {_gib(needed)} of memory for {n_items:,} items, and {_gib(there)} are available: take a model "
            "whose memory grows with the clicks, such as MultVAE or SparseEDLAE, or leave out rare items, for example with "
            "item_inter_num_interval='[5,inf)'."
        )
    getLogger().info(f"{model} needs {_gib(needed)} of memory for {n_items:,} items; {_gib(there)} are available.")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
