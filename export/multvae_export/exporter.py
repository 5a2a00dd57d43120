"""The one function that the command line calls: a checkpoint in, a verified ONNX file out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from multvae_export.checkpoint import contents as checkpoints
from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.checkpoint.dataset import DataSet, Proof
from multvae_export.errors import OptionError, PrecisionError
from multvae_export.graph.onnx_file import check_form, set_default_k, to_onnx, write
from multvae_export.histories import Layout
from multvae_export.new_items import NewItems, extended
from multvae_export.publish import triton
from multvae_export.publish.working_folder import PREFIX, publish, working_folder
from multvae_export.target import NONE, Options, Target
from multvae_export.trained_model import Model, model_of
from multvae_export.verification.checks import ExportedFile, check_default_k, verify
from multvae_export.verification.precision_cost import Histories, measure, read_histories, some_histories, some_users

#: On ML-1M fp16 keeps 99.9 % of fp32's top 10, int8 98.8 % and int4 93.8 %, each with over 99.8 % of its NDCG@100.
MIN_OVERLAP = 0.9
#: The entry in the metadata of a file whose data set the user vouched for.
TRUSTED = {"dataset_trusted": "true"}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the ONNX file.
        files: all files of the export, the ONNX file last: weights that pass 2 GB, and a new ``config.pbtxt`` of
            Triton, come before it.
        model: the model in it.
        io: the form of the file.
        checks: the name and the figures of every check that passed; empty if none was asked for.
        data: why the data set in ``dataset_path`` is taken for the one of the training; None where it was not read.
    """

    path: Path
    files: tuple[Path, ...]
    model: Model
    io: str
    checks: tuple[tuple[str, str], ...]
    data: Proof | None = None


