"""The sketches of export/vectors/README.md find what brute force finds: `make test-engines` installs the engines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from multvae_export.vectors.vector_model import VectorModel

from tests.export.test_kinds import auto_encoder
from tests.export.test_vectors import named

ENGINES = (Path(__file__).parents[2] / "export/vectors/README.md").read_text("utf-8").split("## Engines")[1]
#: What all sketches begin with, and those that run.
HEAD, FAISS, MILVUS = re.findall(r"```python\n(.*?)```", ENGINES, re.DOTALL)
ITEMS, HISTORY = 300, ["i3", "i141", "i59"]


@pytest.mark.parametrize(("sketch", "package"), [(FAISS, "faiss"), (MILVUS, "milvus_lite")], ids=["FAISS", "Milvus"])
def test_a_sketch_finds_what_brute_force_finds(sketch: str, package: str) -> None:
    pytest.importorskip(package, reason="make test-engines installs it")
    Path("vectors").mkdir()
    VectorModel.of(named(auto_encoder(ITEMS), ITEMS)).write(Path("vectors"))
    names: dict[str, Any] = {"history": HISTORY}
    exec(HEAD + sketch, names)
    scores = names["vectors"] @ names["user"]
    scores[np.isin(names["tokens"], HISTORY)] = -np.inf
    assert names["items"] == names["tokens"][np.argsort(-scores)[:10]].tolist()


def test_sketches_are_short() -> None:
    blocks = re.findall(r"```\w+\n(.*?)```", ENGINES, re.DOTALL)
    assert len(blocks) == 6 and all(len(block.strip().splitlines()) <= 10 for block in blocks)
