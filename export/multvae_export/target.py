"""What a file is to be: its form, the precision of its weights, and the options that add inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, fields

CONTRACT_VERSION = 1
#: Of a file with options.
OPTIONS_VERSION = 2


@dataclass(frozen=True)
class Options:
    """What a file can do besides ranking, under contract version 2.

    Attributes:
        filters: two more inputs, items never to return and the only items to rank: see :mod:`.nodes.filters`.
        reasons: one more output, what each item of the history adds to each score: see :mod:`.nodes.reasons`.
        posterior: one more input, noise, for a sample of the posterior: see :mod:`.nodes.posterior`.
    """

    filters: bool = False
    reasons: bool = False
    posterior: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The options that are on."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))


#: A file of contract version 1.
NONE = Options()


@dataclass(frozen=True)
class Target:
    """What a file is to be.

    Attributes:
        io: the form of input and output, one of :data:`.graph.forms.FORMS`.
        precision: of the stored weights, one of :data:`.nodes.quantise.PRECISIONS`.
        options: further inputs and outputs.
    """

    io: str = "tokens"
    precision: str = "fp32"
    options: Options = NONE

    @property
    def dense(self) -> bool:
        """Whether the file reads multi-hot rows and returns all scores."""
        return self.io == "dense"

    @property
    def by_users(self) -> bool:
        """Whether the file answers for users by name."""
        return self.io == "users"

    @property
    def ranks(self) -> bool:
        """Whether the file ranks: it has an input ``k`` and returns items."""
        return not self.dense

    @property
    def scaled(self) -> bool:
        """Whether each row of the table has a scale, by which the row's click is multiplied."""
        return self.precision in ("int8", "int4")

    @property
    def by_item(self) -> bool:
        """Whether the last layer's weights are stored item by item, for a graph that reads those of some items."""
        return self.options.filters or self.options.reasons
