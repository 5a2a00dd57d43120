"""The data set of a checkpoint, read with RecBole, which no other file of the exporter imports."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multvae_export.checkpoint.proof import ITEMS_NAMED, NAMED, Proof, prove, refused
from multvae_export.errors import ExportError, OptionError, TokensError

#: MiB for the scores of a validation.
EVAL_MEMORY = 256


class DataSet:
    """The data set of a checkpoint, read when it is first asked for.

    Args:
        checkpoint_path: a checkpoint of RecBole's ``Trainer``; it is not executed.
        dataset_path: the folder of the data set, or the folder that holds that folder.
        trusted: whether the user vouches that it is the one of the training, where the checkpoint cannot tell.
        progress: called with a sentence before each step.

    Attributes:
        read: what it was made into; None before.
    """

    def __init__(
        self,
        checkpoint_path: str,
        dataset_path: str,
        trusted: bool = False,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._paths, self._trusted, self._progress = (checkpoint_path, dataset_path), trusted, progress
        self.read: Rebuilt | None = None

    @classmethod
    def named(cls, checkpoint_path: str, dataset_path: str | None, trusted: bool, **keys: Any) -> DataSet | None:
        """The data set that a command's options name; None where they name none.

        Raises:
            OptionError: it is vouched for, and not named.
        """
        if trusted and not dataset_path:
            raise OptionError("--trust-dataset is about the data set of --dataset-path: name its folder.")
        return cls(checkpoint_path, dataset_path, trusted, **keys) if dataset_path else None

    def __call__(self) -> Rebuilt:
        """Read it.

        Raises:
            TokensError: RecBole is not installed or cannot read it, or the checkpoint was trained on another one.
        """
        if self.read is None:
            self._progress(f"Reading the data set in {self._paths[1]}")
            self.read = rebuild(*self._paths, self._trusted, self._progress)
        return self.read

    @property
    def proof(self) -> Proof | None:
        """Why it was taken for the data set of the training; None where it was not read."""
        # Of a model that needs its items' names only, nothing more has been proved.
        return (vars(self.read).get("proof") or self.read.by_name) if self.read else None


@dataclass(frozen=True)
class Rebuilt:
    """What RecBole makes of a checkpoint's data set.

    Attributes:
        checkpoint: what the checkpoint holds, as RecBole's own objects.
        loaders: RecBole's, of training, validation and test.
        recbole_s: makes them as RecBole itself splits the data, where that is another way.
        trusted: whether the user vouches for it.
        progress: called with a sentence before what may take long.
        by_name: that the names which the checkpoint holds are the data set's; None where it holds none.
    """

    checkpoint: dict[str, Any]
    loaders: list[Any]
    recbole_s: Callable[[], list[Any]] | None
    trusted: bool
    progress: Callable[[str], None]
    by_name: Proof | None

    @property
    def where(self) -> str:
        """The data set, for a sentence."""
        return _where(self.checkpoint["config"])

    @cached_property
    def proof(self) -> Proof:
        """Why it is the data set that the checkpoint was trained on.

        Raises:
            TokensError: it is another one, or nothing tells.
        """
        if self.by_name is NAMED:
            return NAMED
        try:
            return prove(self, self.trusted, self.progress)
        except TokensError:
            if self.recbole_s is None or (proof := self._proof_of(self.recbole_s())) is None:
                raise
            return proof

    def _proof_of(self, loaders: list[Any]) -> Proof | None:
        """Take these loaders in place of the others if they are those of the training."""
        ours, self.loaders[:] = list(self.loaders), loaders
        vars(self).pop("_scored", None)
        try:
            proof = prove(self, self.trusted, self.progress)
        except TokensError:
            self.loaders[:] = ours
            return None
        return replace(proof, reason=f"{proof.reason}; it is split by times in float32, as RecBole does")

    @property
    def item_tokens(self) -> list[str]:
        """In order of RecBole's ids, the padding item's first. A split may leave items out, so it is made first."""
        self.proof  # noqa: B018  (without it, the names may be those of other items)
        return self._tokens(self._train.iid_field)

    @property
    def user_tokens(self) -> list[str]:
        """In order of RecBole's ids, the padding user's first."""
        self.proof  # noqa: B018
        return self._tokens(self._train.uid_field)

    def training(self) -> tuple[np.ndarray, np.ndarray]:
        """The users and the items of the training part, int64 [N] each."""
        train = self._train
        return tuple(train.inter_feat[field].numpy().astype(np.int64) for field in (train.uid_field, train.iid_field))

    def clicks(self) -> Any:
        """The training part as a matrix of scipy.sparse, [users, items]; a click that is repeated counts as often."""
        return self._train.inter_matrix(form="csr")

    def batch_counts(self) -> torch.Tensor:
        """For each item, how many batches of the first epoch it is in, int64 [items]: what RecBole's Pop learns."""
        counts = torch.zeros(self._train.item_num, dtype=torch.long)
        for batch in self.loaders[0]:
            counts[batch[self._train.iid_field].unique()] += 1
        return counts

    def proved_model(self) -> Any:
        """:meth:`model`, of a data set that is the one of the training."""
        self.proof  # noqa: B018
        return vars(self).get("_scored") or self.model()

    @cached_property
    def _scored(self) -> Any:
        # Some models take long to make.
        return self.model()

    def model(self) -> Any:
        """RecBole's model with the weights of the checkpoint, made from the training part of the data set.

        Raises:
            TokensError: the data set has other numbers of users and items than the checkpoint's.
        """
        weights = self.checkpoint["state_dict"]
        with _recbole_s_words(self.checkpoint["config"]) as config:
            from recbole.utils import get_model, init_seed

            init_seed(config["seed"], config["reproducibility"])
            model = get_model(config["model"])(config, self._train)
            for name, own in model.state_dict().items():
                if name in weights and weights[name].shape != own.shape:
                    raise refused(self, _of_sizes(self._train, name, own.shape, weights[name].shape))
            model.load_state_dict(weights)
            model.load_other_parameter(self.checkpoint.get("other_parameter"))
            return model.eval()

    def validation(self) -> float | None:
        """The score of the model on the validation part, as RecBole's ``Trainer`` computes it; None where it cannot be."""
        model = self._scored
        with _recbole_s_words(self.checkpoint["config"]) as config:
            from recbole_multvae.evaluation.revalidation import Evaluation

            return Evaluation(config, model, self.loaders[0]).score(self.loaders[1])

    @property
    def _train(self) -> Any:
        return self.loaders[0]._dataset

    def _tokens(self, field: str) -> list[str]:
        return [str(token) for token in self._train.field2id_token[field]]


