r"""RecBole's MacridVAE (Ma et al., NeurIPS 2019): items belong in part to each of K facets, and so does a user's taste.

With h_i an item's vector and m_k a facet's, both of length 1: c_ik = softmax_k(h_i m_k / tau) is how much item i belongs to
facet k. One encoder reads the clicks of each facet, x_i c_ik / ||x||_2; z_k is the mean that it gives, at length 1. Item i
scores log sum_k c_ik exp(z_k h_i / tau), which here is the log-sum-exp of log c_ik + z_k h_i / tau: the sum of exponentials
itself overflows for a small tau.

``B`` histories, ``L`` their padded length, ``C`` items with the padding item, ``K`` facets, ``H`` units, ``D`` of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from string import Template
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from multvae_export.architectures.layered import Layered
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.errors import WeightsError
from multvae_export.graph import last_layer as columns
from multvae_export.graph import layers, reasons
from multvae_export.graph.layers import DENSE_NORM, PRODUCT, SCALED, Layer
from multvae_export.target import Options

#: The clicks of each facet, [B, K, L]; an empty history is divided by 1. The transposition comes before the last factor, as
#: onnxruntime 1.31 fuses it into a product that follows at once, and that product gets a history of length zero wrong.
FROM_ITEMS = Template("""
    click = Cast <to: int = 1> (counts)
    number = ReduceSum <keepdims: int = 1> (click, axis1)
    at_least_one = Max(number, one)
    norm = Sqrt(at_least_one)
    unit = Div(click, norm)$scaling
    unit_row = Unsqueeze($unit, axis1)
    shares = Gather(table_shares, item)
    facet_rows = Transpose <perm: ints = [0, 2, 1]> (shares)
    facet_clicks = Mul(facet_rows, unit_row)
    rows = Gather(table, item)""")
#: The same from a multi-hot row, [B, K, C].
FROM_MULTI_HOT = Template("""$norm$scaling
    unit_row = Unsqueeze($unit, axis1)
    facet_clicks = Mul(unit_row, facet_shares)""")
#: A row for each facet of each history, [B * K, H].
ROWS = """
    flat_sums = Reshape(facet_sums, rows_shape)
    hidden0 = Add(flat_sums, bias0)
"""
UNIT = Template("""
    latent_square = Mul($source, $source)
    latent_sum = ReduceSum <keepdims: int = 1> (latent_square, axis1)
    latent_norm = Sqrt(latent_sum)
    latent_divisor = Max(latent_norm, tiny)
    latent = Div($source, latent_divisor)
""")
FACETS = Template("""
    by_facet = Reshape(products, facets_shape)
    weighted_facets = Add(by_facet, log_shares)
    all_facets = ReduceLogSumExp <keepdims: int = 0> (weighted_facets, axis1)
    $output = Add(all_facets, padding)
""")
#: The scores of some items, [B, M], from their vectors, ``weights`` [B, M, D].
FEW = Template("""
    ${p}latent_shape = Concat <axis: int = 0> (batch_shape, facet_count, last_units)
    ${p}latent = Reshape($source, ${p}latent_shape)
    ${p}latent_columns = Transpose <perm: ints = [0, 2, 1]> (${p}latent)
    ${p}products = MatMul(${p}weights, ${p}latent_columns)
    ${p}shares = Gather(log_shares_by_item, $ids)
    ${p}facets = Add(${p}products, ${p}shares)
    ${p}sums = ReduceLogSumExp <keepdims: int = 0> (${p}facets, axis2)
    ${p}padding = Gather(padding, $ids)
    ${p}scores = Add(${p}sums, ${p}padding)
""")
#: The sums of the facets [B, K, H] without each item of the history: a row for each facet and item, [B * K * L, H]. They
#: were divided by the norm of the clicks, which differs without an item.
WITHOUT = Template("""$scale
    own_column = Unsqueeze($click, axis2)$own
    own_row = Unsqueeze(own, axis1)
    share_column = Unsqueeze(facet_rows, axis3)
    own_facets = Mul(share_column, own_row)
    norm_column = Unsqueeze(norm, axis2)
    whole_sums = Mul(facet_sums, norm_column)
    whole = Unsqueeze(whole_sums, axis2)
    without = Sub(whole, own_facets)
    fewer = Sub(number, click)
    fewer_or_one = Max(fewer, one)
    fewer_norm = Sqrt(fewer_or_one)
    fewer_row = Unsqueeze(fewer_norm, axis1)
    fewer_column = Unsqueeze(fewer_row, axis3)
    without_mean = Div(without, fewer_column)
    without_units = Add(without_mean, bias0)
    left_hidden0 = Reshape(without_units, rows_shape)
