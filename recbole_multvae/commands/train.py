"""Configuration, data, training, evaluation: the command line of RecBole's run_recbole.py, for its models and ours.

The steps, their order and their random seeds are those of ``recbole.quick_start.run_recbole`` in RecBole 1.2.1; its module
is not imported, because it imports ray, which only hyper-parameter search needs.
"""

from __future__ import annotations

import argparse
import logging
import re
import signal
import socket
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from logging import getLogger
from pathlib import Path
from typing import Any

import recbole
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.transform import construct_transform
from recbole.utils import get_environment, get_flops, get_model, get_trainer, init_logger, init_seed, set_color
from torch import multiprocessing
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException

from recbole_multvae.commands.ending import ignore_recbole_s_deprecations, run_command
from recbole_multvae.errors import ConfigurationError, DataError, MultVAEError, ProcessError
from recbole_multvae.models import FAMILY
from recbole_multvae.training.checkpoints import with_whole_checkpoints
from recbole_multvae.training.processes import group_config, in_a_group

#: RecBole's.
DEFAULT_PORT = 5678


def run(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
) -> dict[str, Any]:
    """Train and evaluate a model in this process.

    Args:
        model: the name of a model, RecBole's or ours; None reads it from the configuration.
        dataset: the name of a data set; None reads it from the configuration.
        config_file_list: paths of YAML files.
        config_dict: further configuration keys.
        saved: whether to save the best model and to test it rather than the last.

    Returns:
        ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and ``test_result``, as RecBole returns them.

    Raises:
        ConfigurationError: a key is misspelt or out of range.
        DataError: RecBole cannot read the data set.
    """
    grouped = config_dict is not None and "local_rank" in config_dict
    config = (group_config if grouped else Config)(model, dataset, config_file_list, config_dict)
    init_seed(config["seed"], config["reproducibility"])
    Path("log", config["model"]).mkdir(parents=True, exist_ok=True)  # RecBole fails where another process makes it first.
    init_logger(config)
    logger = getLogger()
    logger.info(sys.argv)
    logger.info(config)

    data = _create_dataset(config)
    logger.info(data)
    train_data, valid_data, test_data = data_preparation(config, data)

    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    network = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    logger.info(network)
    flops = get_flops(network, data, config["device"], logger, construct_transform(config))
    logger.info(set_color("FLOPs", "blue") + f": {flops}")

    Path(config["checkpoint_dir"]).mkdir(parents=True, exist_ok=True)  # For the same reason.
    trainer_class = with_whole_checkpoints(get_trainer(config["MODEL_TYPE"], config["model"]))
    trainer = (in_a_group(trainer_class) if grouped else trainer_class)(config, network)
    show_progress = config["show_progress"]
    best_score, best_result = trainer.fit(train_data, valid_data, saved=saved, show_progress=show_progress)
    test_result = trainer.evaluate(test_data, load_best_model=saved, show_progress=show_progress)

    logger.info(f"The running environment of this training is as follows:\n{get_environment(config).draw()}")
    logger.info(set_color("best valid ", "yellow") + f": {best_result}")
    logger.info(set_color("test result", "yellow") + f": {test_result}")
    if not config["single_spec"]:
        torch.distributed.destroy_process_group()
    return {
        "best_valid_score": best_score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": best_result,
        "test_result": test_result,
    }


def _create_dataset(config: Config) -> Any:
    try:
        return create_dataset(config)
    except (ValueError, OSError) as error:
        raise DataError(f"Cannot read the data set {config['dataset']} in {config['data_path']}: {error}") from error


