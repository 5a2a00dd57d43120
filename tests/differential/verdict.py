"""What three answers to one example say about each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np

from recbole_multvae.errors import MultVAEError
from tests.differential.made import TOPK, Example
from tests.differential.outcome import Outcome
from tests.differential.reading import FailsError, SentenceError
from tests.differential.recbole_path import RecBoleFailedError
from tests.differential.scoring import bounds, items_by_user, ranked_items
from tests.differential.transcription import Record, Result, transcribe

#: The faults of RecBole that are known, and copied in the transcription so that they can be told from unknown ones.
FAULTS = {
    "csv": "quotes, separators of several characters and rows of another length, as pandas' parser in Python takes them",
    "na": "tokens that pandas takes for missing are dropped, and the wrong rows where both columns have some",
    "float32": "times are compared in float32",
    "unstable": "rows of equal times are put out of order before duplicates are removed",
    "TS": "TS with the default order RO mixes past and future",
    "loading": "columns that other keys read are not loaded where load_col is left out",
}


@dataclass
class Verdict:
    """``notes`` are counted; with ``problems`` something is wrong here, or not understood."""

    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def judge(example: Example, ours: Outcome | Exception, alone: Outcome | RecBoleFailedError) -> Verdict:
    """Compare what this package and RecBole alone answered with what is right."""
    verdict = Verdict()
    right: Result | SentenceError
    try:
        right = transcribe(example)
    except SentenceError as sentence:
        right = sentence
    judge_ours(example, ours, right, verdict)
    judge_recbole(example, alone, right, verdict)
    return verdict


def judge_ours(example: Example, ours: Outcome | Exception, right: Result | SentenceError, verdict: Verdict) -> None:
    """This package's answer is right, or one line."""
    if isinstance(ours, MultVAEError):
        if "\n" in str(ours):
            verdict.problems.append(f"ours: more than one line: {ours}")
        if isinstance(right, SentenceError):
            verdict.notes.append(f"ours: a sentence, {right}")
            return
        reasons = [reason for reason, holds in REFUSALS.items() if holds(example, right)]
        (verdict.notes if reasons else verdict.problems).append(f"ours: refused, {reasons[0] if reasons else ours}")
    elif isinstance(ours, Exception):
        verdict.problems.append(f"ours: {type(ours).__name__}: {str(ours)[:200]}")
    elif isinstance(right, SentenceError):
        verdict.problems.append(f"ours: no sentence, {right}")
    else:
        found = differences(ours, right) or metric_differences(ours, right, example)
        verdict.problems += [f"ours: {difference}" for difference in found]
        verdict.notes += [] if found else ["ours: right"]


def judge_recbole(
    example: Example, alone: Outcome | RecBoleFailedError, right: Result | SentenceError, verdict: Verdict
) -> None:
    """RecBole's answer is right, or the named faults give exactly the same."""
    if isinstance(alone, RecBoleFailedError):
        what = "a sentence is due" if isinstance(right, SentenceError) else "there is a result"
        reason = re.sub(r"[\d'\[].*", "", str(alone), flags=re.DOTALL).strip(" :")[:60]
        verdict.notes.append(f"RecBole fails where {what}: {reason}")
    elif isinstance(right, SentenceError):
        verdict.notes.append(f"RecBole goes on where a sentence is due, {right}")
    elif not differences(alone, right):
        found = metric_differences(alone, right, example)
        verdict.problems += [f"RecBole: {difference}" for difference in found]
        verdict.notes += [] if found else ["RecBole: right"]
    else:
        faults = faults_that_explain(example, alone)
        if faults is None:
            verdict.problems += [f"RecBole: unknown, {difference}" for difference in differences(alone, right)]
        else:
            verdict.notes.append(f"RecBole: wrong by {' and '.join(faults)}")


def faults_that_explain(example: Example, alone: Outcome) -> tuple[str, ...] | None:
    """The fewest known faults with which the transcription gives RecBole's answer; None where there are none."""
    subsets = chain.from_iterable(combinations(FAULTS, size) for size in range(1, len(FAULTS) + 1))
    for faults in subsets:
        try:
            wrong = transcribe(example, frozenset(faults))
        except (SentenceError, FailsError, TypeError):
            continue
        if not differences(alone, wrong):
            return faults
    return None


# Parts -----------------------------------------------------------------------------------------------------------------


