r"""RecBole's MacridVAE (Ma et al., NeurIPS 2019): items belong in part to each of K facets, and so does a user's taste.

With h_i an item's vector and m_k a facet's, both of length 1: c_ik = softmax_k(h_i m_k / tau) is how much item i belongs to
facet k. One encoder reads the clicks of each facet, x_i c_ik / ||x||_2; z_k is the mean that it gives, at length 1. Item i
scores log sum_k c_ik exp(z_k h_i / tau), which here is the log-sum-exp of log c_ik + z_k h_i / tau: the sum of exponentials
itself overflows for a small tau.

``B`` histories, ``L`` their padded length, ``C`` items with the padding item, ``K`` facets, ``H`` units, ``D`` of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from multvae_export.architectures.layered import LayeredWithReasons
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.errors import WeightsError
from multvae_export.nodes import last_layer, layers, reasons
from multvae_export.nodes.first_layer import click_norm, click_norm_without, product, scaled_clicks, unit_rows
from multvae_export.nodes.layers import Layer, RowsOfNew, StoredLayer, StoredNetwork
from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target


@dataclass(frozen=True)
class MacridVAE(LayeredWithReasons):
    """MacridVAE.

    Attributes:
        layers: the encoder's, with tanh between them, and the items' vectors over tau, whose bias is 0. The first has a row
            for every item but the padding item, the last a column for each.
        log_shares: log c, [C - 1, K].
        shift: a constant for the score of each item, [C - 1]; None without.
    """

    name: ClassVar[str] = "macridvae"
    models: ClassVar[tuple[str, ...]] = ("MacridVAE",)
    rows: ClassVar[str | None] = "batch_and_facets"
    no_vectors_because = "its scores are sums over facets, each with a product of its own"

    layers: tuple[Layer, ...]
    log_shares: Tensor
    shift: Tensor | None = None

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> MacridVAE:
        tau = checkpoint.config.get("tau")
        if not isinstance(tau, (int, float)) or not 1e-6 < tau < 1e6:
            raise WeightsError(f"the checkpoint says tau={tau!r}, expected a number above 0.")
        items = normalize(checkpoint.tensor("item_embedding.weight", 2)[1:])
        facets = normalize(checkpoint.tensor("k_embedding.weight", 2))
        names = [n.removesuffix(".weight") for n in checkpoint.weights if n.startswith("encoder.") and n.endswith(".weight")]
        network = [checkpoint.layer(name) for name in names]
        if not network or items.shape[1] != facets.shape[1]:
            raise WeightsError("the checkpoint of MacridVAE has no encoder, or items and facets of different sizes.")
        network[0] = (network[0][0][1:], network[0][1])
        # The first half of the encoder's outputs is the mean.
        network[-1] = (network[-1][0][:, : items.shape[1]], network[-1][1][: items.shape[1]])
        network.append((items.T / tau, torch.zeros(len(items))))
        layers.check_sizes(tuple(network))
        return cls(tuple(network), torch.log_softmax(items @ facets.T / tau, dim=1))

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return len(self.layers[0][0]) + 1

    def logits(self, clicks: Tensor) -> Tensor:
        x = normalize(clicks[:, 1:])[:, None, :] * self.log_shares.exp().T
        for n, (weight, bias) in enumerate(self.layers[:-1]):
            x = (torch.tanh(x) if n else x) @ weight + bias
        products = normalize(x, dim=2) @ self.layers[-1][0] + self.log_shares.T
        scores = products.logsumexp(dim=1)
        return pad(scores if self.shift is None else scores + self.shift.to(scores), (1, 0), value=-torch.inf)

    def rounded(self, precision: str) -> MacridVAE:
        return replace(self, layers=layers.rounded(self.layers, precision))

    def with_items(self, rows: RowsOfNew) -> MacridVAE:
        """Vectors of new items have the length of the others, and shares that add up to 1."""
        weight, bias = self.layers[-1]
        vectors = normalize(rows(weight.T)) * weight[:, 0].norm()
        log_shares = torch.log_softmax(rows(self.log_shares), dim=1)
        last = torch.cat([weight, vectors.T], dim=1), pad(bias, (0, len(vectors)))
        network = layers.with_rows(self.layers[0], rows), *self.layers[1:-1], last
        return replace(self, layers=network, log_shares=torch.cat([self.log_shares, log_shares]))

    def shifted(self, shift: Tensor) -> MacridVAE:
        return replace(self, shift=shift if self.shift is None else self.shift + shift)

    def stored(self, target: Target) -> StoredNetwork:
        # The padding item's score becomes -inf only at the end: an infinite bias would spoil the sums of exponentials.
        return StoredNetwork(target, layers.store(self.layers, target, padding=0))

    def first(self, network: StoredNetwork) -> Nodes:
        """The first layer for the clicks of each facet; ``hidden0`` has a row for each facet of each history, [B * K, H]."""
        layer, target = network.layers[0], network.target
        clicks = self._facets_of_multi_hot(layer, target) if target.dense else self._facets_of_items(layer, target)
        rows = layer.weight if target.dense else "rows"
        sums = layer.nodes(product(target.precision, "facet_clicks", rows, "facet_sums", axis="axis2").text)
        flat = f"""
    flat_sums = Reshape(facet_sums, facet_rows_shape)
    hidden0 = Add(flat_sums, {layer.bias})
