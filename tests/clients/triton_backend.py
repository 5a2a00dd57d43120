"""A backend of Triton that the tests put in the place of onnxruntime's, which no package has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


def texts(values: np.ndarray, change: str) -> np.ndarray:
    """An array with its texts changed by a method: Triton has them as bytes. Other arrays stay."""
    if values.dtype != object:
        return values
    return np.array([getattr(value, change)() for value in values.flat], object).reshape(values.shape)


class TritonPythonModel:
    """A version of a model."""

    def initialize(self, args: dict[str, str]) -> None:
        options, self.version = onnxruntime.SessionOptions(), args["model_version"]
        threads = json.loads(args["model_config"])["parameters"]["intra_op_thread_count"]["string_value"]
        options.intra_op_num_threads, options.log_severity_level = int(threads), 3
        file = Path(args["model_repository"], self.version, "model.onnx")
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]
        print(f"LOADED {args['model_name']} {self.version}", flush=True)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests in one run, as onnxruntime's backend does: their shapes are equal but for the batch."""
        given = [[triton.get_input_tensor_by_name(one, name).as_numpy() for name in self.inputs] for one in requests]
        feed = {name: texts(np.concatenate(rows), "decode") for name, *rows in zip(self.inputs, *given, strict=True)}
        ends = np.cumsum([len(rows[0]) for rows in given])
        print(f"RAN {self.version} {ends[-1]}", flush=True)
        answers = [np.split(texts(values, "encode"), ends[:-1]) for values in self.session.run(None, feed)]
        return [
            triton.InferenceResponse([triton.Tensor(*pair) for pair in zip(self.outputs, parts, strict=True)])
            for parts in zip(*answers, strict=True)
        ]
