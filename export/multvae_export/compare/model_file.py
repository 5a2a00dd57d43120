"""One of the two files: which model it has, which items it knows, and its best items for many histories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from multvae_export.errors import NotAnExportError
from multvae_export.graph.weights_digest import DIGEST, SECOND_FILE, weights_digest
from multvae_export.histories import padded
from multvae_export.onnx_session import check_file, check_metadata, first_line, look_up_tokens, open_session

#: What says which model a file has: a field of the file, and entries of its metadata.
IDENTITY = (
    "model", "dataset", "precision", "options", "model_version", "trained_at", "seed", "checkpoint_sha256", DIGEST,
    "item_tokens_sha256", "exporter_version",
)  # fmt: skip
#: A batch has at most so many histories, and so many numbers in an array of its scores or of the rows that it reads:
#: 16 MiB in float32, of which onnxruntime holds a handful.
MOST, NUMBERS = 256, 2**22


class ModelFile:
    """A file of multvae-export of the form tokens or ids. onnxruntime opens it only while it ranks, to save memory.

    Attributes:
        path: of the file.
        io: its form.
        tokens: the tokens of its items, in RecBole's order; of a file with ids, the ids as texts.
        identity: what it has of :data:`IDENTITY`, as texts.
        test_metrics: the metrics of the test of its training, as far as the metadata have them.

    Raises:
        NotAnExportError: it cannot be read, is not of multvae-export, is damaged, or has another form.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        check_file(path)
        try:
            proto = onnx.load(path, load_external_data=False)
        except Exception as error:  # protobuf raises types of its own.
            raise NotAnExportError(f"{path} is no ONNX file: {first_line(error)}") from error
        metadata = check_metadata(path, {entry.key: entry.value for entry in proto.metadata_props})
        self.io = metadata["io"]
        if self.io not in ("tokens", "ids"):
            raise NotAnExportError(f"{path} is of --io={self.io}: expected a file that ranks for histories, tokens or ids.")
        _check_digest(path, metadata)
        tokens = look_up_tokens(proto.graph, "history")[1:].tolist()
        self.tokens: list[str] = tokens or [str(n) for n in range(1, int(metadata["n_items"]))]
        entries = metadata | {"model_version": str(proto.model_version)}
        self.identity = {name: entries[name] for name in IDENTITY if name in entries}
        self.test_metrics: dict[str, float] = json.loads(metadata.get("test_metrics", "{}"))
        tables = [part.dims for part in proto.graph.initializer if part.name.startswith("table")]
        # An item of the history reads a row of a table.
        self._width = max([1, *(shape[1] for shape in tables if len(shape) == 2)])

    def best(self, histories: Sequence[np.ndarray], tokens: Sequence[str], k: int) -> np.ndarray:
        """The k best items for each history, in batches of bounded memory.

        Args:
            histories: items by number, int64 [length] each.
            tokens: the tokens of items by number, that of number 0 is "". Of a file with ids, number and id are the same.
            k: how many; more than the catalogue holds is clamped.

        Returns:
            Items by number, int32 [U, k], best first; 0 where fewer remain.

        Raises:
            NotAnExportError: onnxruntime cannot open or run the file.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # It warns of a k that has a default.
        session = open_session(self.path, ["CPUExecutionProvider"], options)
        names = np.array(tokens, dtype=object)
        numbers = {token: number for number, token in enumerate(tokens)}
        lists = np.zeros((len(histories), k := min(k, len(self.tokens))), np.int32)
        for rows in self._batches([len(history) for history in histories], k):
            history = padded([histories[row] for row in rows])
            items = self._run(session, history if self.io == "ids" else names[history], k)
            lists[rows] = items if self.io == "ids" else np.vectorize(numbers.__getitem__, otypes=[np.int32])(items)
        return lists

    def _batches(self, lengths: Sequence[int], k: int) -> Iterator[np.ndarray]:
        """The rows of the histories of each batch; the longest come first, so that little is padding."""
        order, start = np.argsort(-np.array(lengths), kind="stable"), 0
        while start < len(order):
            # A file with reasons has one for each item of the history and of the list.
            widest = max(len(self.tokens), lengths[order[start]] * max(self._width, k))
            yield order[start : (start := start + max(1, min(MOST, NUMBERS // widest)))]

    def _run(self, session: onnxruntime.InferenceSession, history: np.ndarray, k: int) -> np.ndarray:
        feed = {"history": history, "k": np.array([k])}
        for value in session.get_inputs():
            if value.name == "noise":
                feed["noise"] = np.zeros((1, value.shape[1]), np.float32)
            elif value.name not in feed:  # exclude and among of a file with filters: an empty list leaves nothing out.
                feed[value.name] = np.zeros((1, 0), history.dtype)
        try:
            return session.run(["items"], feed)[0]
        except Exception as error:  # onnxruntime raises types of its own.
            raise NotAnExportError(f"onnxruntime cannot run {self.path}: {first_line(error)}") from error


def _check_digest(path: str, metadata: Mapping[str, str]) -> None:
    """Refuse a file whose weights are damaged. Files of older exporters have no digest."""
    if DIGEST not in metadata:
        return
    found = weights_digest(Path(path), metadata.get(SECOND_FILE))
    if found != metadata[DIGEST]:
        raise NotAnExportError(
            f"{path} is damaged: the SHA-256 of its weights is {found}, not {metadata[DIGEST]}; copy the file again."
        )