"""
        bias = layer.constants[layer.bias]
        return clicks + sums + Nodes(flat, {layer.bias: bias, "facet_rows_shape": np.array([-1, len(bias)])})

    def _facets_of_items(self, layer: StoredLayer, target: Target) -> Nodes:
        """The nodes from a list of items to ``rows`` of the table and ``facet_clicks``, [B, K, L].

        The transposition comes before the last factor. onnxruntime 1.31 fuses it into a product that follows at once, and
        gets that product wrong for a history of length zero.
        """
        nodes = Nodes("    click = Cast <to: int = 1> (counts)\n") + click_norm() + "    unit_click = Div(click, norm)\n"
        if target.scaled:
            nodes += scaled_clicks(layer, "unit_click")
        text = f"""
    unit_click_row = Unsqueeze({"scaled_click" if target.scaled else "unit_click"}, axis1)
    item_shares = Gather(table_shares, item)
    facet_shares = Transpose <perm: ints = [0, 2, 1]> (item_shares)
    facet_clicks = Mul(facet_shares, unit_click_row)
    rows = Gather({layer.weight}, item)
"""
        return nodes + Nodes(text, {**layer.constants, "table_shares": np.exp(self._padded_log_shares)})

    def _facets_of_multi_hot(self, layer: StoredLayer, target: Target) -> Nodes:
        """The nodes from multi-hot rows to ``facet_clicks``, [B, K, C]."""
        nodes, clicks = unit_rows(self.n_items), "unit_x"
        if target.scaled:
            nodes += layer.nodes(f"    scaled_x = Mul(unit_x, {layer.scale})\n")
            clicks = "scaled_x"
        text = f"""
    x_row = Unsqueeze({clicks}, axis1)
    facet_clicks = Mul(x_row, shares)
"""
        return nodes + Nodes(text, {"shares": np.exp(self._padded_log_shares).T})

    @property
    def _padded_log_shares(self) -> np.ndarray:
        """Log c with a row for the padding item, [C, K]."""
        return np.pad(self.log_shares.numpy(), ((1, 0), (0, 0)))

    @property
    def _padding(self) -> np.ndarray:
        """-inf for the padding item, and the shift of the others, [C]."""
        shift = torch.zeros(self.n_items - 1) if self.shift is None else self.shift
        return pad(shift, (1, 0), value=-torch.inf).numpy()

    def middle(self, network: StoredNetwork) -> tuple[Nodes, str]:
        nodes, source = Nodes(), "hidden0"
        for n, layer in enumerate(network.layers[1:-1], 1):
            nodes += f"    active{n - 1} = Tanh({source})\n"
            source = f"hidden{n}"
            nodes += layers.hidden(layer, f"active{n - 1}", source)
        return nodes + Nodes(f"""
    latent_square = Mul({source}, {source})
    latent_square_sum = ReduceSum <keepdims: int = 1> (latent_square, axis1)
    latent_norm = Sqrt(latent_square_sum)
    latent_divisor = Max(latent_norm, tiny)
    latent = Div({source}, latent_divisor)
"""), "latent"

    def last(self, network: StoredNetwork, source: str, output: str) -> Nodes:
        text = f"""
    facet_products = Reshape(products, facets_shape)
    facet_scores = Add(facet_products, log_shares)
    every_sum = ReduceLogSumExp <keepdims: int = 0> (facet_scores, axis1)
    {output} = Add(every_sum, padding)
