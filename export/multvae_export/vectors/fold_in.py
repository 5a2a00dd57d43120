"""A vector for a user who is not in training, from a history and the trained vectors of the items.

It solves what iALS solves for a user (Hu, Koren, Volinsky, ICDM 2008, equation 4): the x that minimises

    sum_i c_i (p_i - x . y_i)^2 + lambda |x|^2,    p_i = 1 and c_i = 1 + WEIGHT for items of the history, else 0 and 1

so x = (Y'Y + WEIGHT Y_h'Y_h + lambda I)^-1 (1 + WEIGHT) sum_h y_i, with h the items of the history. The vectors of other
models than iALS have any scale: lambda is a multiple of the mean of the diagonal of Y'Y. The scores are of another scale
than the model's; their order is what counts.

``B`` histories, ``L`` their padded length, ``C`` items of the catalogue with the padding item, ``D`` of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from multvae_export.nodes.factors import Factors
from multvae_export.nodes.nodes import Nodes

#: How much more a clicked item counts than another one, as in the paper; and lambda unless the user says otherwise. With it
#: a fold-in of users in training agrees most with their trained vectors: see benchmarks/README.md.
WEIGHT, REGULARIZATION = 40.0, 10.0
#: With a smaller lambda a system of few items may be singular.
SMALLEST = 1e-6
#: In float64, as a system may be badly conditioned. Inverse is an operator of onnxruntime: ONNX has none for systems.
NODES = Nodes("""
    rows32 = Gather(table_items, item)
    every_row = Cast <to: int = 11> (rows32)
    click = Cast <to: int = 11> (counts)
    click_column = Unsqueeze(click, axis2)
    clicked_rows = Mul(every_row, click_column)
    rows = Pad(clicked_rows, one_more_row)
    columns = Transpose <perm: ints = [0, 2, 1]> (rows)
    products = MatMul(columns, rows)
    weighted_products = Mul(products, click_weight)
    system = Add(weighted_products, common_system)
    inverse = com.microsoft.Inverse(system)
    row_sum = ReduceSum <keepdims: int = 1> (rows, axis1)
    right_side = Mul(row_sum, click_confidence)
    solution_row = MatMul(right_side, inverse)
    solution64 = Squeeze(solution_row, axis1)
    solution = Cast <to: int = 1> (solution64)
""")


@dataclass(frozen=True)
class FoldIn:
    """The fold-in for the vectors of some items.

    Attributes:
        items: [C - 1, D], without the padding item.
        regularization: lambda, as a multiple of the mean of the diagonal of Y'Y.
        weight: how much more a clicked item counts than another one.
    """

    items: Tensor
    regularization: float = REGULARIZATION
    weight: float = WEIGHT

    @property
    def common(self) -> Tensor:
        """Y'Y + lambda I, the part of the system that all users share, float64 [D, D]."""
        products = self.items.T.double() @ self.items.double()
        return products + self.regularization * products.diagonal().mean() * torch.eye(len(products), dtype=torch.float64)

    def scores(self, clicks: Tensor) -> Tensor:
        """The scores of multi-hot rows in torch, float32 [B, C] -> [B, C]; the padding item's is -inf."""
        items, common = self.items.double(), self.common
        histories = [items[row[1:] > 0] for row in clicks]
        systems = torch.stack([common + self.weight * rows.T @ rows for rows in histories])
        right = torch.stack([(1 + self.weight) * rows.sum(0) for rows in histories])
        return pad((torch.linalg.solve(systems, right) @ items.T).float(), (1, 0), value=-torch.inf)

    def factors(self) -> Factors:
        """The nodes from the history to the solution, and the items."""
        constants = {
            "table_items": pad(self.items, (0, 0, 1, 0)).numpy(),
            "common_system": self.common.numpy(),
            # A row of zeros: onnxruntime's MatMul leaves its result as the memory was where there is nothing to add up.
            "one_more_row": np.array([0, 0, 0, 0, 1, 0]),
            "click_weight": np.float64(self.weight),
            "click_confidence": np.float64(1 + self.weight),
        }
        return Factors(Nodes(NODES.text, constants), "solution", self.items, None)
