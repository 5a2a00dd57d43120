"""The options of an export that add inputs and outputs, under contract version 2: what they are, and which go together."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from multvae_export.errors import OptionError

if TYPE_CHECKING:
    from multvae_export.trained_model import Model


@dataclass(frozen=True)
class Options:
    """What a file can do besides ranking.

    Attributes:
        filters: two more inputs, items never to return and items to rank alone: see :mod:`.filters`.
        reasons: one more output, what each item of the history adds to each score: see :mod:`.reasons`.
        posterior: one more input, noise, for a sample of the posterior: see :mod:`.posterior`.
    """

    filters: bool = False
    reasons: bool = False
    posterior: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are on."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))

    @property
    def by_item(self) -> bool:
        """Whether the weights of the last layer lie together for each item, for a graph that reads those of some items."""
        return self.filters or self.reasons

    def check(self, model: Model, io: str) -> None:
        """Refuse what has no meaning.

        Raises:
            OptionError: names the option, and why it does not fit.
        """
        if self.filters and io == "dense":
            raise OptionError("--filters does not fit --io=dense, which ranks nothing: its caller leaves out what it likes.")
        if self.reasons and io in ("dense", "users"):
            raise OptionError(f"--reasons does not fit --io={io}: expected tokens or ids, whose history has items to name.")
        if self.reasons and model.architecture.no_reasons_because:
            raise OptionError(f"--reasons does not fit {model.name}, because {model.architecture.no_reasons_because}.")
        if self.posterior and not model.architecture.latent_units:
            raise OptionError(
                f"--posterior does not fit {model.name}, which has none that is exported: expected MultVAE, MultiVAE or "
                "RecVAE."
            )


#: A file of contract version 1.
NONE = Options()
