"""A written file beside its model: the requests that prove it, the answers of the file, and torch's answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from multvae_export.architectures.base import HistoryModel, Posterior
from multvae_export.errors import VerificationError
from multvae_export.ranking import best, multi_hot
from multvae_export.target import Target
from multvae_export.trained_model import Model

#: A file in fewer bits also rounds the inputs of its products. This may move a score by this share of the range of the
#: history's scores; 0.4 % was measured.
ROUNDING = 0.01
#: Where all scores of a history are small, --atol says nothing about their order: then this share of the largest is allowed.
SMALL_SCORES = 0.001


@dataclass(frozen=True)
class Case:
    """A batch of requests, and how many items to ask for.

    Attributes:
        name: what is special about it.
        history: RecBole item ids, int64 [B, L], or user ids, [B]; 0 pads, -1 is an unknown one.
        k: how many items.
        exclude: for a file with filters, item ids, int64 [B or 1, M]; None excludes nothing.
        among: likewise; None ranks all items.
        noise: for a file with a posterior, float32 [B, K]; None for zeros.
    """

    name: str
    history: np.ndarray
    k: int
    exclude: np.ndarray | None = None
    among: np.ndarray | None = None
    noise: np.ndarray | None = None


def cases(n_items: int, longest: int | None = None) -> Iterator[Case]:
    """Histories of every kind, and several batch sizes. Seeded: the same histories at every call.

    Args:
        n_items: C, the catalogue with the padding item.
        longest: the longest history to try; by default half the catalogue, at most 2,000.
    """
    rng = np.random.default_rng(0)
    longest = min(2000, max(1, (n_items - 1) // 2)) if longest is None else longest

    def some(rows: int, length: int) -> np.ndarray:
        return rng.integers(1, n_items, (rows, length))

    yield Case("empty history", np.zeros((1, 1), np.int64), 10)
    yield Case("history of length zero", np.zeros((2, 0), np.int64), 10)
    yield Case("one item", some(1, 1), 10)
    yield Case("longest history", rng.permutation(np.arange(1, n_items))[None, :longest], 10)
    yield Case("repeated items", np.repeat(some(2, 5), 3, axis=1), 10)
    yield Case("unknown and padded items", np.where(rng.random((4, 20)) < 0.5, some(4, 20), [[-1, 0] * 10]), 10)
    yield Case("whole catalogue seen", np.arange(1, n_items)[None], 3)
    for batch in (2, 7, 64):
        yield Case(f"batch of {batch}", np.where(rng.random((batch, 30)) < 0.7, some(batch, 30), 0), 20)
    yield Case("k = 1", some(3, 10), 1)
    yield Case("k = all", some(2, 10), n_items - 1)
    yield Case("k above the catalogue", some(2, 10), n_items + 5)


def user_cases(n_users: int, n_items: int) -> Iterator[Case]:
    """Users of every kind, and all of them in batches; U users and C items with padding. Seeded, as above."""
    rng = np.random.default_rng(0)
    all_users = np.arange(1, n_users)
    yield Case("unknown user", np.array([-1]), 10)
    yield Case("empty token", np.array([0]), 10)
    yield Case("one user", all_users[:1], 10)
    yield Case("known and unknown users", np.where(rng.random(20) < 0.5, rng.integers(1, n_users, 20), [-1, 0] * 10), 10)
    yield Case("the same user twice", np.repeat(all_users[-1:], 2), 20)
    for start in range(0, n_users - 1, 256):
        yield Case("every user", all_users[start : start + 256], 20)
    yield Case("k = 1", rng.integers(1, n_users, 3), 1)
    yield Case("k = all", rng.integers(1, n_users, 2), n_items - 1)
    yield Case("k above the catalogue", rng.integers(1, n_users, 2), n_items + 5)


class ExportedFile:
    """An exported file in a session of onnxruntime, beside the model it was made from.

    Args:
        path: the file.
        model: the model that it was made from.
        target: the form, the precision and the options of the file.
        opset: the opset that it was written in.
        atol: the largest allowed difference of a score from torch's.
        default_k: whether ``k`` has a value in the file. Requests then give none.

    Attributes:
        stored: the model with the weights that the file stores.

    Raises:
        VerificationError: onnxruntime cannot open it.
    """

    def __init__(self, path: Path, model: Model, target: Target, opset: int, atol: float, default_k: bool = False) -> None:
        self.path, self.model, self.target, self.opset, self.atol = path, model, target, opset, atol
        self.stored = model.architecture if target.precision == "fp32" else model.architecture.rounded(target.precision)
        self._default_k, options = default_k, onnxruntime.SessionOptions()
        if default_k:  # onnxruntime warns that k is no constant. All else it could warn of was there before k had a value.
            options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own.
            raise VerificationError(f"onnxruntime cannot open the file: {error}") from error
        self.proto = onnx.load(path, load_external_data=False)
        self.request_tokens = _tokens_by_id(model.architecture.user_tokens or model.tokens)
        self.item_tokens = _tokens_by_id(model.tokens)
        self.ids = {token: n for n, token in enumerate(("", *model.tokens[1:]))}

    def cases(self) -> Iterator[Case]:
        """The requests that the file is proved on."""
        users = self.model.architecture.user_tokens
        return user_cases(len(users), self.model.n_items) if self.target.by_users else cases(self.model.n_items)

    def run(self, case: Case) -> tuple[np.ndarray, ...]:
        """Item ids [B, k] and scores [B, k] of a case; for the dense form all ids in order and their scores, [B, C].

        A file with reasons gives them too, [B, k, L].
        """
        feed = self._option_inputs(case)
        if self.target.dense:
            feed["x"] = multi_hot(torch.from_numpy(case.history), self.model.n_items).numpy()
            (scores,) = self._answer(case, feed)
            return np.broadcast_to(np.arange(scores.shape[1]), scores.shape), scores
        request = case.history if self.target.io == "ids" else self.request_tokens[case.history]
        name = "user" if self.target.by_users else "history"
        feed |= {name: request} if self._default_k else {name: request, "k": np.array([case.k])}
        items, *rest = self._answer(case, feed)
        if self.target.io != "ids":
            items = np.array([self.ids[token] for token in items.flat], np.int64).reshape(items.shape)
        return items, *rest

    def _option_inputs(self, case: Case) -> dict[str, np.ndarray]:
        """The values of the inputs that options add."""
        feed: dict[str, np.ndarray] = {}
        if self.target.options.filters:
            for name, items in (("exclude", case.exclude), ("among", case.among)):
                ids = np.zeros((1, 0), np.int64) if items is None else items
                feed[name] = ids if self.target.io == "ids" else self.item_tokens[ids]
        if self.target.options.posterior:
            zeros = np.zeros((len(case.history), self.model.architecture.latent_units), np.float32)
            feed["noise"] = zeros if case.noise is None else case.noise
        return feed

    def _answer(self, case: Case, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return self.session.run(None, feed)
        except Exception as error:  # As in __init__.
            raise VerificationError(f"{case.name}: onnxruntime cannot run the file: {error}") from error

    def expected(self, case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Torch's item ids [B, k] and scores [B, k], and the scores of all items with the seen ones at -inf, [B, C]."""
        if self.target.dense:
            logits = self.logits(case.history, case.noise).numpy()
            return np.broadcast_to(np.arange(self.model.n_items), logits.shape), logits, logits
        all_scores = self.unfiltered(case)
        if case.exclude is not None:
            all_scores = all_scores.masked_fill(self._is_listed(case.exclude), -torch.inf)
        if case.among is not None:
            all_scores = all_scores.masked_fill(~self._is_listed(case.among), -torch.inf)
        items, scores = best(all_scores, case.k)
        return items.numpy(), scores.numpy(), all_scores.numpy()

    def unfiltered(self, case: Case) -> Tensor:
        """The scores of all items with the seen ones at -inf, whatever is excluded, [B, C]."""
        history = torch.from_numpy(case.history)
        if case.noise is None:
            return self.stored.answer(history)
        return self.logits(case.history, case.noise).masked_fill(multi_hot(history, self.model.n_items) > 0, -torch.inf)

    def logits(self, history: np.ndarray, noise: np.ndarray | None) -> Tensor:
        """Torch's scores of all items, [B, C], with the weights that the file stores."""
        clicks = multi_hot(torch.from_numpy(history), self.model.n_items)
        if noise is None:
            assert isinstance(self.stored, HistoryModel)
            return self.stored.logits(clicks)
        assert isinstance(self.stored, Posterior)
        return self.stored.sampled(clicks, torch.from_numpy(noise))

    def _is_listed(self, items: np.ndarray) -> Tensor:
        return multi_hot(torch.from_numpy(items), self.model.n_items) > 0

    def tolerance(self, case: Case, all_scores: np.ndarray) -> np.ndarray:
        """How far a score of a case may be from torch's, [B, C] -> [B, 1]."""
        finite = np.isfinite(all_scores)
        if self.target.precision == "fp32":
            largest = np.abs(all_scores).max(axis=1, initial=0, where=finite)
            return np.minimum(self.atol, SMALL_SCORES * largest)[:, None]
        spans = _spans(all_scores, finite)
        if isinstance(self.stored, HistoryModel):
            # A file rounds the terms of a sum one by one, and their ranges may cancel out.
            clicks = multi_hot(torch.from_numpy(case.history), self.model.n_items)
            terms = [_spans(term.numpy(), finite) for term in self.stored.terms(clicks)]
            spans = np.maximum(spans, np.sum(terms, axis=0))
        return np.maximum(self.atol, ROUNDING * spans)[:, None]


def _spans(scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The range of the scores that count in each row, [B, C] -> [B]; 0 where none does."""
    return np.array([np.ptp(row[mask]) if mask.any() else 0 for row, mask in zip(scores, counts, strict=True)])


def _tokens_by_id(tokens: tuple[str, ...]) -> np.ndarray:
    """The tokens that stand for ids in a request: the first is padding; the last, at index -1, is an unknown token."""
    return np.array(["", *tokens[1:], "an unknown token \N{BALLOT X}"], dtype=object)
