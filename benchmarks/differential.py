"""Odd generated data sets through this package, through RecBole alone and through a transcription: the differences.

python benchmarks/differential.py [--examples 3000] [--seed 0] [--smallest]
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hypothesis import HealthCheck, Phase, find, given, seed, settings
from recbole.utils import utils

from recbole_multvae.compatibility import ignore_recbole_deprecations
from tests.differential.made import Example, examples
from tests.differential.outcome import NoBoard
from tests.differential.recbole_path import RecBoleAlone
from tests.differential.trial import Trials


def kind(problem: str) -> str:
    """A problem without its numbers, tokens and paths."""
    problem = re.sub("(training|validation|test) has .*", r"\1 has other records", problem)
    problem = re.sub("(users|items) differ.*", r"\1 differ", problem)
    return re.sub(r"\S*/made\S*|'[^']*'|\"[^\"]*\"|\[.*?\]|\(.*?\)|[-\d.]+(e-?\d+)?", "_", problem)[:90]


def try_many(trials: Trials, number: int, start: int) -> tuple[Counter[str], dict[str, Example]]:
    """The number of examples with each note and each kind of problem, and one example of each problem."""
    counts: Counter[str] = Counter()
    example_of: dict[str, Example] = {}

    @seed(start)
    @settings(
        max_examples=number, phases=[Phase.generate], deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(examples())
    def try_one(example: Example) -> None:
        verdict = trials(example)
        counts.update(verdict.notes)
        counts["! examples with one of these or more"] += bool(verdict.problems)
        for problem in {kind(problem) for problem in verdict.problems}:
            counts[f"! {problem}"] += 1
            example_of.setdefault(problem, example)

    try_one()
    return counts, example_of


def smallest(trials: Trials, problem: str, tries: int = 400) -> Any:
    """The smallest example with a problem."""
    limits = settings(max_examples=tries, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    return find(examples(), lambda example: problem in map(kind, trials(example).problems), settings=limits)


def show(trials: Trials, problem: str, example: Example) -> None:
    """Print an example and its problems."""
    verdict = trials(example)
    print(f"\n! {problem}\n  {example}")
    for line in verdict.problems:
        print(f"  {line}")


def main() -> int:
    """Print a table. The exit code is 1 where something is wrong or not understood."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smallest", action="store_true", help="look for the smallest example of each problem: minutes")
    args = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole reads keys from it.
    utils.SummaryWriter = NoBoard
    ignore_recbole_deprecations()
    with tempfile.TemporaryDirectory() as folder, RecBoleAlone(Path(folder)) as alone:
        os.chdir(folder)
        trials, start = Trials(Path(folder), alone), time.perf_counter()
        counts, example_of = try_many(trials, args.examples, args.seed)
        print(f"{args.examples} examples, {time.perf_counter() - start:.0f} s")
        for note, count in sorted(counts.items(), key=lambda pair: (pair[0].startswith("!"), pair[0].split()[0], -pair[1])):
            print(f"{count:6}  {note}")
        for problem, example in example_of.items():
            show(trials, problem, smallest(trials, problem) if args.smallest else example)
    return int(bool(example_of))


if __name__ == "__main__":
    raise SystemExit(main())
