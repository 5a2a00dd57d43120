"""Files in fewer bits through the Node client: the ranking that Python gets."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from multvae_export import golden
from multvae_export.graph import onnx_file
from multvae_export.target import Target

from tests.clients.languages import FOLDER
from tests.clients.test_clients import install, require

SCRIPT = """
const { loadModel, recommend } = await import(process.argv[2]);
const cases = JSON.parse(process.argv[3]);
const session = await loadModel(process.argv[1]);
const answers = [];
for (const { history, k } of cases) answers.push(await recommend(session, history, k));
console.log(JSON.stringify(answers));
"""


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_node_ranks_as_python_does(precision: str, tmp_path: Path) -> None:
    require("node")
    install(FOLDER / "node")
    path = tmp_path / "model.onnx"
    onnx_file.write(onnx_file.to_onnx(golden.model(), Target(precision=precision)), path)
    cases = [case for case in golden.cases(golden.model()) if any(case["history"])]
    client = (FOLDER / "node" / "recommend.mjs").as_uri()
    command = ["node", "--input-type=module", "-e", SCRIPT, str(path), client, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for case, found in zip(cases, json.loads(done.stdout), strict=True):
        length = max(map(len, case["history"]))
        history = np.array([row + [""] * (length - len(row)) for row in case["history"]], dtype=object)
        items, scores = session.run(None, {"history": history, "k": np.array([case["k"]])})
        assert found["items"] == items.tolist(), case["name"]
        # JSON has no -Infinity: null stands for it.
        theirs = np.array([[-np.inf if score is None else score for score in row] for row in found["scores"]])
        np.testing.assert_allclose(theirs, scores, atol=1e-4, err_msg=case["name"])
