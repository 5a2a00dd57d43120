"""The clients' golden file: a small fixed model, and its answers in every special case of the contract.

    python -m multvae_export.golden export/clients

writes ``golden.onnx``, the same model with all options in ``golden.options.onnx``, that with ids for tokens in
``golden.ids.onnx``, and ``golden.json``. The expected answers are torch's, not onnxruntime's. In the JSON, null stands
for a score of -inf and for noise of NaN, and ``""`` or 0 for the padding item. ``golden.damaged.onnx`` is the first of these
files with another bit in its weights: the JSON has its digest, which is not the one that its metadata have.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from multvae_export.architectures import Architecture
from multvae_export.architectures.auto_encoder import AutoEncoder, usual_activations
from multvae_export.architectures.base import Posterior
from multvae_export.graph.onnx_file import to_onnx, write
from multvae_export.graph.weights_digest import weights_digest
from multvae_export.ranking import best, multi_hot
from multvae_export.target import CONTRACT_VERSION, OPTIONS_VERSION, Options, Target
from multvae_export.trained_model import Model

#: The ids that stand for tokens that the model does not know, in the file with ids.
UNKNOWN = {"nobody": 9, "nothing": -1, "7 ": 2**40, "[PAD]": -(2**40), "\U0001f3ac": 10}
TOKENS = ("[PAD]", "7", "42", "caf\u00e9", "\u65e5\u672c", "a b", "007", "x,y", "9" * 20)

CASES: tuple[tuple[str, list[list[str]], int], ...] = (
    ("one item", [["42"]], 3),
    ("several items", [["7", "a b", "007"]], 3),
    ("order does not matter", [["007", "7", "a b"]], 3),
    ("a repeated item counts once", [["7", "7", "a b", "007", "007", "7"]], 3),
    ("padding is ignored", [["7", "", "a b", "", "007", ""]], 3),
    ("unknown items are ignored", [["nobody", "7", "[PAD]", "a b", "007", "7 ", "\U0001f3ac"]], 3),
    ("an empty history gets the prior ranking", [[""]], 8),
    ("only unknown items are an empty history", [["nobody", "nothing"]], 8),
    ("a history of length zero", [[]], 2),
    ("a batch of different lengths", [["42", "", ""], ["7", "a b", "007"], ["", "", ""]], 4),
    ("k is one", [["caf\u00e9"]], 1),
    ("k above the catalogue is clamped", [["\u65e5\u672c"]], 100),
    ("fewer unseen items than k", [["7", "42", "caf\u00e9", "\u65e5\u672c", "a b", "007"]], 5),
    ("everything is seen", [list(TOKENS[1:])], 3),
)

#: Cases of the file with options, besides the golden cases: a history, k, and the inputs that options add.
OPTION_CASES: tuple[tuple[str, list[list[str]], int, dict[str, Any]], ...] = (
    ("no options", [["7", "a b"]], 4, {}),
    ("excluded items are not returned", [["7", "a b"]], 4, {"exclude": [["007", "42"]]}),
    ("an excluded item of the history still counts", [["7", "a b"]], 4, {"exclude": [["7"]]}),
    ("padding, unknown and repeated items are excluded once", [["7"]], 4, {"exclude": [["007", "", "nobody", "007"]]}),
    ("everything is excluded", [["7"]], 3, {"exclude": [list(TOKENS[1:])]}),
    ("one list for all rows", [["7", ""], ["42", "a b"]], 3, {"exclude": [["007"]], "among": [["007", "7", "x,y"]]}),
    ("a list for each row", [["7"], ["42"]], 3, {"exclude": [["007"], [""]], "among": [["007", "42"], ["7", ""]]}),
    ("among one item", [["7", "a b"]], 3, {"among": [["x,y"]]}),
    ("among the whole catalogue", [["7", "a b"]], 3, {"among": [list(TOKENS[:0:-1])]}),
    ("among padding, unknown and repeated items", [["7"]], 5, {"among": [["", "42", "nobody", "42", "007"]]}),
    ("among nothing that is known", [["7"]], 2, {"among": [["nobody", ""]]}),
    ("among the history", [["7", "a b"]], 2, {"among": [["7", "a b"]]}),
    ("equal scores among few items", [["7"]], 2, {"among": [[TOKENS[-1], TOKENS[-2]]]}),
    ("reasons of one item", [["42"]], 2, {}),
    ("reasons of padding, unknown and repeated items are 0", [["42", "", "nobody", "7", "42"]], 3, {}),
    ("an empty history has no reasons", [[""]], 2, {}),
    ("noise", [["7", "a b"]], 4, {"noise": [[0.5, -1.0, 2.0]]}),
    ("noise for each row", [["7"], ["7"], ["42"]], 3, {"noise": [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, -2.0, 1.5]]}),
    ("noise that is not a number gets no item", [["7"], ["7"]], 2, {"noise": [[None, 0.0, 0.0], [0.0, 0.0, 0.0]]}),
    (
        "all options",
        [["7", "a b", "007"]],
        3,
        {"exclude": [["42"]], "among": [["x,y", "42", "7"]], "noise": [[1.0, 1.0, 1.0]]},
    ),
)


def model() -> Model:
    """Eight items and fixed weights; the last two items are equal, so that they always tie."""

    def wave(rows: int, columns: int, phase: float) -> torch.Tensor:
        return 2 * torch.sin(torch.arange(rows * columns, dtype=torch.float32) * 2.3 + phase).reshape(rows, columns)

    n = len(TOKENS) - 1
    output, bias = wave(4, n, 2.0), wave(1, n, 3.0)[0]
    output[:, -1], bias[-1] = output[:, -2], bias[-2]
    encoder = (wave(n, 4, 0.0), wave(1, 4, 0.5)[0]), (wave(4, 3, 1.0), wave(1, 3, 1.5)[0])
    decoder = (wave(3, 4, 4.0), wave(1, 4, 4.5)[0]), (output, bias)
    activations, log_variance = usual_activations(4, 2, latent_tanh=False), (wave(4, 3, 5.0) / 4, wave(1, 3, 5.5)[0] / 4)
    network = AutoEncoder((*encoder, *decoder), activations, norm=True, latent=2, log_variance=log_variance)
    return Model("MultVAE", network, TOKENS, "golden", {})


def cases(golden: Model) -> list[dict[str, Any]]:
    """The cases with the answers of the torch reference, of a model with :data:`TOKENS`."""
    return [
        {"name": name, "history": history, "k": k, **_ranking(golden.architecture.answer(_ids(history)), k)}
        for name, history, k in CASES
    ]


def option_cases(golden: Model) -> list[dict[str, Any]]:
    """The cases of a file with all options, with the answers of the torch reference, of a model with :data:`TOKENS`."""
    return [_option_case(golden.architecture, *case) for case in OPTION_CASES]


def id_cases(golden: Model) -> list[dict[str, Any]]:
    """All cases of a file with all options whose items are ids, with the answers of the torch reference."""
    plain = (_option_case(golden.architecture, *case, {}) for case in CASES)
    return [_with_ids(case) for case in (*plain, *option_cases(golden))]


def _with_ids(case: dict[str, Any]) -> dict[str, Any]:
    ids = {"": 0, **UNKNOWN, **{token: n for n, token in enumerate(TOKENS) if n}}
    lists = ("history", "exclude", "among", "items")
    return case | {name: [[ids[token] for token in row] for row in case[name]] for name in lists if name in case}


def _option_case(
    architecture: Architecture, name: str, history: list[list[str]], k: int, options: dict[str, Any]
) -> dict[str, Any]:
    rows = _ids(history)
    assert isinstance(architecture, Posterior)
    noise = torch.zeros(len(rows), architecture.latent_units)
    if "noise" in options:
        noise = torch.tensor([[torch.nan if part is None else part for part in row] for row in options["noise"]])

    def scores(histories: torch.Tensor) -> torch.Tensor:
        return architecture.sampled(multi_hot(histories, len(TOKENS)), noise).nan_to_num(-torch.inf, neginf=-torch.inf)

    masked = scores(rows).masked_fill(_is_listed(rows), -torch.inf)
    if "exclude" in options:
        masked = masked.masked_fill(_is_listed(_ids(options["exclude"])), -torch.inf)
    if "among" in options:
        masked = masked.masked_fill(~_is_listed(_ids(options["among"])), -torch.inf)
    items = best(masked, k)[0]
    reasons = torch.zeros(*items.shape, rows.shape[1])
    for position in range(rows.shape[1]):
        item = rows[:, position : position + 1]
        gap = (scores(rows) - scores(rows.masked_fill(rows == item, 0))).gather(1, items)
        # Of a repeated item the last position has the reason.
        counts = (item > 0) & ~(rows[:, position + 1 :] == item).any(dim=1, keepdim=True)
        reasons[:, :, position] = gap.masked_fill(~counts | (items == 0), 0)
    answer = _ranking(masked, k) | {
        "reasons": [[[round(part, 6) for part in row] for row in rows] for rows in reasons.tolist()]
    }
    return {"name": name, "history": history, "k": k, **options, **answer}


def _ids(histories: list[list[str]]) -> torch.Tensor:
    ids = {token: n for n, token in enumerate(TOKENS) if n}
    return torch.tensor([[ids.get(token, 0) for token in row] for row in histories], dtype=torch.long)


def _is_listed(rows: torch.Tensor) -> torch.Tensor:
    return multi_hot(rows, len(TOKENS)) > 0


def _ranking(scores: torch.Tensor, k: int) -> dict[str, Any]:
    items, best_scores = best(scores, k)
    return {
        "items": [[TOKENS[item] if item else "" for item in row] for row in items.tolist()],
        "scores": [[None if score == -torch.inf else round(score, 6) for score in row] for row in best_scores.tolist()],
    }


def damage(path: Path, damaged: Path, weights: bytes) -> None:
    """Write a copy of a file in which the last of these weights, float32, has another sign."""
    content = bytearray(path.read_bytes())
    content[content.index(weights) + len(weights) - 1] ^= 0x80
    damaged.write_bytes(content)


def main(folder: str) -> None:
    """Write the files into a folder."""
    write(plain := to_onnx(model(), Target()), whole := Path(folder) / "golden.onnx")
    largest = max((tensor.raw_data for tensor in plain.graph.initializer), key=len)
    damage(whole, damaged := Path(folder) / "golden.damaged.onnx", largest)
    options = Options(filters=True, reasons=True, posterior=True)
    write(to_onnx(model(), Target(options=options)), Path(folder) / "golden.options.onnx")
    write(to_onnx(model(), Target("ids", options=options)), Path(folder) / "golden.ids.onnx")
    golden = {
        "contract_version": CONTRACT_VERSION,
        "model": "golden.onnx",
        "tolerance": 1e-4,
        "cases": cases(model()),
        "options": {"contract_version": OPTIONS_VERSION, "model": "golden.options.onnx", "cases": option_cases(model())},
        "ids": {"contract_version": OPTIONS_VERSION, "model": "golden.ids.onnx", "cases": id_cases(model())},
        "damaged": {"model": damaged.name, "weights_sha256": weights_digest(damaged)},
    }
    text = json.dumps(golden, indent=1, ensure_ascii=False)
    (Path(folder) / "golden.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
