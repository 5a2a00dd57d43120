"""The one function behind ``--vectors``: a checkpoint in, a folder of verified vectors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from multvae_export.errors import OptionError
from multvae_export.exporter import Exported, Source, check_atol
from multvae_export.graph.onnx_file import check_opset
from multvae_export.histories import Layout, drawn, padded, read_inter
from multvae_export.new_items import NewItems
from multvae_export.publish.whole_folder import check_folder, replace_folder
from multvae_export.publish.working_folder import working_folder
from multvae_export.vectors.items import require_arrow
from multvae_export.vectors.user_file import VECTORS
from multvae_export.vectors.vector_model import NAMES, VectorModel
from multvae_export.verification.exported_file import Case

#: Histories that are tried at once.
BATCH = 64


def export_vectors(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    opset: int = 18,
    atol: float = 1e-4,
    regularization: float | None = None,
    histories: str | Path | None = None,
    check: bool = True,
    dataset_path: str | None = None,
    trust_dataset: bool = False,
    metadata: Mapping[str, str] | None = None,
    new_items: NewItems | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Exported:
    """Turn a checkpoint into vectors whose inner products are its scores.

    The folder is written beside its target and takes its place when every check has passed. An older folder of vectors stays
    until then, and if anything fails.

    Args:
        checkpoint: a ``.pth`` of RecBole's ``Trainer``. It is never executed.
        folder: where to write: a new folder, an empty one, or one that this function wrote.
        opset: 16, 17 or 18.
        atol: see :func:`.exporter.export`.
        regularization: of the fold-in, see :mod:`.fold_in`.
        histories: an ``.inter`` file; the histories of its users, at most 10,000 of them, are tried too.
        check: whether to verify.
        dataset_path: see :func:`.exporter.export`.
        trust_dataset: likewise.
        metadata: further entries of the metadata of the ONNX files.
        new_items: see :func:`.exporter.export`.
        progress: called with a sentence before each step.

    Raises:
        ExportError: one type for each way to fail.
    """
    if not check and histories is not None:
        raise OptionError("--no-verify tries nothing: leave out --histories, or verify.")
    check_atol(atol)
    check_opset(opset)
    require_arrow()
    check_folder(target := Path(folder), "--vectors", NAMES)
    source = Source.read(Path(checkpoint), dataset_path, trust_dataset, new_items, histories, progress)
    vectors, layout = VectorModel.of(source.model, regularization), Layout.of(source.checkpoint.config)
    further, said = ([], []) if histories is None else _of_file(histories, vectors.model.tokens, layout)
    progress("Writing the vectors")
    with working_folder(target.resolve()) as working:
        (new := working / "new").mkdir()
        vectors.write(new, opset, source.entries(metadata))
        checks = source.checks
        if check:
            progress("Verifying against torch and onnxruntime")
            checks = [*source.checks, *vectors.checks(new, opset, atol, further), *said]
        replace_folder(new, target.resolve())
    return Exported(target, tuple(sorted(target.iterdir())), vectors.model, VECTORS.io, tuple(checks), source.proof)


def _of_file(path: str | Path, tokens: Sequence[str], layout: Layout) -> tuple[list[Case], list[tuple[str, str]]]:
    """The histories of a file that are tried, and the figure that says how many they are."""
    everyone = read_inter(path, tokens, layout)
    some = drawn(everyone, np.random.default_rng(0))
    cases = [Case("a history of the file", padded(some[n : n + BATCH]), 1) for n in range(0, len(some), BATCH)]
    return cases, [("histories tried", f"{len(some):,} of the {len(everyone):,} users of {path}")]
