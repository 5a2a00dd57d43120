"""An exported file in a session of onnxruntime, and the random requests that the benchmark sends to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime

from multvae_export.errors import OptionError
from multvae_export.histories import padded, random_histories
from multvae_export.onnx_session import check_metadata, look_up_tokens, open_session

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
DIFFERENT, TOP = 50, 10
#: A file with filters is measured for all items, and for so many candidates.
AMONG = 100
#: A batch is padded to its longest history, so their length is limited, as a service would.
LONGEST = 500

Call = Callable[[int], Any]


class ServedFile:
    """An exported file in a session of a provider.

    Attributes:
        n_items: C, the catalogue with the padding item.
        spec: the description of the model in the file's metadata.
        decoder: the units and items, [H, C], of the decoder's last layer; H is 0 where there is one layer or none.

    Raises:
        NotAnExportError: it is no file of multvae-export.
        OptionError: this machine or this onnxruntime does not have the provider.
    """

    def __init__(self, path: str, provider: str) -> None:
        self.path, self.provider = path, provider
        if provider not in onnxruntime.get_available_providers():
            has = ", ".join(onnxruntime.get_available_providers())
            raise OptionError(f"--provider={provider} is not in this onnxruntime: it has {has}.")
        self.session = open_session(path, list(dict.fromkeys([provider, CPU])))
        if self.session.get_providers()[0] != provider:
            raise OptionError(f"--provider={provider} cannot be used on this machine: it lacks the device or its libraries.")
        metadata = check_metadata(path, self.session.get_modelmeta().custom_metadata_map)
        self.io, self.n_items, self.digest = metadata["io"], int(metadata["n_items"]), metadata["item_tokens_sha256"]
        self.spec, self.precision = json.loads(metadata["model_spec"]), metadata.get("precision", "fp32")
        graph = onnx.load(path, load_external_data=False).graph
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.options: tuple[str, ...] = tuple(json.loads(metadata.get("options", "[]")))
        self.among = (None, min(AMONG, self.n_items - 1)) if "filters" in self.options else (None,)
        sizes = self.spec.get("sizes", [])
        self.decoder = (sizes[-2] if len(sizes) > 2 else 0, self.n_items)
        self.request_tokens = look_up_tokens(graph, "user" if self.io == "users" else "history")
        self.item_tokens = look_up_tokens(graph, "among")
        # Of a table with so many rows, a request reads those of its items or users.
        self.n_rows = len(self.request_tokens) if self.io == "users" else self.n_items

    def requests(self, batch: int) -> list[np.ndarray]:
        """Random requests, the same ones at every call: histories, or users by number for a file that answers for users."""
        if self.io != "users":
            return histories(self.n_items, batch)
        return list(np.random.default_rng(0).integers(1, self.n_rows, (_batches(batch), batch)))

    def bytes_read(self, items: float) -> int:
        """The bytes of weights that a request for so many items, or users, reads."""
        total = 0.0
        for name, tensor in self.weights.items():
            size = float(np.prod(tensor.dims)) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            if name.startswith("table") and self.io != "dense":
                size *= min(1.0, items / self.n_rows)
            total += 0 if name == "tokens" else size
        return int(total)

    def call(self, batches: list[np.ndarray], among: int | None = None) -> Call:
        """The function that answers the n-th request: with k = 10, or with all scores of the dense form.

        ``among``: how many candidates, for a file with filters; None for all items. Noise is 0, and nothing is excluded.
        """
        feeds = [self._request_inputs(batch) | self._option_inputs(batch, among) for batch in batches]
        return caller(self.session, feeds, bound=self.provider == CUDA and not len(self.request_tokens))

    def _option_inputs(self, request: np.ndarray, among: int | None) -> dict[str, np.ndarray]:
        feed: dict[str, np.ndarray] = {}
        if "filters" in self.options:
            rng = np.random.default_rng(0)
            drawn = [rng.permutation(self.n_items - 1)[:among] + 1 for _ in request] if among else np.zeros((1, 0))
            for name, ids in (("exclude", np.zeros((1, 0), np.int64)), ("among", np.array(drawn, np.int64))):
                feed[name] = self.item_tokens[ids] if len(self.item_tokens) else ids
        if "posterior" in self.options:
            units = next(value.shape[1] for value in self.session.get_inputs() if value.name == "noise")
            feed["noise"] = np.zeros((len(request), units), np.float32)
        return feed

    def _request_inputs(self, history: np.ndarray) -> dict[str, np.ndarray]:
        if self.io == "dense":
            clicks = np.zeros((len(history), self.n_items), np.float32)
            np.put_along_axis(clicks, history, 1, axis=1)
            clicks[:, 0] = 0
            return {"x": clicks}
        k = np.array([TOP])
        request = self.request_tokens[history] if len(self.request_tokens) else history
        return {"user" if self.io == "users" else "history": request, "k": k}


def caller(session: onnxruntime.InferenceSession, feeds: list[dict[str, np.ndarray]], bound: bool) -> Call:
    """The function that runs a session with the n-th inputs; if ``bound``, the outputs stay on the GPU."""
    if not bound:
        return lambda n: session.run(None, feeds[n % len(feeds)])

    def run(n: int) -> None:
        binding = session.io_binding()
        for name, value in feeds[n % len(feeds)].items():
            binding.bind_cpu_input(name, value)
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda")
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def _batches(size: int) -> int:
    """How many different batches; fewer of large ones, which take memory."""
    return DIFFERENT if size < 1000 else 4


def histories(n_items: int, batch: int) -> list[np.ndarray]:
    """Batches of random histories, the same ones at every call: int64 [batch, length] each, 0 pads."""
    count = _batches(batch)
    rows = random_histories(n_items, count * batch, LONGEST)
    return [padded(rows[n * batch : (n + 1) * batch]) for n in range(count)]
