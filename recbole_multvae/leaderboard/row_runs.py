"""The runs of rows. The members of a sum are trained as rows of their own are, and the sum is made of their checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from recbole.utils import ModelType

from recbole_multvae.config.values import check_output_file
from recbole_multvae.errors import TrainingError
from recbole_multvae.experiment.run import run as run_model
from recbole_multvae.leaderboard.jobs import start_jobs
from recbole_multvae.leaderboard.measuring import measure
from recbole_multvae.leaderboard.rows import Row, read_rows, tell_unread, with_members
from recbole_multvae.leaderboard.run_inputs import Run, RunInputs, make_folder, read_finished
from recbole_multvae.leaderboard.runs import Runner
from recbole_multvae.leaderboard.space import Params
from recbole_multvae.leaderboard.tracked import TrackedReport
from recbole_multvae.tracking.telling import Telling


class RowRuns:
    """Performs the runs of rows, each once, though it may be a row and a member of sums.

    Args:
        rows: all that will run.
        runner: performs a run in a process of its own.
        folder: where the results are written.
        params: the hyper-parameters that a search chose for each row, by its name.
        overrides: configuration keys of all runs, their values as text.
        over: called with each run when it is over, from several threads.
    """

    def __init__(
        self, rows: Iterable[Row], runner: Runner, folder: Path, params: Mapping[str, Params], overrides: dict[str, str],
        over: Callable[[Run], None],
    ) -> None:  # fmt: skip
        self._runner, self._folder, self._params, self._overrides = runner, folder, params, overrides
        self._over = over
        self._sums = [row for row in rows if row.members]
        self._alone = {row.name for row in rows if not row.members}
        self._failed: set[tuple[str, int]] = set()
        self._runs: dict[tuple[str, int], Run] = {}

    def run_all(self, rows: Iterable[Row], seeds: Sequence[int]) -> list[Run]:
        """The runs of rows under each of the seeds, seed after seed.

        Of the members of sums, closed forms come first: what they need more memory for than there is, they say before long
        trainings. The sums come last.

        Raises:
            TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
        """
        rows = list(rows)
        models = {model.name: model for row in rows for model in (row.members or (row,))}
        in_order = sorted(models.values(), key=lambda model: bool(self._sums_with(model)) and not _is_closed_form(model))
        self._run_each(self._run_model, [(model, seed) for seed in seeds for model in in_order])
        self._run_each(self._run_sum, [(row, seed) for seed in seeds for row in rows if row.members])
        return [self._runs[row.name, seed] for seed in seeds for row in rows]

    def _run_each(self, run: Callable[[Row, int], Run], tasks: Sequence[tuple[Row, int]]) -> None:
        """Do runs side by side. Those that finished before come first, so that the time to go is that of the others."""
        missing = [(row, seed) for row, seed in tasks if (row.name, seed) not in self._runs]
        missing.sort(key=lambda task: read_finished(self._inputs(*task)) is None)
        for (row, seed), result in zip(missing, self._runner.side_by_side(run, missing), strict=True):
            self._runs[row.name, seed] = result

    def _inputs(self, row: Row, seed: int) -> RunInputs:
        if row.members:
            return sum_inputs(row, seed, self._members_of(row, seed), self._folder, self._overrides)
        return row.inputs(self._folder, seed, self._params.get(row.name, {}), self._overrides)

    def _members_of(self, row: Row, seed: int) -> list[Run]:
        return [self._runs[member.name, seed] for member in row.members]

    def _run_model(self, row: Row, seed: int) -> Run:
        inputs, sums = self._inputs(row, seed), self._sums_with(row)
        if row.name not in self._alone and all(self._has_failed(each, seed) for each in sums):
            return self._runner.skip(inputs)
        finished = read_finished(inputs)
        files = (_chosen(finished), finished["checkpoint"]) if finished and sums else ()
        if not all(Path(file).is_file() for file in files):
            Path(inputs.result).unlink()  # A sum is made of the checkpoints of its members.
        run = self._runner.run(inputs, measure, f"{row.name}, seed {seed}")
        if run["status"] == "failed":
            self._failed.add((row.name, seed))
        self._over(run)
        return run

    def _sums_with(self, member: Row) -> list[Row]:
        return [row for row in self._sums if any(each.name == member.name for each in row.members)]

    def _has_failed(self, row: Row, seed: int) -> bool:
        """Whether a member of a sum has failed, so that the sum cannot be made."""
        return any((member.name, seed) in self._failed for member in row.members)

    def _run_sum(self, row: Row, seed: int) -> Run:
        """The run of a sum. Its seconds, memory and parameters are those of its members too."""
        inputs, members, title = self._inputs(row, seed), self._members_of(row, seed), f"{row.name}, seed {seed}"
        if error := _failure(members):
            return self._runner.fail(inputs, error, title)
        run = self._runner.run(inputs, measure, title)
        run = _with_members(run, members) if run["status"] == "finished" else run
        self._over(run)
        return run


def _is_closed_form(row: Row) -> bool:
    return bool(row.config["MODEL_TYPE"] == ModelType.TRADITIONAL)


def _failure(members: Sequence[Run]) -> str | None:
    """Why a sum cannot be made, as a clause; None if its members have finished."""
    failed = (f"its member {run['row']} failed: {run['error']}" for run in members if run["status"] == "failed")
    return next(failed, None)


def _chosen(run: Run) -> str:
    """The checkpoint that validation chose; a result of an earlier version names only one."""
    return str(run.get("chosen", run["checkpoint"]))


def sum_inputs(row: Row, seed: int, members: Sequence[Run], folder: Path, overrides: dict[str, str]) -> RunInputs:
    """The inputs of the run of a sum whose members have run."""
    checkpoints = {run["row"]: _chosen(run) for run in members if run["status"] == "finished"}
    in_order = {member.name: checkpoints.get(member.name, "") for member in row.members}
    return row.inputs(folder, seed, {"members": in_order}, overrides)


def _without_checkpoint_dir(row: Row) -> Row:
    """The row without the key ``checkpoint_dir``, which would win over overrides."""
    return replace(row, keys={key: value for key, value in row.keys.items() if key != "checkpoint_dir"})


def _with_members(run: Run, members: Sequence[Run]) -> Run:
    every = (run, *members)
    return run | {
        "seconds": {name: sum(each["seconds"].get(name, 0) for each in every) for name in run["seconds"]},
        "seconds_in_all": sum(each["seconds_in_all"] for each in every),
        "memory": max(each["memory"] for each in every),
        "parameters": sum(member["parameters"] or 0 for member in members) or None,
    }


def run_sum(
    model: str, dataset: str, config_files: Sequence[str], keys: Mapping[str, str], jobs: int | None = 1,
    ray: str | None = None, per_user: str | None = None, track: str | None = None,
) -> None:  # fmt: skip
    """Train the members of one sum, choose their weights, and test the sum: ``--model=MultVAE+EDLAE``.

    The members' checkpoints and results are kept in ``members/`` of ``checkpoint_dir``, where the same command finds them.

    Args:
        model: names with + between.
        dataset: the name of the data set.
        config_files: paths of configuration files, or names of shipped ones.
        keys: configuration keys that win over the files, their values as text.
        jobs: how many members are trained at a time, see :func:`.jobs.start_jobs`.
        ray: the address of a Ray cluster for the trainings of the members; None: this machine.
        per_user: a CSV file for the test's metrics of each user.
        track: the name of a tracker that is told of the members and of the sum, see :mod:`..tracking`.

    Raises:
        ConfigurationError: a mistake in the arguments or in a configuration; nothing has run.
        TrainingError: a member failed.
        TrackingError: all is done, but the tracker was not told everything.
        TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
    """
    if per_user:
        check_output_file("--per_user", per_user)
    (row,) = read_rows(model, config_files, dataset, keys)
    tell_unread([row], config_files)
    row = replace(row, members=tuple(_without_checkpoint_dir(member) for member in row.members))
    seed, folder = row.config["seed"], Path(row.config["checkpoint_dir"], "members")
    make_folder(folder, "checkpoint_dir")
    runner = Runner(dict.fromkeys(with_members(row.members), 1), start_jobs(jobs, ray))
    tracked = TrackedReport(Telling(track, row.config), row.name)
    overrides = {"checkpoint_dir": str(folder), "show_progress": "False"}
    row_runs = RowRuns([row], runner, folder, {}, overrides, tracked.tell_run)
    members = row_runs.run_all(row.members, [seed])
    if error := _failure(members):
        raise TrainingError(f"{row.name}: {error}")
    inputs = sum_inputs(row, seed, members, folder, {})
    own_keys = inputs.keys | {"seed": str(seed)}
    run_model(inputs.model, dataset, inputs.files, inputs.defaults, command_line=own_keys, per_user=per_user, track=track)
    tracked.close("all models are trained; the same command tells of the members, and trains no member again.")
