"""A model as vectors: the files of the folder, and their proof."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from multvae_export.architectures.base import UserModel
from multvae_export.errors import OptionError, UnsupportedModelError
from multvae_export.graph.onnx_file import write
from multvae_export.nodes.factors import Factors
from multvae_export.ranking import multi_hot
from multvae_export.trained_model import Model
from multvae_export.vectors.fold_in import REGULARIZATION, SMALLEST, FoldIn
from multvae_export.vectors.items import ARRAY, TABLE, write_array, write_table
from multvae_export.vectors.proof import check_items, check_products, folded_in, scores_of
from multvae_export.vectors.user_file import VECTORS, history_file, user_file
from multvae_export.verification.checks import check_cuda, check_structure
from multvae_export.verification.exported_file import Case, ExportedFile, cases, user_cases

USER, FOLD_IN = "user.onnx", "fold_in.onnx"
#: What a folder of vectors holds, as patterns: the files, and those of weights that pass 2 GB.
NAMES = (USER, FOLD_IN, ARRAY, TABLE, f"{USER}.*.data", f"{FOLD_IN}.*.data")


@dataclass(frozen=True)
class VectorModel:
    """A model whose scores are inner products.

    Attributes:
        model: the model.
        factors: its two factors.
        fold_in: for users who are not in training, of a model that answers for users by name; else None.
    """

    model: Model
    factors: Factors
    fold_in: FoldIn | None

    @classmethod
    def of(cls, model: Model, regularization: float | None = None) -> VectorModel:
        """The factors of a model; a regularisation of None is the default.

        Raises:
            UnsupportedModelError: its scores are no inner products.
            OptionError: the regularisation is out of range, or of a model without a fold-in.
        """
        if reason := model.architecture.no_vectors_because:
            raise UnsupportedModelError(f"{model.name} cannot be exported with --vectors, because {reason}.")
        factors, by_users = model.architecture.factors(), isinstance(model.architecture, UserModel)
        if regularization is not None and not by_users:
            raise OptionError(
                f"--fold-in-regularization does not fit {model.name}, whose user.onnx reads any history: leave it out."
            )
        if regularization is not None and not SMALLEST <= regularization < math.inf:
            raise OptionError(
                f"--fold-in-regularization={regularization:g} is not allowed: expected a number of {SMALLEST:g} or more."
            )
        strength = REGULARIZATION if regularization is None else regularization
        return cls(model, factors, FoldIn(factors.items, strength) if by_users else None)

    def write(self, folder: Path, opset: int = 18, metadata: Mapping[str, str] | None = None) -> None:
        """Write all files into a folder, with further entries for the metadata of the ONNX files."""
        model, factors, further = self.model, self.factors, metadata or {}
        digest = write_array(folder, factors.vectors)
        own = {"items_sha256": digest, "dimensions": str(factors.dimensions)}
        write_table(folder, model.tokens[1:], factors.vectors, {"item_tokens_sha256": model.token_digest, **own})
        write(user_file(model, factors, opset, further, own), folder / USER)
        if self.fold_in:
            own["fold_in_regularization"] = str(self.fold_in.regularization)
            write(history_file(model, self.fold_in.factors(), opset, further, own), folder / FOLD_IN)

    def checks(
        self, folder: Path, opset: int = 18, atol: float = 1e-4, further: Sequence[Case] = ()
    ) -> Iterator[tuple[str, str]]:
        """The name and the figures of every check of the written files that passes; further histories are tried too.

        Raises:
            VerificationError: a check failed.
        """
        model, rows = self.model, self.factors.vectors
        yield "items", check_items(folder, model.tokens[1:], rows)
        file = ExportedFile(folder / USER, model, VECTORS, opset, atol)
        histories = [*cases(model.n_items), *further]
        requests = user_cases(len(model.architecture.user_tokens), model.n_items) if self.fold_in else histories
        yield "well formed", check_structure(file)
        yield "products equal torch's scores", check_products(file, rows, scores_of(model), requests)
        yield "CUDA kernels", check_cuda(file)
        if self.fold_in:
            file = ExportedFile(folder / FOLD_IN, model, VECTORS, opset, atol)
            yield "fold-in well formed", check_structure(file)
            yield "fold-in equals torch", check_products(file, rows, self._folded_in, histories)
            yield "fold-in finds", folded_in(model, self.fold_in)

    def _folded_in(self, history: Tensor) -> Tensor:
        """The fold-in's scores of histories of item ids, int64 [B, L] -> float32 [B, C]."""
        assert self.fold_in is not None
        return self.fold_in.scores(multi_hot(history, self.model.n_items))