""")
#: The sums of returned items with the history, and without each of its items: [B, k] and [B, k, L].
RAISED = Template("""
    left_shape = Concat <axis: int = 0> (batch_shape, minus_one, last_units)
    left_rows = Reshape($left, left_shape)
    left_columns = Transpose <perm: ints = [0, 2, 1]> (left_rows)
    left_products = MatMul(returned_weights, left_columns)
    returned_count = Shape <start: int = 1, end: int = 2> ($ids)
    left_facets_shape = Concat <axis: int = 0> (batch_shape, returned_count, facet_count, length_shape)
    left_by_facet = Reshape <allowzero: int = 1> (left_products, left_facets_shape)
    returned_share_column = Unsqueeze(returned_shares, axis3)
    left_facets = Add(left_by_facet, returned_share_column)
    left_sums = ReduceLogSumExp <keepdims: int = 0> (left_facets, axis2)
    sum_column = Unsqueeze(returned_sums, axis2)
    raised = Sub(sum_column, left_sums)
""")


@dataclass(frozen=True)
class MacridVAE(Layered):
    """MacridVAE.

    Attributes:
        layers: the encoder's, with tanh between them, and the items' vectors over tau, whose bias is 0. The first has a row
            for every item but the padding item, the last a column for each.
        log_shares: log c, [C - 1, K].
    """

    name: ClassVar[str] = "macridvae"
    models: ClassVar[tuple[str, ...]] = ("MacridVAE",)
    rows: ClassVar[str] = "batch_and_facets"
    no_reasons_because: ClassVar[str] = ""

    layers: tuple[Layer, ...]
    log_shares: Tensor

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> MacridVAE:
        """Read the encoder and the vectors. See the base class."""
        tau = checkpoint.config.get("tau")
        if not isinstance(tau, (int, float)) or not 1e-6 < tau < 1e6:
            raise WeightsError(f"the checkpoint says tau={tau!r}, expected a number above 0.")
        items = normalize(checkpoint.tensor("item_embedding.weight", 2)[1:])
        facets = normalize(checkpoint.tensor("k_embedding.weight", 2))
        names = [n.removesuffix(".weight") for n in checkpoint.weights if n.startswith("encoder.") and n.endswith(".weight")]
        found = [(checkpoint.tensor(f"{name}.weight", 2).T, checkpoint.tensor(f"{name}.bias", 1)) for name in names]
        if not found or items.shape[1] != facets.shape[1]:
            raise WeightsError("the checkpoint of MacridVAE has no encoder, or items and facets of different sizes.")
        found[0] = (found[0][0][1:], found[0][1])
        # The first half of what the encoder gives is the mean.
        found[-1] = (found[-1][0][:, : items.shape[1]], found[-1][1][: items.shape[1]])
        found.append((items.T / tau, torch.zeros(len(items))))
        layers.check_sizes(tuple(found))
        return cls(tuple(found), torch.log_softmax(items @ facets.T / tau, dim=1))

    @property
    def n_items(self) -> int:
        """C, the catalogue with the padding item."""
        return len(self.layers[0][0]) + 1

    def logits(self, clicks: Tensor) -> Tensor:
        """See the base class."""
        x = normalize(clicks[:, 1:])[:, None, :] * self.log_shares.exp().T
        for n, (weight, bias) in enumerate(self.layers[:-1]):
            x = (torch.tanh(x) if n else x) @ weight + bias
        products = normalize(x, dim=2) @ self.layers[-1][0] + self.log_shares.T
        return pad(products.logsumexp(dim=1), (1, 0), value=-torch.inf)

    def rounded(self, precision: str) -> MacridVAE:
        """See the base class."""
        return replace(self, layers=layers.rounded(self.layers, precision))

    def first(self, io: str, precision: str, options: Options) -> str:
        """See the base class; ``hidden0`` has a row for each facet of each history."""
        dense = io == "dense"
        scale = "table_scale" if dense else "row_scale"
        scaling = "" if dense or precision not in SCALED else "\n    row_scale = Gather(table_scale, item)"
        scaling += f"\n    scaled = Mul(unit, {scale})" if precision in SCALED else ""
        names = {"scaling": scaling, "unit": "scaled" if scaling else "unit"}
        begin = FROM_MULTI_HOT.substitute(names, norm=DENSE_NORM) if dense else FROM_ITEMS.substitute(names)
        product = PRODUCT[precision].substitute(clicks="facet_clicks", table="table" if dense else "rows", sum="facet_sums")
        return begin + product + ROWS

    def middle(self, precision: str, options: Options) -> tuple[str, str]:
        """See the base class."""
        nodes, source = [], "hidden0"
        for n in range(1, len(self.layers) - 1):
            nodes.append(f"    active{n - 1} = Tanh({source})")
            nodes += layers.hidden(n, f"active{n - 1}", precision)
            source = f"hidden{n}"
        return "\n".join([*nodes, UNIT.substitute(source=source)]), "latent"

    def last(self, source: str, precision: str, output: str, options: Options) -> str:
        """See the base class."""
        end, units = len(self.layers) - 1, self._units(precision)
        products = layers.last(end, source, precision, units, self.n_items, "products", (options.filters or options.reasons))
        return products + FACETS.substitute(output=output)

    def _units(self, precision: str) -> int:
        spare = layers.spare_units(self.layers, precision) if len(self.layers) == 2 else 0
        return self.layers[-1][0].shape[0] + spare

    def few(self, source: str, precision: str, ids: str) -> str:
        """See the base class."""
        weights = columns.columns(len(self.layers) - 1, precision, ids, "few_weights")
        return weights + FEW.substitute(p="few_", source=source, ids=ids)

    def without(self, precision: str, options: Options) -> str:
        """See the base class."""
        scale = "\n    own_click = Mul(click, row_scale)" if precision in SCALED else ""
        return WITHOUT.substitute(own=reasons.OWN[precision], scale=scale, click="own_click" if scale else "click")

    def raised(self, source: str, left: str, precision: str, ids: str) -> str:
        """See the base class. The scores are no linear function of what the last layer reads: they are computed twice."""
        weights = columns.columns(len(self.layers) - 1, precision, ids, "returned_weights")
        return weights + FEW.substitute(p="returned_", source=source, ids=ids) + RAISED.substitute(left=left, ids=ids)

    def constants(self, io: str, precision: str) -> dict[str, Any]:
        """See the base class."""
        values = layers.constants(self.layers, precision) | layers.numbers(io, precision, self.n_items)
        # The padding item's score becomes -inf in the end: nothing is computed with it on the way.
        values[f"bias{len(self.layers) - 1}"][0] = 0
        log_shares = np.pad(self.log_shares.numpy(), ((1, 0), (0, 0)))
        padding = np.zeros(self.n_items, np.float32)
        padding[0] = -np.inf
        return values | {
            "table_shares": np.exp(log_shares),
            "facet_shares": np.exp(log_shares).T,
            "log_shares": log_shares.T,
            "padding": padding,
            "rows_shape": np.array([-1, len(values["bias0"])]),
            "facets_shape": np.array([-1, log_shares.shape[1], self.n_items]),
            "tiny": np.float32(1e-12),
            "axis1": np.array([1]),
            # The clicks of facets have a dimension more than those of a history.
            **({"last_axis": np.array([2])} if precision == "int4" else {}),
        }

    def option_constants(self, values: dict[str, Any], precision: str, options: Options) -> dict[str, Any]:
        """See the base class."""
        return columns.by_item(values, len(self.layers) - 1, precision, self._units(precision)) | {
            "log_shares_by_item": np.pad(self.log_shares.numpy(), ((1, 0), (0, 0))),
            "facet_count": np.array([self.log_shares.shape[1]]),
            "minus_one": np.array([-1]),
            "axis3": np.array([3]),
        }

    def spec(self) -> dict[str, Any]:
        """See the base class."""
        return {"sizes": [self.n_items - 1, *(len(bias) for _, bias in self.layers)], "facets": self.log_shares.shape[1]}
