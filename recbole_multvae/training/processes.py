"""Several processes that train one model, through torch.distributed: what RecBole leaves open once ``--nproc`` is 2 or more.

RecBole shares out ``train_batch_size`` and the evaluation batches over the processes, and averages their gradients with
``DistributedDataParallel``: an update is that of one process on the union of their batches. But it only does so on GPUs; it
averages the rounded metrics of the processes, users that pad the last share included; and a process may read a checkpoint
that another is still writing, or look for it under another name. :mod:`.registration` puts these functions in place.

A rank counts the processes of all machines, a local rank those of one.
"""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from recbole.config import Config
from recbole.utils import set_color
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from recbole_multvae.errors import ConfigurationError

#: The keys of a configuration that only make sense in a group of processes.
GROUP_KEYS = ("nproc", "world_size", "ip", "port", "offset")


def join_group(config: Config) -> None:
    """Join the process group: a GPU for each process and nccl, or a share of the cores for each and gloo.

    Sets in the configuration what ``Config._init_device`` sets.

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
    """How many GPUs may be used. RecBole's default, ``gpu_id: 0``, is not a choice of the user's."""
    if not config["use_gpu"]:
        return 0
    if "gpu_id" in config.external_config_dict:
        ids = config["gpu_id"]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, ids)) if isinstance(ids, tuple) else str(ids)
    return torch.cuda.device_count()


def data_parallel(model: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Average the gradients of the processes, and start them all from the weights of rank 0."""
    return DistributedDataParallel(model, device_ids=None if device.type == "cpu" else [device.index])


def agree(value: Any) -> Any:
    """What rank 0 says, on every rank."""
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


class WholeEvaluator:
    """RecBole's evaluator, on the rows of all ranks: the metrics are exactly those of one process.

    ``DistributedSampler`` gives rank r of W the rows r, r + W, ... of ``n_rows``, and pads with the first rows.
    """

    def __init__(self, evaluator: Any, n_rows: int, device: torch.device) -> None:
        self.evaluator = evaluator
        self.n_rows = n_rows
        self.device = device

    def evaluate(self, collected: Any) -> dict[str, float]:
        """Evaluate what the ranks have collected. ``collected`` is RecBole's ``DataStruct`` of this rank."""
        for name in ("rec.items", "rec.topk", "rec.meanrank"):
            if name in collected:
                collected.set(name, self._gather(collected.get(name)))
        return self.evaluator.evaluate(collected)

    def _gather(self, rows: Tensor) -> Tensor:
        rows = rows.to(self.device)
        ranks = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(ranks, rows)
        return torch.stack(ranks, dim=1).flatten(0, 1)[: self.n_rows].cpu()


def save_once(save: Any, trainer: Any, epoch: int, verbose: bool = True, saved_model_file: str | None = None) -> None:
    """Let one process of a machine write the checkpoint, and the others wait until it is there, whole.

    Args:
        save: ``Trainer._save_checkpoint`` as RecBole defines it.
        trainer: RecBole's trainer.
        epoch: the epoch to continue after.
        verbose: whether to log the path.
        saved_model_file: where to, instead of the trainer's own path.
    """
    config, file = trainer.config, saved_model_file or trainer.saved_model_file
    if config["local_rank"] == 0:
        part = f"{file}.{distributed.get_rank()}"  # Machines may share the folder.
        trainer.config = _of_one_process(config)
        save(trainer, epoch, verbose=False, saved_model_file=part)
        trainer.config = config
        os.replace(part, file)
        if verbose:
            trainer.logger.info(set_color("Saving current", "blue") + f": {file}")
    distributed.barrier()


def _of_one_process(config: Config) -> Config:
    """The configuration for a checkpoint, which must load where there is no process group."""
    single = copy.copy(config)
    keys = {key: value for key, value in config.final_config_dict.items() if key not in GROUP_KEYS}
    single.final_config_dict = {**keys, "single_spec": True}
    return single