def run_processes(
    arguments: dict[str, Any], nproc: int, world_size: int = -1, ip: str = "localhost", port: int | None = None,
    group_offset: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Train in ``nproc`` processes of this machine, a GPU each or on the CPU, and return what :func:`run` does.

    ``train_batch_size`` is the batch of all processes together, as RecBole has it: an update is that of one process. Where
    the number of users is no multiple of the processes, an epoch visits up to ``world_size - 1`` of them twice.

    Args:
        arguments: those of :func:`run`, but for ``config_dict``.
        nproc: processes on this machine.
        world_size: processes on all machines; -1: there is this machine only.
        ip: the address of the machine of rank 0.
        port: its port; None: a free one on a single machine, and 5678, RecBole's default, for several.
        group_offset: the rank of this machine's first process.

    Raises:
        ConfigurationError: the numbers do not fit, the port is in use, or there are GPUs but fewer than processes.
        ProcessError: a process was killed.
        MultVAEError: whatever :func:`run` raised in a process.
    """
    world_size = nproc if world_size <= 0 else world_size
    if nproc < 1 or not 0 <= group_offset <= world_size - nproc:
        raise ConfigurationError(
            f"--nproc={nproc} --group_offset={group_offset} --world_size={world_size} do not fit: expected one process or "
            "more, and a world of all machines' processes."
        )
    if group_offset == 0:
        port = _listening_port(DEFAULT_PORT if port is None and world_size > nproc else port)
    group = {"nproc": nproc, "world_size": world_size, "ip": ip, "port": port or DEFAULT_PORT, "offset": group_offset}
    results = multiprocessing.get_context("spawn").SimpleQueue()
    logging.getLogger(multiprocessing.spawn.__module__).setLevel(logging.ERROR)  # It tells of every process that it stops.
    context = multiprocessing.spawn(_run_process, args=(arguments, group, results), nprocs=nproc, join=False)
    try:
        while not context.join():
            pass
    except ProcessException as failure:
        _explain(failure, results)
        raise
    finally:
        for process in context.processes:
            process.terminate()
    return results.get()


def _run_process(local_rank: int, arguments: dict[str, Any], group: dict[str, Any], results: Any) -> None:
    # What torch sends when the parent is gone; a shell has its background jobs ignore it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ignore_recbole_s_deprecations()
    if local_rank != 0:
        logging.disable(logging.WARNING)  # One process speaks for all.
    try:
        result = run(**arguments, config_dict={**group, "local_rank": local_rank})
    except MultVAEError as error:
        results.put(error)
        raise
    if local_rank == 0:
        results.put(result)


def _explain(failure: ProcessException, results: Any) -> None:
    """Raise a user's mistake as the process met it, and the death of a process as one sentence."""
    if not results.empty() and isinstance(error := results.get(), MultVAEError):
        raise error from None
    if isinstance(failure, ProcessExitedException):
        raise ProcessError(
            f"Process {failure.error_index} ended with {failure.signal_name or f'exit code {failure.exit_code}'}, and the "
            "others were stopped: was there enough memory?"
        ) from None


def _listening_port(port: int | None) -> int:
    """The port if this machine can listen on it; a free one for None."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Connections that are dying do not matter.
        try:
            server.bind(("", port or 0))
            server.listen()
        except (OSError, OverflowError):
            raise ConfigurationError(
                f"--port={port} is in use or not allowed on this machine: name another, or none to have a free one."
            ) from None
        return server.getsockname()[1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train and evaluate a model of RecBole or of the Mult-VAE family.",
        epilog="Any configuration key can be set with --key=value, for example: "
        "--model=MultVAE --dataset=ml-100k --epochs=20 --learning_rate=0.001",
        allow_abbrev=False,
    )
    parser.add_argument("--model", "-m", default="MultVAE", help="name of the model (default: %(default)s)")
    parser.add_argument("--dataset", "-d", default="ml-100k", help="name of the data set (default: %(default)s)")
    parser.add_argument("--config_files", help="paths of YAML files, separated by spaces")
    parser.add_argument("--nproc", type=int, default=1, help="number of processes on this machine")
    parser.add_argument("--ip", default="localhost", help="address of the master node")
    parser.add_argument("--port", type=int, help="port of the master node (default: a free one; 5678 for several machines)")
    parser.add_argument("--world_size", type=int, default=-1, help="number of processes on all machines")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of this machine's first process")
    return parser


def _check(args: argparse.Namespace, files: list[str], extra: list[str]) -> None:
    """Find what RecBole would answer with a traceback, or pass over in silence."""
    for argument in extra:
        if not argument.startswith("--") or argument.count("=") != 1:
            raise ConfigurationError(f"The argument {argument!r} is not understood: write --key=value.")
    for file in files:
        if not Path(file).is_file():
            raise ConfigurationError(f"--config_files names {file!r}, but there is no such file.")
    names = _model_names()
    if args.model not in names:
        folded = {name.lower(): name for name in names}
        alike = get_close_matches(args.model.lower(), folded, n=1)
        hint = f"did you mean {folded[alike[0]]}?" if alike else f"expected one of {', '.join(sorted(names))}."
        raise ConfigurationError(f"--model={args.model} is neither one of RecBole's models nor one of ours: {hint}")


def _model_names() -> set[str]:
    """The models of RecBole, read off its files without importing them, and ours."""
    files = (Path(recbole.__file__).parent / "model").glob("*_recommender/*.py")
    classes = {name for file in files for name in re.findall(r"^class (\w+)", file.read_text("utf-8"), re.MULTILINE)
               if name.lower() == file.stem}  # fmt: skip
    return classes | {model.__name__ for model in FAMILY}


def _run(args: argparse.Namespace, extra: list[str]) -> None:
    files = args.config_files.split() if args.config_files else []
    _check(args, files, extra)
    arguments = {"model": args.model, "dataset": args.dataset, "config_file_list": files}
    if args.nproc == 1 and args.world_size <= 0:
        run(**arguments)
    else:
        run_processes(arguments, args.nproc, args.world_size, args.ip, args.port, args.group_offset)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    args, extra = _parser().parse_known_args(argv)
    return run_command(lambda: _run(args, extra))
