"""Made data sets in odd forms: this package, RecBole alone and a transcription never agree in silence on something wrong.

``benchmarks/differential.py`` tries thousands with other seeds, prints what was found, and looks for the smallest example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from recbole.utils import utils

from recbole_multvae.errors import MultVAEError
from tests.differential import our_path
from tests.differential.files import Shape, files
from tests.differential.made import BASE, Example, examples
from tests.differential.outcome import NoBoard
from tests.differential.reading import SentenceError, number, split
from tests.differential.recbole_path import RecBoleAlone
from tests.differential.scoring import of_user
from tests.differential.splitting import by_boundary, exact, leave_out, ratio_sizes
from tests.differential.transcription import transcribe
from tests.differential.trial import SECONDS, Trials, limited
from tests.differential.verdict import Verdict, differences, has_everything, judge_ours, metric_differences

EXAMPLES = 200


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    folder = tmp_path_factory.mktemp("differential")
    writer, utils.SummaryWriter = utils.SummaryWriter, NoBoard
    with RecBoleAlone(folder) as alone:
        yield Trials(folder, alone)
    utils.SummaryWriter = writer


def test_no_two_agree_on_something_wrong(trials: Trials) -> None:
    notes: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(examples())
    def try_one(example: Example) -> None:
        verdict = trials(example)
        notes.update(verdict.notes)
        assert not verdict.problems, "\n".join([*verdict.problems, repr(example)])

    try_one()
    assert notes["ours: right"] > EXAMPLES / 2
    assert notes["RecBole: right"] > EXAMPLES / 4
    assert sum(notes[note] for note in notes if note.startswith("RecBole: wrong by")) > EXAMPLES / 30
    assert sum(notes[note] for note in notes if note.startswith("ours: a sentence")) > EXAMPLES / 10


def plain(**keys: object) -> Example:
    shape = Shape(users=12, items=15, rows=120, seed=1, extra=("timestamp",), times="steps")
    args = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
    return Example("EASE", {**BASE, "eval_args": args, "load_col": None, **keys}, files(shape), shape)


def test_the_verdict_sees_what_is_wrong(trials: Trials) -> None:
    """A record in another part, an item too many, a metric, a traceback, two lines, and no sentence where one is due."""
    example = plain()
    our_path.write(example, trials.folder)
    ours, right = our_path.run(example, trials.folder), transcribe(example)
    assert differences(ours, right) == metric_differences(ours, right, example) == []
    train, valid, test = ours.parts
    assert differences(replace(ours, parts=[train, test, valid]), right)
    assert differences(replace(ours, parts=[[*train, train[0]], valid, test]), right)
    assert differences(replace(ours, items=[*ours.items, "i99"]), right)
    for name, value in ours.test_metrics.items():
        assert metric_differences(replace(ours, test_metrics={**ours.test_metrics, name: value + 1e-5}), right, example)
    for wrong, due in ((KeyError("x"), right), (ours, SentenceError("x")), (MultVAEError("a\nb"), SentenceError("x"))):
        verdict = Verdict()
        judge_ours(example, wrong, due, verdict)
        assert verdict.problems


def test_popular_items_that_run_out_end_in_a_sentence(trials: Trials) -> None:
    """RecBole draws for ever where a user has every item that somebody has, and the .item file names others."""
    rows = [f"u{user}\ti{item}" for user in range(5) for item in range(5) if user == 0 or (user + item) % 3]
    keys = {"eval_args": {"split": {"RS": [6, 2, 2]}, "mode": "pop3"}}
    example = replace(
        plain(**keys),
        files={
            ".inter": "\n".join(["user_id:token\titem_id:token", *rows]).encode(),
            ".item": "\n".join(["item_id:token", *[f"i{item}" for item in range(8)]]).encode(),
        },
    )
    our_path.write(example, trials.folder)
    assert has_everything(example, transcribe(example))
    with pytest.raises(MultVAEError), limited(SECONDS):
        our_path.run(example, trials.folder)


def test_fields_of_a_line() -> None:
    assert split('u1\t"a\tb"\t5', "\t") == ["u1", "a\tb", "5"]
    assert split('"say ""hi"""||"x', "||") == ['say "hi"', '"x']
    assert split('5" disc,', ",") == ['5" disc', ""]
    assert number("1_000") == 1000
    assert number("1600000000000000001", whole=True) == 1600000000000000001
    with pytest.raises(SentenceError):
        number("12:30")


def test_sizes_of_parts() -> None:
    assert [ratio_sizes(n, [8, 1, 1]) for n in (1, 2, 3, 10, 25)] == [[1, 0, 0], [1, 0, 1], [1, 1, 1], [8, 1, 1], [21, 2, 2]]
    assert [leave_out(n, "valid_and_test") for n in (1, 2, 3)] == [[1, 0, 0], [1, 0, 1], [1, 1, 1]]
    rows = [{"user_id": "u", "timestamp": float(n)} for n in range(11)]
    assert [len(part) for part in by_boundary(rows, [8, 1, 1], exact)] == [8, 2, 1]


def test_metrics_of_a_list() -> None:
    recall, mrr, ndcg, hit, precision, average = of_user(np.array([False, True]), 2, [3])
    assert (recall, mrr, hit, precision, average) == (0.5, 0.5, 1, 1 / 3, 0.25)
    assert ndcg == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
