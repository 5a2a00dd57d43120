"""One run in several processes of this machine."""

from __future__ import annotations

import logging
import signal
import socket
from typing import Any

from torch import multiprocessing
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException

from recbole_multvae.compatibility import ignore_recbole_deprecations
from recbole_multvae.errors import ConfigurationError, MultVAEError, ProcessError, TrainingInterrupted
from recbole_multvae.experiment.early_end import best_state
from recbole_multvae.experiment.fork_server import METHOD, prepared
from recbole_multvae.experiment.run import run

#: The port that RecBole's command line uses.
DEFAULT_PORT = 5678


def run_processes(
    arguments: dict[str, Any], nproc: int, world_size: int = -1, ip: str = "localhost", port: int | None = None,
    group_offset: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Train in ``nproc`` processes of this machine, each on a GPU of its own or on the CPU. Returns what :func:`run` does.

    As in RecBole, ``train_batch_size`` is the batch of all processes together: updates are those of one process. If the
    number of users is not a multiple of the number of processes, an epoch visits up to ``world_size - 1`` users twice.

    Args:
        arguments: those of :func:`run`, without ``config_dict`` and ``announce``.
        nproc: processes on this machine.
        world_size: processes on all machines; -1 if there is only this machine.
        ip: the address of the machine of rank 0.
        port: its port; None takes a free one on a single machine, and 5678, RecBole's default, for several.
        group_offset: the rank of this machine's first process.

    Raises:
        ConfigurationError: the numbers do not fit, the port is in use, or there are GPUs, but fewer than processes.
        ProcessError: a process was killed.
        MultVAEError: whatever :func:`run` raised in a process.
        TrainingInterrupted: Ctrl-C.
    """
    group = _group(nproc, nproc if world_size <= 0 else world_size, ip, port, group_offset)
    server = prepared(__name__)
    results, checkpoints = server.SimpleQueue(), server.SimpleQueue()
    logging.getLogger(multiprocessing.spawn.__module__).setLevel(logging.ERROR)  # It logs every process that it stops.
    context = multiprocessing.start_processes(
        _run_process, args=(arguments, group, results, checkpoints), nprocs=nproc, join=False, start_method=METHOD
    )
    try:
        while not context.join():
            pass
    except ProcessException as failure:
        _explain(failure, results)
        raise
    except KeyboardInterrupt:
        file = None if checkpoints.empty() else checkpoints.get()
        raise TrainingInterrupted(f"Interrupted: {best_state(file)}") from None
    finally:
        for process in context.processes:
            process.terminate()
    return results.get()


def _group(nproc: int, world_size: int, ip: str, port: int | None, group_offset: int) -> dict[str, Any]:
    """The configuration keys by which a process finds the others."""
    if nproc < 1 or not 0 <= group_offset <= world_size - nproc:
        raise ConfigurationError(
            f"--nproc={nproc} --group_offset={group_offset} --world_size={world_size} do not fit: expected one process or "
            "more, and a world of all machines' processes."
        )
    if group_offset == 0:
        port = _listening_port(DEFAULT_PORT if port is None and world_size > nproc else port)
    return {"nproc": nproc, "world_size": world_size, "ip": ip, "port": port or DEFAULT_PORT, "offset": group_offset}


def _run_process(
    local_rank: int, arguments: dict[str, Any], group: dict[str, Any], results: Any, checkpoints: Any
) -> None:  # fmt: skip
    # torch sends SIGINT to the processes when their parent ends, and a shell makes its background jobs ignore it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ignore_recbole_deprecations()
    if local_rank != 0:
        logging.disable(logging.WARNING)  # Only rank 0 logs.
    else:
        arguments = {**arguments, "announce": checkpoints.put}
    try:
        result = run(**arguments, config_dict={**group, "local_rank": local_rank})
    except MultVAEError as error:
        results.put(error)
        raise
    if local_rank == 0:
        results.put(result)


def _explain(failure: ProcessException, results: Any) -> None:
    """Raise the error of a process if it is a user's mistake, and one sentence if the process was killed."""
    if not results.empty() and isinstance(error := results.get(), MultVAEError):
        raise error from None
    if isinstance(failure, ProcessExitedException):
        raise ProcessError(
            f"Process {failure.error_index} ended with {failure.signal_name or f'exit code {failure.exit_code}'}, and the "
            "others were stopped: was there enough memory?"
        ) from None


def _listening_port(port: int | None) -> int:
    """The port, if this machine can listen on it; a free one for None."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Closing connections may still hold the port.
        try:
            server.bind(("", port or 0))
            server.listen()
        except (OSError, OverflowError):
            raise ConfigurationError(
                f"--port={port} is in use or not allowed on this machine: name another, or leave it out for a free one."
            ) from None
        return server.getsockname()[1]