"""
        shares = self._padded_log_shares.T
        shape = np.array([-1, len(shares), self.n_items])
        constants = {"facets_shape": shape, "log_shares": shares, "padding": self._padding}
        return super().last(network, source, "products") + Nodes(text, constants)

    def listed_scores(self, network: StoredNetwork, source: str, ids: str) -> Nodes:
        return self._item_scores(network, source, ids, "listed")

    def _item_scores(self, network: StoredNetwork, source: str, ids: str, p: str) -> Nodes:
        """The nodes to the scores of some items, [B, M], from their vectors [B, M, D]; names begin with ``p``."""
        layer = network.layers[-1]
        text = f"""
    {p}_latent_shape = Concat <axis: int = 0> (batch_shape, facet_count, last_units)
    {p}_latent = Reshape({source}, {p}_latent_shape)
    {p}_latent_columns = Transpose <perm: ints = [0, 2, 1]> ({p}_latent)
    {p}_products = MatMul({p}_weights, {p}_latent_columns)
    {p}_shares = Gather(log_shares_by_item, {ids})
    {p}_facet_scores = Add({p}_products, {p}_shares)
    {p}_sums = ReduceLogSumExp <keepdims: int = 0> ({p}_facet_scores, axis2)
    {p}_padding = Gather(padding, {ids})
    {p}_scores = Add({p}_sums, {p}_padding)
"""
        constants = {"log_shares_by_item": self._padded_log_shares, "padding": self._padding, **self._shape_constants(layer)}
        return last_layer.item_weights(layer, network.target, ids, f"{p}_weights") + Nodes(text, constants)

    def _shape_constants(self, layer: StoredLayer) -> dict[str, np.ndarray]:
        return {"facet_count": np.array([self.log_shares.shape[1]]), "last_units": np.array([layer.units])}

    def without_each_item(self, network: StoredNetwork) -> Nodes:
        """A row for each facet and item, [B * K * L, H]. The sums are divided by the norm, which differs without an item."""
        layer, target = network.layers[0], network.target
        nodes, click = Nodes(), "click"
        if target.scaled:
            nodes += "    scaled_plain_click = Mul(click, row_scale)\n"
            click = "scaled_plain_click"
        nodes += reasons.contributions(target, click) + Nodes("""
    contribution_row = Unsqueeze(contribution, axis1)
    share_column = Unsqueeze(facet_shares, axis3)
    facet_contribution = Mul(share_column, contribution_row)
    norm_column = Unsqueeze(norm, axis2)
    undivided_sums = Mul(facet_sums, norm_column)
    undivided_sums_row = Unsqueeze(undivided_sums, axis2)
    sums_without = Sub(undivided_sums_row, facet_contribution)
""")
        text = f"""
    norm_without_row = Unsqueeze(norm_without, axis1)
    norm_without_column = Unsqueeze(norm_without_row, axis3)
    mean_without = Div(sums_without, norm_without_column)
    units_without = Add(mean_without, {layer.bias})
    without_hidden0 = Reshape(units_without, facet_rows_shape)
"""
        bias = layer.constants[layer.bias]
        shape = {"facet_rows_shape": np.array([-1, len(bias)])}
        return nodes + click_norm_without() + Nodes(text, {layer.bias: bias, **shape})

    def score_drops(self, network: StoredNetwork, source: str, without: str, ids: str) -> Nodes:
        """The scores are not linear in z, so they are computed with the whole history and without each item."""
        text = f"""
    without_shape = Concat <axis: int = 0> (batch_shape, flat_shape, last_units)
    without_rows = Reshape({without}, without_shape)
    without_columns = Transpose <perm: ints = [0, 2, 1]> (without_rows)
    products_without = MatMul(returned_weights, without_columns)
    returned_count = Shape <start: int = 1, end: int = 2> ({ids})
    facets_without_shape = Concat <axis: int = 0> (batch_shape, returned_count, facet_count, length_shape)
    facet_products_without = Reshape <allowzero: int = 1> (products_without, facets_without_shape)
    returned_share_column = Unsqueeze(returned_shares, axis3)
    facet_scores_without = Add(facet_products_without, returned_share_column)
    scores_without = ReduceLogSumExp <keepdims: int = 0> (facet_scores_without, axis2)
    returned_sum_column = Unsqueeze(returned_sums, axis2)
    score_drop = Sub(returned_sum_column, scores_without)
"""
        constants = self._shape_constants(network.layers[-1])
        return self._item_scores(network, source, ids, "returned") + Nodes(text, constants)

    def spec(self) -> dict[str, Any]:
        return {"sizes": [self.n_items - 1, *(len(bias) for _, bias in self.layers)], "facets": self.log_shares.shape[1]}
