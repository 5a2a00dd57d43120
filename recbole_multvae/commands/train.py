"""The command ``multvae-train``: the command line of RecBole's run_recbole.py, for its models and ours."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_multvae.commands.command_line import read_command_line
from recbole_multvae.commands.exit_codes import run_command
from recbole_multvae.commands.run import run
from recbole_multvae.commands.spawn import run_processes

__all__ = ["main", "run", "run_processes"]


def _train(argv: Sequence[str] | None) -> None:
    options, keys = read_command_line(argv)
    arguments = {
        "model": options.model,
        "dataset": options.dataset,
        "config_file_list": options.config_files,
        "command_line": keys,
    }
    if options.nproc == 1 and options.world_size <= 0:
        run(**arguments)
    else:
        run_processes(arguments, options.nproc, options.world_size, options.ip, options.port, options.group_offset)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return run_command(lambda: _train(argv))
