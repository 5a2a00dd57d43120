"""timed_run.py for ``precision: bf16``: on a processor without bf16, products get the results that they have with it.

quality.py starts this in a process of its own. Products are computed in float32, of bf16 numbers, and rounded to bf16.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import timed_run
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class RoundedProducts(TorchDispatchMode):
    """bf16 products as a processor without bf16 can compute them quickly."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in (torch.ops.aten.mm.default, torch.ops.aten.addmm.out) or args[0].dtype != torch.bfloat16:
            return func(*args, **kwargs)
        *_, left, right = (tensor.float() for tensor in args)
        product = (left @ right) + (args[0].float() if len(args) == 3 else 0)
        return kwargs["out"].copy_(product) if "out" in kwargs else product.bfloat16()


def main() -> None:
    """Train as the first argument describes. See timed_run.py."""
    from recbole_multvae.hardware import has_bf16

    with nullcontext() if has_bf16(torch.device("cpu")) else RoundedProducts():
        timed_run.main()


if __name__ == "__main__":
    main()