def rebuild(
    checkpoint_path: str,
    dataset_path: str,
    trusted: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> Rebuilt:
    """Read the data set that a checkpoint names, and compare it with the tokens that the checkpoint holds.

    The arguments and errors are those of :class:`DataSet`.
    """
    try:
        from recbole_multvae.checkpoint import load
    except ImportError as error:
        raise TokensError("--dataset-path needs RecBole: pip install recbole-multvae") from error
    try:
        checkpoint = load(checkpoint_path, map_location="cpu")
    # It has been read already, but with no object of RecBole.
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise TokensError(f"RecBole cannot load {checkpoint_path}: {reason}") from error
    _point_to(checkpoint["config"], Path(dataset_path))
    loaders = _loaders(checkpoint["config"])
    by_time = checkpoint["config"]["eval_args"]["order"] == "TO"
    recbole_s = (lambda: _loaders(checkpoint["config"], times=np.float32)) if by_time else None
    return _compared(Rebuilt(checkpoint, loaders, recbole_s, trusted, progress, None))


def _loaders(config: Any, times: type[np.floating] = np.float64) -> list[Any]:
    """Read and split the data, in order of times of this precision. RecBole alone makes them float32 before it sorts."""
    with _recbole_s_words(config):
        from recbole.data import data_preparation
        from recbole.utils import init_seed

        from recbole_multvae.data.atomic_files import read_dataset

        init_seed(config["seed"], config["reproducibility"])
        dataset = read_dataset(config)
        if times is not np.float64 and dataset.time_field in dataset.inter_feat:
            column = dataset.inter_feat[dataset.time_field]
            dataset.inter_feat[dataset.time_field] = column.astype(times).astype(np.float64)
        return list(data_preparation(config, dataset))


def _compared(rebuilt: Rebuilt) -> Rebuilt:
    """The same, once the names that the checkpoint holds were found to be the data set's."""
    from recbole_multvae.data.trained_on import TrainedOn

    checkpoint = rebuilt.checkpoint
    for saved in (checkpoint.get("recbole_multvae"), checkpoint.get("other_parameter")):
        if isinstance(saved, dict) and "item_tokens" in saved:
            if difference := TrainedOn.of(rebuilt._train).difference(saved):
                raise refused(rebuilt, difference)
            return replace(rebuilt, by_name=NAMED if {"user_tokens", "training_sha256"} <= saved.keys() else ITEMS_NAMED)
    return rebuilt


def _where(config: Any) -> str:
    return f"the data set {config['dataset']} in {config['data_path']}"


def _of_sizes(train: Any, name: str, own: Sequence[int], saved: Sequence[int]) -> str:
    has = f"it has {train.user_num - 1} users and {train.item_num - 1} items"
    return f"{has}, for which the weights {name} are {list(own)} and not {list(saved)}"


def _point_to(config: Any, folder: Path) -> None:
    # RecBole would try to download a data set whose folder is missing.
    if not folder.is_dir():
        raise TokensError(f"--dataset-path={folder} is not a folder: name the folder of RecBole's data sets.")
    inside = folder / str(config["dataset"])
    config["data_path"] = str(inside if inside.is_dir() else folder)


@contextmanager
def _recbole_s_words(config: Any) -> Iterator[Any]:
    """A configuration that RecBole may follow; what RecBole then says is wrong becomes one sentence."""
    with tempfile.TemporaryDirectory() as empty, warnings.catch_warnings():
        # Deprecations inside RecBole are nothing that a user of the command could mend.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
        disable_pickle_caches(config, empty)
        try:
            yield config
        except ExportError:
            raise
        # RecBole fails in many ways on a configuration or weights that do not fit the data.
        except Exception as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise TokensError(f"RecBole cannot use {_where(config)}: {reason}") from error


def disable_pickle_caches(config: Any, empty_folder: str) -> None:
    """Take from a checkpoint's configuration what would make RecBole unpickle or write a file.

    RecBole loads saved data sets and data loaders with ``pickle`` from files that the configuration names, or from files of
    a fixed name in ``checkpoint_dir``.

    Args:
        config: RecBole's ``Config``, changed in place.
        empty_folder: a folder without files.
    """
    for key in ("dataset_save_path", "dataloaders_save_path"):
        config[key] = None
    for key in ("save_dataset", "save_dataloaders", "log_wandb"):
        config[key] = False
    config["checkpoint_dir"] = empty_folder
    config["device"] = torch.device("cpu")
    if config["eval_memory"] is None:  # A checkpoint of RecBole's own script: validation would rank one user at a time.
        config["eval_memory"] = EVAL_MEMORY
