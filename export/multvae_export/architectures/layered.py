"""Architectures that end in a layer with a column for each item: how options reach into their nodes.

``B`` histories, ``L`` their padded length, ``H`` units of the first layer, ``M`` items of a list, ``k`` returned items.
"""

from __future__ import annotations

from abc import abstractmethod

from multvae_export.architectures.base import Architecture, Reasons
from multvae_export.nodes import filters, last_layer, posterior
from multvae_export.nodes.factors import Factors
from multvae_export.nodes.layers import Layer, StoredNetwork
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target


class Layered(Architecture):
    """An architecture in three parts: the first layer, the layers between, and the last.

    Each part writes nodes from the layers as the file stores them, which are computed once.

    Attributes:
        layers: from the one that reads the history to the one that scores the catalogue.
    """

    no_vectors_because = ""
    layers: tuple[Layer, ...]

    @abstractmethod
    def stored(self, target: Target) -> StoredNetwork:
        """The layers as a file stores them."""

    @abstractmethod
    def first(self, network: StoredNetwork) -> Nodes:
        """The nodes from the input, see :meth:`.Architecture.graph`, to ``hidden0``, [B, H]."""

    @abstractmethod
    def middle(self, network: StoredNetwork) -> tuple[Nodes, str]:
        """The nodes from ``hidden0`` to the input of the last layer, and the name of that input."""

    def last(self, network: StoredNetwork, source: str, output: str) -> Nodes:
        """The nodes from the input of the last layer, ``source``, to the scores of all items, [B, C]."""
        return last_layer.last(network.layers[-1], network.target, source, output)

    def listed_scores(self, network: StoredNetwork, source: str, ids: str) -> Nodes:
        """The nodes from the input of the last layer to ``listed_scores`` of some items, int64 [B, M] -> float32 [B, M]."""
        return last_layer.listed_scores(network.layers[-1], network.target, source, ids)

    def graph(self, target: Target, output: str) -> Nodes:
        return self.graph_of(self.stored(target), output)

    def graph_of(self, network: StoredNetwork, output: str) -> Nodes:
        """:meth:`graph` from the stored layers."""
        middle, source = self.middle(network)
        if network.target.options.filters:
            listed, every = self.listed_scores(network, source, "among_item"), self.last(network, source, "every_score")
            scores = filters.chosen(listed, every, self.n_items, output)
        else:
            scores = self.last(network, source, output)
        nodes = self.first(network) + middle + scores
        return posterior.guarded(nodes, network.target, output) if network.target.options.posterior else nodes

    def factors(self) -> Factors:
        """The input of the last layer, and its weights with the biases."""
        network = self.stored(Target())
        middle, source = self.middle(network)
        weight, bias = self.layers[-1]
        return Factors(self.first(network) + middle, source, weight.T, bias)


class LayeredWithReasons(Layered, Reasons):
    """The same with reasons: the parts once more, for every history without each of its items."""

    @abstractmethod
    def without_each_item(self, network: StoredNetwork) -> Nodes:
        """After the nodes of :meth:`first`: ``without_hidden0``, of every history without each of its items, [B * L, H]."""

    def score_drops(self, network: StoredNetwork, source: str, without: str, ids: str) -> Nodes:
        """The nodes to ``score_drop``, by how much each score drops without each item of the history, [B, k, L].

        Args:
            network: the layers as the file stores them.
            source: the input of the last layer for the histories.
            without: its input for the histories without each of their items.
            ids: the returned items, int64 [B, k].
        """
        return last_layer.score_drops(network.layers[-1], network.target, source, without, ids)

    def graph_with_reasons(self, target: Target, output: str, ids: str) -> tuple[Nodes, Nodes]:
        network = self.stored(target)
        return self.graph_of(network, output), self.reasons_of(network, ids)

    def reasons_of(self, network: StoredNetwork, ids: str) -> Nodes:
        """The nodes after the ranking, from the stored layers."""
        middle, source = self.middle(network)
        read = ("hidden0", "variance_hidden0", "noise")
        without = middle.renamed("without_", {name: f"without_{name}" for name in read})
        noise = posterior.noise_without(self.latent_units) if network.target.options.posterior else Nodes()
        return (
            self.without_each_item(network) + noise + without + self.score_drops(network, source, f"without_{source}", ids)
        )
