"""What architectures have in common that end in a layer with a column for each item: how options reach into their nodes."""

from __future__ import annotations

from abc import abstractmethod

from multvae_export.architectures.base import Architecture
from multvae_export.graph import filters, posterior, reasons
from multvae_export.target import NONE, Options


class Layered(Architecture):
    """An architecture in three parts: the first layer, what comes between, and the last.

    ``B`` histories, ``L`` their padded length, ``H`` units of the first layer, ``M`` items of a list, ``k`` returned items.
    """

    @abstractmethod
    def first(self, io: str, precision: str, options: Options) -> str:
        """The nodes from the input, see :meth:`.Architecture.nodes`, to ``hidden0``, [B, H]."""

    @abstractmethod
    def middle(self, precision: str, options: Options) -> tuple[str, str]:
        """The nodes from ``hidden0`` to what the last layer reads, and the name of this."""

    @abstractmethod
    def last(self, source: str, precision: str, output: str, options: Options) -> str:
        """The nodes from what the last layer reads to the scores of all items, [B, C]."""

    @abstractmethod
    def few(self, source: str, precision: str, ids: str) -> str:
        """The nodes from what the last layer reads to ``few_scores`` of some items, int64 [B, M] -> float32 [B, M]."""

    @abstractmethod
    def without(self, precision: str, options: Options) -> str:
        """The nodes from the first layer's to ``left_hidden0``, of every history without each of its items, [B * L, H]."""

    @abstractmethod
    def raised(self, source: str, left: str, precision: str, ids: str) -> str:
        """The nodes to ``raised``, by how much each item raises each score, [B, k, L].

        Args:
            source: what the last layer reads of the histories.
            left: and of the histories without each of their items.
            precision: of the weights.
            ids: the returned items, int64 [B, k].
        """

    def nodes(self, io: str, precision: str, output: str) -> str:
        """See the base class."""
        return self.scored(io, precision, output, NONE)

    def scored(self, io: str, precision: str, output: str, options: Options) -> str:
        """See the base class."""
        middle, source = self.middle(precision, options)
        nodes = f"{self.first(io, precision, options)}{middle}\n"
        scores = "sampled_scores" if options.posterior else output
        if options.filters:
            last = self.last(source, precision, "every_score", options)
            nodes += filters.chosen(self.few(source, precision, "among_item"), last, scores)
        else:
            nodes += self.last(source, precision, scores, options)
        return nodes + (posterior.guarded(scores, output, io != "dense") if options.posterior else "")

    def reasoned(self, precision: str, ids: str, options: Options) -> str:
        """See the base class."""
        middle, source = self.middle(precision, options)
        read = ("hidden0", "variance_hidden0", "noise")
        left = reasons.renamed(middle, "left_", {name: f"left_{name}" for name in read})
        noise = reasons.NOISE if options.posterior else ""
        begin = self.without(precision, options) + noise + left
        return f"{begin}\n{self.raised(source, f'left_{source}', precision, ids)}"
