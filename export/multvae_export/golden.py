"""The clients' golden file: a small fixed model, and what it must answer in every special case of the contract.

    python -m multvae_export.golden export/clients

writes ``golden.onnx`` and ``golden.json``. The expected answers are the torch reference's, not onnxruntime's. In the JSON,
null stands for a score of -inf, and ``""`` for the padding item.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from multvae_export.architectures.auto_encoder import AutoEncoder, usual_activations
from multvae_export.onnx_file import CONTRACT_VERSION, to_onnx, write
from multvae_export.ranking import best
from multvae_export.trained_model import Model

TOKENS = ("[PAD]", "7", "42", "caf\u00e9", "\u65e5\u672c", "a b", "007", "x,y", "9" * 20)

CASES: tuple[tuple[str, list[list[str]], int], ...] = (
    ("one item", [["42"]], 3),
    ("several items", [["7", "a b", "007"]], 3),
    ("order does not matter", [["007", "7", "a b"]], 3),
    ("a repeated item counts once", [["7", "7", "a b", "007", "007", "7"]], 3),
    ("padding is ignored", [["7", "", "a b", "", "007", ""]], 3),
    ("unknown items are ignored", [["nobody", "7", "[PAD]", "a b", "007", "7 "]], 3),
    ("an empty history gets the prior ranking", [[""]], 8),
    ("only unknown items are an empty history", [["nobody", "nothing"]], 8),
    ("a history of length zero", [[]], 2),
    ("a batch of different lengths", [["42", "", ""], ["7", "a b", "007"], ["", "", ""]], 4),
    ("k is one", [["caf\u00e9"]], 1),
    ("k above the catalogue is clamped", [["\u65e5\u672c"]], 100),
    ("fewer unseen items than k", [["7", "42", "caf\u00e9", "\u65e5\u672c", "a b", "007"]], 5),
    ("everything is seen", [list(TOKENS[1:])], 3),
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
    network = AutoEncoder((*encoder, *decoder), usual_activations(4, 2, latent_tanh=False), norm=True, latent=2)
    return Model("MultVAE", network, TOKENS, "golden", {})


def cases(golden: Model) -> list[dict[str, Any]]:
    """The cases with the answers of the torch reference, of a model with :data:`TOKENS`."""
    ids = {token: n for n, token in enumerate(TOKENS) if n}
    answered = []
    for name, history, k in CASES:
        rows = torch.tensor([[ids.get(token, 0) for token in row] for row in history], dtype=torch.long)
        items, scores = best(golden.architecture.answer(rows), k)
        answered.append(
            {
                "name": name,
                "history": history,
                "k": k,
                "items": [[TOKENS[item] if item else "" for item in row] for row in items.tolist()],
                "scores": [[None if score == -torch.inf else round(score, 6) for score in row] for row in scores.tolist()],
            }
        )
    return answered


def main(folder: str) -> None:
    """Write both files into a folder."""
    write(to_onnx(model()), Path(folder) / "golden.onnx")
    golden = {"contract_version": CONTRACT_VERSION, "model": "golden.onnx", "tolerance": 1e-4, "cases": cases(model())}
    text = json.dumps(golden, indent=1, ensure_ascii=False)
    (Path(folder) / "golden.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