def export(
    checkpoint: str | Path,
    path: str | Path,
    *,
    io: str | None = None,
    opset: int = 18,
    k_default: int | None = None,
    atol: float = 1e-4,
    precision: str = "fp32",
    histories: str | Path | None = None,
    min_overlap: float | None = None,
    check: bool = True,
    dataset_path: str | None = None,
    trust_dataset: bool = False,
    metadata: Mapping[str, str] | None = None,
    options: Options = NONE,
    new_items: NewItems | None = None,
    repository: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> Exported:
    """Turn a checkpoint into one verified ONNX file.

    The file is written beside its target and renamed when every check has passed: whatever fails, nothing is left at the
    target, and an older file there stays.

    Args:
        checkpoint: a ``.pth`` of RecBole's ``Trainer``. It is never executed.
        path: where to write.
        io: ``tokens`` (the data set's item tokens in and out), ``ids`` (RecBole's ids), ``dense`` (multi-hot in, all scores
            out), or ``users`` (user tokens in, item tokens out); by default the first that fits the model.
        opset: 16, 17 or 18.
        k_default: the value of the input ``k`` for a caller who gives none; None makes it required, or 10 in a
            model repository.
        atol: the largest difference of a score from torch's; where a history's scores are all small, 0.1 % of the largest
            counts. In fewer bits than fp32, torch has the weights of the file, and rounding on the way may add 1 % of the
            range of a history's scores.
        precision: ``fp32``, ``fp16`` (for CUDA), ``int8`` (for CPUs) or ``int4``; its cost is measured and reported.
        histories: an ``.inter`` file of users to measure the ranking on; without one, random ones show only the overlap.
        min_overlap: the smallest share of fp32's 10 best items that the file must keep; by default 0.9.
        check: whether to verify and measure.
        dataset_path: the folder that holds the data set's folder, for RecBole's own models, whose checkpoints may lack the
            item tokens. RecBole reads it. One that the checkpoint was not trained on is refused.
        trust_dataset: vouch for that data set where the checkpoint holds nothing that proves it; the metadata then say so.
        metadata: further entries of the file's metadata.
        options: further inputs and outputs: filters, reasons, posterior.
        new_items: items to add that nobody has clicked yet; ``histories`` then also says in whose lists they are counted.
        repository: whether ``path`` is a model repository of NVIDIA Triton, in which the file is a new version of its model.
        progress: called with a sentence before each step.

    Raises:
        ExportError: one type for each way to fail.
    """
    _check_options(atol, precision, None if new_items else histories, min_overlap, check)
    _check_paths(checkpoint := Path(checkpoint), path := Path(path), repository)
    source = Source.read(checkpoint, dataset_path, trust_dataset, new_items, histories, progress)
    model, target = source.model, Target(io or source.model.architecture.forms[0], precision, options)
    users = _users(histories if precision != "fp32" else None, source, target)
    check_form(model, target, opset, k_default)
    k_default = triton.K if repository and target.ranks and k_default is None else k_default
    progress("Writing the graph")
    with _working_folder(path, model, repository) as (folder, destination):
        write(to_onnx(model, target, opset, source.entries(metadata)), file := folder / destination.name)
        open_file = partial(ExportedFile, file, model, target, opset, atol)
        checks = source.checks + (_verify(open_file, users, min_overlap, progress) if check else [])
        checks += _set_default_k(open_file, file, k_default, check)
        files = triton.publish(folder, destination.parent, precision) if repository else publish(folder, destination)
    return Exported(files[-1], files, model, target.io, tuple(checks), source.proof)


@dataclass(frozen=True)
class Source:
    """What is to be written.

    Attributes:
        checkpoint: that was read.
        model: of the checkpoint, with the new items if any are asked for.
        of_new_items: their entries in the metadata.
        checks: what is reported about them.
    """

    checkpoint: Checkpoint
    model: Model
    of_new_items: dict[str, str]
    checks: list[tuple[str, str]]

    @classmethod
    def read(
        cls,
        path: Path,
        dataset_path: str | None,
        trust: bool,
        new_items: NewItems | None,
        histories: str | Path | None,
        progress: Callable[[str], None],
    ) -> Source:
        """Read a checkpoint, and add new items.

        Raises:
            ExportError: see :func:`load`, :func:`.model_of` and :func:`.extended`.
        """
        checkpoint = load(path, dataset_path, trust, progress)
        return cls(checkpoint, *extended(model_of(checkpoint), checkpoint, new_items, histories, dataset_path))

    @property
    def proof(self) -> Proof | None:
        """Why the data set is taken for the one of the training; None where it was not read."""
        return self.checkpoint.data.proof if self.checkpoint.data else None

    def entries(self, further: Mapping[str, str] | None) -> dict[str, str]:
        """Entries of the metadata: the user's, those of new items, and :data:`TRUSTED` if only the user vouches.

        Raises:
            OptionError: the user takes the name of another entry.
        """
        if taken := sorted(self.of_new_items.keys() & (further or {}).keys()):
            raise OptionError(f"--metadata={taken[0]}=... is not allowed: --add-items has this entry, take another name.")
        trusted = TRUSTED if self.proof and self.proof.trusted else {}
        return {**(further or {}), **self.of_new_items, **trusted}


def load(checkpoint: Path, dataset_path: str | None, trust: bool, progress: Callable[[str], None]) -> Checkpoint:
    """Read a checkpoint, with the data set that the user names and perhaps vouches for.

    Raises:
        ExportError: it cannot be read.
    """
    if checkpoint.is_dir():
        raise OptionError(f"{checkpoint} is a folder: name a checkpoint in it, such as {checkpoint}/MultVAE-DATE.pth.")
    progress(f"Reading {checkpoint}")
    return checkpoints.load(checkpoint, DataSet.named(str(checkpoint), dataset_path, trust, progress=progress))


def _users(path: str | Path | None, source: Source, target: Target) -> Histories | None:
    """The users of a file of histories, to measure the cost of fewer bits on."""
    if path is None:
        return None
    if target.by_users:
        raise OptionError("--histories does not fit --io=users: such a file knows no other histories than its users'.")
    return read_histories(path, source.model.tokens, Layout.of(source.checkpoint.config))


@contextmanager
def _working_folder(path: Path, model: Model, repository: bool) -> Iterator[tuple[Path, Path]]:
    """A folder to write in, and the file that its contents will become."""
    with ExitStack() as stack:
        destination = stack.enter_context(triton.model_folder(path, model)) / triton.FILE if repository else path
        prefix = triton.WORKING if repository else PREFIX
        yield stack.enter_context(working_folder(destination, prefix)), destination


def _verify(
    open_file: Callable[[], ExportedFile],
    users: Histories | None,
    min_overlap: float | None,
    progress: Callable[[str], None],
) -> list[tuple[str, str]]:
    """The name and the figures of every check that passed, and of the cost of fewer bits."""
    checks: list[tuple[str, str]] = []
    progress("Verifying against torch and onnxruntime")
    file = open_file()  # It rounds the weights and loads the file: a large one takes seconds.
    verify(file, lambda name, figures: checks.append((name, figures)))
    if file.target.precision != "fp32":
        progress(f"Measuring what {file.target.precision} costs")
        checks.append(("keeps fp32's ranking", _cost(file, users, min_overlap)))
    return checks


def _set_default_k(open_file: Callable[..., ExportedFile], path: Path, k: int | None, check: bool) -> list[tuple[str, str]]:
    """Give ``k`` a value in a file that was proved without one, unless it is None. Returns the check of it."""
    if k is None:
        return []
    set_default_k(path, k)
    return [("default of k", check_default_k(open_file(default_k=True), k))] if check else []


def check_atol(atol: float) -> None:
    """Refuse a bound that no difference can meet, with OptionError."""
    if not 0 < atol < math.inf:  # Also rejects NaN.
        raise OptionError(f"--atol={atol:g} is not allowed: expected a number above 0.")


def _check_options(
    atol: float, precision: str, histories: str | Path | None, min_overlap: float | None, check: bool
) -> None:
    check_atol(atol)
    if min_overlap is not None and not 0 <= min_overlap <= 1:
        raise OptionError(f"--min-overlap={min_overlap:g} is not allowed: expected a share from 0 to 1.")
    if not check and (histories is not None or min_overlap is not None):
        raise OptionError("--no-verify measures nothing: leave out --histories and --min-overlap, or verify.")
    if precision == "fp32" and (histories is not None or min_overlap is not None):
        raise OptionError(
            "--histories and --min-overlap are about what fewer bits cost: expected --precision=fp16, int8 or int4."
        )


def _check_paths(checkpoint: Path, path: Path, repository: bool) -> None:
    if repository:
        return
    if not path.absolute().parent.is_dir():
        raise OptionError(f"cannot write {path}: there is no folder {path.absolute().parent}.")
    if path.is_dir():
        raise OptionError(f"{path} is a folder: name a file in it.")
    if path.exists() and checkpoint.exists() and path.samefile(checkpoint):
        raise OptionError(f"{path} is the checkpoint itself: name another file for the export.")
    if path.suffix == ".pth":
        raise OptionError(f"{path} has the name of a checkpoint: name the ONNX file last, such as model.onnx.")


def _cost(file: ExportedFile, histories: Histories | None, min_overlap: float | None) -> str:
    users = len(file.model.architecture.user_tokens)
    cost = measure(file, histories or (some_users(users) if users else some_histories(file.model.n_items)))
    least = MIN_OVERLAP if min_overlap is None else min_overlap
    if cost.overlap < least:
        raise PrecisionError(
            f"{file.target.precision} keeps less of fp32's ranking than --min-overlap={least:g} ({cost}): "
            "choose more bits, or accept less."
        )
    return str(cost)
