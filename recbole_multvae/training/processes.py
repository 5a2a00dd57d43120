"""Training one model in several processes, ``--nproc`` of 2 or more, through torch.distributed.

RecBole divides ``train_batch_size`` and the evaluation batches between the processes, and averages their gradients with
``DistributedDataParallel``: an update is that of one process on the union of their batches. But it does so on GPUs only. It
averages the rounded metrics of the processes, including those of the users that pad the last share. And a process may read
a checkpoint that another is still writing, or look for it under another name. This module corrects these; the training
command uses :func:`join_group` and :func:`in_a_group` for every model of RecBole.

A rank numbers the processes of all machines, a local rank those of one machine.
"""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from recbole.config import Config
from recbole.trainer import Trainer
from recbole.trainer.trainer import AbstractTrainer
from recbole.utils import EvaluatorType
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.evaluation.collector import ROWS_OF_RECORDS, ROWS_OF_USERS
from recbole_multvae.training.checkpoints import AtomicCheckpoints

#: The keys of a configuration that only make sense in a group of processes.
GROUP_KEYS = ("nproc", "world_size", "ip", "port", "offset")


def join_group(config: Config) -> None:
    """Join the process group: nccl with a GPU for each process, or gloo with a share of the cores for each.

    Sets the same keys of the configuration as ``Config._init_device``.

    Raises:
        ConfigurationError: there are GPUs, but fewer than processes.
    """
    keys = config.final_config_dict
    local_rank, gpus = keys["local_rank"], _gpus(config)
    if 0 < gpus < keys["nproc"]:
        raise ConfigurationError(
            f"--nproc={keys['nproc']} needs as many GPUs, and the number of GPUs is {gpus}: "
            "lower --nproc, or train on the CPU with --use_gpu=False."
        )
    if gpus:
        torch.cuda.set_device(local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // keys["nproc"]))
    distributed.init_process_group(
        "nccl" if gpus else "gloo",
        init_method=f"tcp://{keys['ip']}:{keys['port']}",
        rank=local_rank + keys["offset"],
        world_size=keys["world_size"],
    )
    keys.update(single_spec=False, device=torch.device("cuda", local_rank) if gpus else torch.device("cpu"))
    if local_rank != 0:
        keys.update(state="error", show_progress=False, verbose=False)


def _gpus(config: Config) -> int:
    """How many GPUs may be used. RecBole's default, ``gpu_id: 0``, does not limit them."""
    if not config["use_gpu"]:
        return 0
    if "gpu_id" in config.external_config_dict:
        ids = config["gpu_id"]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, ids)) if isinstance(ids, tuple) else str(ids)
    return torch.cuda.device_count()


def agree(value: Any) -> Any:
    """The value of rank 0, on every rank."""
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


class _DataParallel(AbstractTrainer):
    """RecBole's ``AbstractTrainer``, also on the CPU: processes start from the weights of rank 0 and average gradients."""

    def __init__(self, config: Any, model: Any) -> None:
        on_gpu = config["device"].type == "cuda"
        self.config = config
        self.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model) if on_gpu else model
        devices = [config["device"].index] if on_gpu else None
        self.distributed_model = DistributedDataParallel(self.model, device_ids=devices)


class SeveralProcesses(AtomicCheckpoints):
    """Overrides for any trainer of RecBole in a process of a group: see :func:`in_a_group`."""

    saved_model_file: str
    config: Any
    evaluator: Any

    @override
    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        self.saved_model_file = agree(self.saved_model_file)  # The name has the time, which may differ between ranks.
        train_data.sampler.seed = self.config["seed"]  # RecBole has the same order of users for every seed.
        return super().fit(train_data, *args, **kwargs)

    def evaluate(self, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluate. The metrics are those of one process, not an average over ranks.

        Raises:
            ConfigurationError: metrics of labels with sampled items, whose number differs between ranks.
        """
        if not eval_data:
            return super().evaluate(eval_data, *args, **kwargs)
        modes = set(self.config["eval_args"]["mode"].values())
        if self.config["eval_type"] == EvaluatorType.VALUE and modes != {"labeled"}:
            raise ConfigurationError(
                f"metrics={self.config['metrics']!r} with eval_args mode={modes.pop()!r} need one process: leave out "
                "--nproc, or take mode labeled."
            )
        evaluator = self.evaluator
        self.evaluator = AllRanksEvaluator(evaluator, eval_data.sample_size, self.device)
        try:
            return super().evaluate(eval_data, *args, **kwargs)
        finally:
            self.evaluator = evaluator

    def _map_reduce(self, result: Any, num_sample: int) -> Any:
        # RecBole averages the metrics of the ranks; those of an AllRanksEvaluator are of all rows already.
        return result if isinstance(self.evaluator, AllRanksEvaluator) else super()._map_reduce(result, num_sample)

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Let one process of a machine write the checkpoint; the others wait until it is there."""
        if self.config["local_rank"] == 0:
            config = self.config
            self.config = _config_of_one_process(config)
            super()._save_checkpoint(epoch, verbose, **kwargs)
            self.config = config
        distributed.barrier()


def in_a_group(trainer: type[Trainer]) -> type[Trainer]:
    """The trainer class for a process of a group."""
    return type(trainer.__name__, (SeveralProcesses, trainer, _DataParallel), {})


class AllRanksEvaluator:
    """RecBole's evaluator, on the rows of all ranks: the metrics are exactly those of one process.

    ``DistributedSampler`` gives rank r of W the rows r, r + W, ... of ``n_rows``, and pads with the first rows.
    """

    def __init__(self, evaluator: Any, n_rows: int, device: torch.device) -> None:
        self.evaluator = evaluator
        self.n_rows = n_rows
        self.device = device

    def evaluate(self, collected: Any) -> dict[str, float]:
        """Evaluate the results of all ranks. ``collected`` is RecBole's ``DataStruct`` of this rank."""
        for name in (*ROWS_OF_USERS, *ROWS_OF_RECORDS):
            if name in collected:
                collected.set(name, self._gather(collected.get(name)))
        return self.evaluator.evaluate(collected)

    def _gather(self, rows: Tensor) -> Tensor:
        rows = rows.to(self.device)
        ranks = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(ranks, rows)
        return torch.stack(ranks, dim=1).flatten(0, 1)[: self.n_rows].cpu()


def _config_of_one_process(config: Config) -> Config:
    """The configuration for a checkpoint, which must load without a process group."""
    single = copy.copy(config)
    keys = {key: value for key, value in config.final_config_dict.items() if key not in GROUP_KEYS}
    single.final_config_dict = {**keys, "single_spec": True}
    return single
