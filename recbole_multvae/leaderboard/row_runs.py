"""The runs of rows. The members of a sum are trained as rows of their own are, and the sum is made of their checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from recbole.utils import ModelType

from recbole_multvae.errors import TrainingError
from recbole_multvae.experiment.run import run as run_model
from recbole_multvae.leaderboard.measuring import measure
from recbole_multvae.leaderboard.rows import Row, read_rows, with_members
from recbole_multvae.leaderboard.runs import Run, RunInputs, Runner, make_folder, read_finished
from recbole_multvae.leaderboard.space import Params


class RowRuns:
    """Performs the runs of rows, each once, though it is a row and a member of sums.

    Args:
        rows: all that will run.
        runner: performs a run in a process of its own.
        folder: where the results are written.
        params: the hyper-parameters that a search chose for each row, by its name.
        overrides: configuration keys of all runs, their values as text.
    """

    def __init__(
        self, rows: Iterable[Row], runner: Runner, folder: Path, params: Mapping[str, Params], overrides: dict[str, str]
    ) -> None:
        self._runner, self._folder, self._params, self._overrides = runner, folder, params, overrides
        self._members = {member.name for row in rows for member in row.members}
        self._runs: dict[tuple[str, int], Run] = {}

    def run(self, row: Row, seed: int) -> Run:
        """The run of a row under a seed."""
        if (row.name, seed) not in self._runs:
            members = self.run_members(row, seed)
            self._runs[row.name, seed] = self._run_sum(row, seed, members) if members else self._run_model(row, seed)
        return self._runs[row.name, seed]

    def run_members(self, row: Row, seed: int) -> list[Run]:
        """The runs of the members of a sum, up to the first that fails; none of a single model.

        Closed forms come first: what they need more memory for than there is, they say before long trainings.
        """
        runs: list[Run] = []
        for member in sorted(row.members, key=lambda member: member.config["MODEL_TYPE"] != ModelType.TRADITIONAL):
            runs.append(self.run(member, seed))
            if runs[-1]["status"] != "finished":
                break
        return runs

    def _run_model(self, row: Row, seed: int) -> Run:
        inputs = row.inputs(self._folder, seed, self._params.get(row.name, {}), self._overrides)
        finished = read_finished(inputs)
        files = (_chosen(finished), finished["checkpoint"]) if finished and row.name in self._members else ()
        if not all(Path(file).is_file() for file in files):
            Path(inputs.result).unlink()  # A sum is made of the checkpoints of its members.
        return self._runner.run(inputs, measure, f"{row.name}, seed {seed}")

    def _run_sum(self, row: Row, seed: int, members: Sequence[Run]) -> Run:
        """The run of a sum. Its seconds, memory and parameters are those of its members too."""
        inputs, title = sum_inputs(row, seed, members, self._folder, self._overrides), f"{row.name}, seed {seed}"
        if members[-1]["status"] != "finished":
            return self._runner.fail(inputs, f"its member {members[-1]['row']} failed: {members[-1]['error']}", title)
        run = self._runner.run(inputs, measure, title)
        return _with_members(run, members) if run["status"] == "finished" else run


def _chosen(run: Run) -> str:
    """The checkpoint that validation chose; a result of an earlier version names only one."""
    return str(run.get("chosen", run["checkpoint"]))


def sum_inputs(row: Row, seed: int, members: Sequence[Run], folder: Path, overrides: dict[str, str]) -> RunInputs:
    """The inputs of the run of a sum whose members have run."""
    checkpoints = {run["row"]: _chosen(run) for run in members if run["status"] == "finished"}
    in_order = {member.name: checkpoints.get(member.name, "") for member in row.members}
    return row.inputs(folder, seed, {"members": in_order}, overrides)


def _with_members(run: Run, members: Sequence[Run]) -> Run:
    every = (run, *members)
    return run | {
        "seconds": {name: sum(each["seconds"].get(name, 0) for each in every) for name in run["seconds"]},
        "seconds_in_all": sum(each["seconds_in_all"] for each in every),
        "memory": max(each["memory"] for each in every),
        "parameters": sum(member["parameters"] or 0 for member in members) or None,
    }


def run_sum(model: str, dataset: str, config_files: Sequence[str], keys: Mapping[str, str]) -> None:
    """Train the members of one sum, choose their weights, and test the sum: ``--model=MultVAE+EDLAE``.

    The members' checkpoints and results are kept in ``members/`` of ``checkpoint_dir``, where the same command finds them.

    Args:
        model: names with + between.
        dataset: the name of the data set.
        config_files: paths of configuration files, or names of shipped ones.
        keys: configuration keys that win over the files, their values as text.

    Raises:
        ConfigurationError: a mistake in the arguments or in a configuration; nothing has run.
        TrainingError: a member failed.
    """
    (row,) = read_rows(model, config_files, dataset, keys)
    member_keys = {key: value for key, value in keys.items() if key != "checkpoint_dir"}  # It would win over overrides.
    row = replace(row, members=tuple(replace(member, keys=member_keys) for member in row.members))
    seed, folder = row.config["seed"], Path(row.config["checkpoint_dir"], "members")
    make_folder(folder, "checkpoint_dir")
    runner = Runner(dict.fromkeys(with_members(row.members), 1))
    row_runs = RowRuns([row], runner, folder, {}, {"checkpoint_dir": str(folder), "show_progress": "False"})
    members = row_runs.run_members(row, seed)
    if members[-1]["status"] != "finished":
        raise TrainingError(f"{members[-1]['row']}, a member of {row.name}, failed: {members[-1]['error']}")
    inputs = sum_inputs(row, seed, members, folder, {})
    run_model(inputs.model, dataset, inputs.files, inputs.defaults, command_line=inputs.keys | {"seed": str(seed)})
