"""The command ``multvae-train``: the command line of RecBole's run_recbole.py, for its models and ours."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_multvae.commands.command_line import read_command_line
from recbole_multvae.commands.exit_codes import run_command
from recbole_multvae.commands.leaderboard import check_one_process, is_leaderboard, leaderboard, read_jobs
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.experiment.processes import run_processes
from recbole_multvae.experiment.run import run
from recbole_multvae.leaderboard.row_runs import run_sum
from recbole_multvae.tracking import tracker_class


def _train(argv: Sequence[str] | None) -> None:
    options, keys = read_command_line(argv)
    arguments = {
        "model": options.model,
        "dataset": options.dataset,
        "config_file_list": options.config_files,
        "command_line": keys,
        "track": options.track,
    }
    if options.track is not None:
        tracker_class(options.track)
    if is_leaderboard(options):
        leaderboard(options, keys)
    elif options.report_dir is not None:
        raise ConfigurationError(
            f"--report_dir={options.report_dir} is for the report on several models or seeds: name them in --model or "
            "--seeds."
        )
    elif options.params_file:
        raise ConfigurationError(f"--params_file={' '.join(options.params_file)} is for a search: add --tune=20.")
    elif "+" in options.model:
        check_one_process(options, "a sum, whose members each have a process of their own")
        jobs = read_jobs(options)
        run_sum(
            options.model, options.dataset, options.config_files, keys, jobs, options.ray, options.per_user, options.track
        )
    elif options.ray or (options.jobs or "1") != "1":
        option = f"--ray={options.ray}" if options.ray else f"--jobs={options.jobs}"
        raise ConfigurationError(f"{option} is for several models or seeds, and this is one run: leave it out.")
    elif options.nproc == 1 and options.world_size <= 0:
        run(**arguments, per_user=options.per_user)
    elif options.per_user:
        raise ConfigurationError(f"--per_user={options.per_user} does not go with several processes: leave out --nproc.")
    else:
        run_processes(arguments, options.nproc, options.world_size, options.ip, options.port, options.group_offset)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return run_command(lambda: _train(argv))