def differences(outcome: Outcome, right: Result) -> list[str]:
    """How parts and tokens differ, in words."""
    found = []
    for name, got, wanted in zip(("training", "validation", "test"), outcome.parts, right.parts, strict=True):
        more, less = records(got, outcome.time) - (due := records(wanted, outcome.time)), due - records(got, outcome.time)
        if more or less:
            found.append(f"{name} has {list(more)[:2]} ({more.total()} records) and not {list(less)[:2]} ({less.total()})")
    for name, tokens, wanted_tokens in (("users", outcome.users, right.users), ("items", outcome.items, right.items)):
        if sorted(tokens) != sorted(wanted_tokens):
            found.append(f"{name} differ: {sorted(set(tokens) ^ set(wanted_tokens))[:4]}")
    return found


def records(part: Iterable[Record], time: str) -> Counter[Any]:
    """Records with times in the type that the run has; 14 digits, as a missing time is a mean, which rounds."""
    if not time:
        return Counter((user, item) for user, item, _ in part)
    number = np.dtype(time).type
    return Counter((user, item, f"{number(seconds):.14g}") for user, item, seconds in part)


# Metrics ---------------------------------------------------------------------------------------------------------------


def metric_differences(outcome: Outcome, right: Result, example: Example) -> list[str]:
    """How metrics differ from those of the scores, in words."""
    train, valid, test = right.parts
    phases = [("valid", valid, train, outcome.valid_metrics), ("test", test, train + valid, outcome.test_metrics)]
    found = []
    for phase, wanted, seen, metrics in phases:
        mode = mode_of(example, phase)
        if not wanted:
            continue
        if mode == "full":
            ranked = ranked_items(outcome.items, wanted, seen)
        else:
            ranked = outcome.candidates[phase]
            found += candidate_problems(ranked, int(mode[3:]), seen, wanted)
        found += [f"{phase} {problem}" for problem in wrong_metrics(outcome, wanted, ranked, metrics)]
    return found


def wrong_metrics(
    outcome: Outcome, wanted: list[Record], ranked: dict[str, list[str]], metrics: dict[str, float]
) -> list[str]:
    """The metrics that are outside their bounds."""
    if set(ranked) != set(items_by_user(wanted)):
        return ["ranks for other users"]
    scores = np.array(outcome.scores)
    due = bounds(scores, outcome.users, outcome.items, wanted, ranked, TOPK)
    return [
        f"{name} is {metrics.get(name)}, not {low:.8f} to {high:.8f}"
        for name, (low, high) in due.items()
        if not low - 1e-6 <= metrics.get(name, np.nan) <= high + 1e-6
    ]


def candidate_problems(ranked: dict[str, list[str]], size: int, seen: list[Record], wanted: list[Record]) -> list[str]:
    """Sampled items are the user's own to be found, and others that the user has in no part, as many as asked for."""
    used, rows, found = items_by_user(seen + wanted), Counter(user for user, _, _ in wanted), []
    for user, positives in items_by_user(wanted).items():
        got = set(ranked.get(user, ()))
        sampled = got - positives
        if not positives <= got or sampled & used[user] or not 1 <= len(sampled) <= size * rows[user]:
            found.append(f"the items sampled for {user!r} are {sorted(sampled)[:9]}")
    return found[:1]


def mode_of(example: Example, phase: str) -> str:
    """How a phase is evaluated: ``full``, or by sampled items."""
    mode = example.eval_args.get("mode", "full")
    return mode if isinstance(mode, str) else mode[phase]


def users_of(part: Iterable[Record]) -> set[str]:
    """The users of a part."""
    return {user for user, _, _ in part}


def has_everything(example: Example, right: Result) -> bool:
    """Whether a user has all items, or all that have a popularity to be sampled by."""
    items = items_by_user(chain(*right.parts)).values()
    by_popularity = any(mode_of(example, phase).startswith("pop") for phase in ("valid", "test"))
    return max(map(len, items)) == (len(set().union(*items)) if by_popularity else len(right.items))


#: A result that this package may refuse all the same, and why.
REFUSALS: dict[str, Callable[[Example, Result], bool]] = {
    "a part has no rows, so that there is nothing to validate or to test": lambda example, right: not all(right.parts),
    "a user has every item, so that no other can be sampled": has_everything,
    "no user of the test is in training": lambda example, right: not users_of(right.parts[0]) & users_of(right.parts[2]),
}
