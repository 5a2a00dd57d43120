"""Splits at two times for everyone: parts, users, histories, new items, and rankings of RecBole's sequential models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.data.split_digest import digest
from recbole_multvae.errors import ConfigurationError, DataError, NotApplicableError
from tests.conftest import QUICK
from tests.data.made import comings, prepared, rows_of, write

COLUMNS = ("user_id:token", "item_id:token", "timestamp:float")
#: A user, an item and a time.
Click = tuple[str, str, int]
OURS = {key: value for key, value in QUICK.items() if key not in ("data_path", "epochs")}


def split_of(users: str = "all", **arguments: Any) -> dict[str, Any]:
    return {"eval_args": {"split": {"GT": {"users": users, **arguments}}}}


def experiment(model: str, rows: Sequence[Click], keys: dict[str, Any], **more: Any) -> Any:
    write("made", rows, COLUMNS)
    defaults = {**(OURS if model == "MultVAE" else {}), "topk": [3], "valid_metric": "NDCG@3"}
    return prepared(model, "made", **{**defaults, **keys, **more})


def expected(rows: Sequence[Click], cuts: tuple[float, float], users: str = "all", refit: bool = False) -> Any:
    """The parts as sets of clicks, and the histories of the test, in plain Python."""
    parts = [
        [row for row in rows if row[2] < cuts[0]],
        [row for row in rows if cuts[0] <= row[2] < cuts[1]],
        [row for row in rows if cuts[1] <= row[2]],
    ]
    catalogue = {item for part in parts[: 1 + refit] for _, item, _ in part}
    parts = [[row for row in part if row[1] in catalogue] for part in parts]
    known = {user for user, *_ in parts[0]}
    seen = known | {user for user, *_ in parts[1]}
    counted = {"all": lambda user: True, "known": known.__contains__, "new": (seen - known).__contains__}
    of_validation = counted["known" if users == "new" else users]
    whole = [*parts[0], *parts[1]]
    for part, counts in ((parts[1], of_validation), (parts[2], counted[users])):
        part[:] = [row for row in part if counts(row[0])]
    return parts, {user: {item for other, item, _ in whole if other == user} for user, *_ in parts[2]}


def pairs(rows: Sequence[Click]) -> list[tuple[str, str]]:
    return sorted((user, item) for user, item, _ in rows)


def histories_of(loader: Any) -> dict[str, set[str]]:
    data, matrix = loader.dataset, loader.dataset.fold_in
    users = np.unique(data.inter_feat["user_id"].numpy())
    return {data.id2token("user_id", user): set(data.id2token("item_id", matrix[user].indices).tolist()) for user in users}


clicks = st.lists(
    st.tuples(st.integers(0, 5).map("u{}".format), st.integers(0, 7).map("i{}".format), st.integers(0, 12)),
    min_size=12,
    max_size=60,
)


@given(clicks, st.sampled_from([(0, 1), (1_600_000_000, 86_400), (1_600_000_000_000_000_000, 1)]),
       st.sampled_from([0.3, 0.5, 0.8]), st.sampled_from(["all", "known", "new"]))  # fmt: skip
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_time_of_a_part_is_later_than_one_of_the_next(
    tmp_path: Any, rows: list[Click], unit: tuple[int, int], share: float, users: str
) -> None:
    start, step = unit
    rows = [(user, item, start + time * step) for user, item, time in rows]
    times = sorted(time for *_, time in rows)
    cuts = times[int(share * len(rows))], times[int(0.9 * len(rows))]
    parts, histories = expected(rows, cuts, users)
    keys = {**split_of(users, valid_from=share, test_from=0.9), "topk": [1], "valid_metric": "NDCG@1"}
    if cuts[0] == cuts[1]:
        with pytest.raises(ConfigurationError, match="a later time than valid_from"):
            experiment("MultVAE", rows, keys)
        return
    if not all(parts):
        with pytest.raises(DataError, match="leaves no interaction for the"):
            experiment("MultVAE", rows, keys)
        return
    split = experiment("MultVAE", rows, keys)
    loaders = split.train_data, split.valid_data, split.test_data
    assert [sorted(rows_of(loader)) for loader in loaders] == [pairs(part) for part in parts]
    assert max(time for *_, time in parts[0]) < min(time for *_, time in parts[1])
    assert max(time for *_, time in parts[1]) < min(time for *_, time in parts[2])
    assert histories_of(split.test_data) == histories


FIRST, LAST = 1_600_000_000, 1_600_000_000 + 99 * 86_400
DAY = 1_600_000_000 + 70 * 86_400, 1_600_000_000 + 85 * 86_400


@pytest.mark.parametrize("boundaries", [DAY, ("2020-11-22T12:26:40", "2020-12-07T12:26:40Z"), ("2020-11-22", "2020-12-07")])
@pytest.mark.parametrize("normalised", [False, True])  # RecBole's own ml-100k has normalize_all: True.
def test_boundaries_are_times_or_dates(boundaries: Any, normalised: bool) -> None:
    keys = split_of(valid_from=boundaries[0], test_from=boundaries[1])
    part_of = experiment("EASE", comings(), keys, normalize_all=normalised)
    first = dict((item, time) for _, item, time in reversed(sorted(comings(), key=lambda row: row[2])))
    tokens, times = (getattr(part_of.train_data.dataset, name) for name in ("field2id_token", "first_clicks"))
    assert dict(zip(tokens["item_id"][1:], times[1:], strict=True)).items() <= first.items()
    parts, _ = expected(comings(), DAY)
    assert [sorted(rows_of(data)) for data in (part_of.train_data, part_of.test_data)] == [pairs(parts[0]), pairs(parts[2])]


def test_dates_are_in_the_unit_of_the_column() -> None:
    rows = [(user, item, time * 1000) for user, item, time in comings()]
    part_of = experiment("EASE", rows, split_of(valid_from="2020-11-22", test_from="2020-12-07"))
    assert sorted(rows_of(part_of.test_data)) == pairs(expected(comings(), DAY)[0][2])


def test_new_items_are_left_out_and_counted() -> None:
    rows = comings()
    part_of = experiment("EASE", rows, split_of(valid_from=DAY[0], test_from=DAY[1]))
    catalogue = {item for _, item, time in rows if time < DAY[0]}
    for loader, first, last in ((part_of.valid_data, *DAY), (part_of.test_data, DAY[1], np.inf)):
        new = [item for _, item, time in rows if first <= time < last and item not in catalogue]
        assert loader.dataset.left_out == {"items": len(set(new)), "interactions": len(new)}
        assert new
    assert set(part_of.train_data.dataset.field2id_token["item_id"]) == {"[PAD]"} | catalogue


def test_a_refit_has_the_items_of_validation() -> None:
    merged = experiment("EASE", comings(), split_of(valid_from=DAY[0], test_from=DAY[1]), refit=True)
    parts, histories = expected(comings(), DAY, refit=True)
    assert sorted(rows_of(merged.train_data)) == pairs([*parts[0], *parts[1]])
    assert sorted(rows_of(merged.test_data)) == pairs(parts[2])
    assert histories_of(merged.test_data) == histories


@pytest.mark.parametrize("users", ["all", "known", "new"])
def test_metrics_are_those_of_a_ranking_in_numpy(users: str) -> None:
    part_of = experiment("MultVAE", comings(), split_of(users), metric_decimal_place=9, metrics=["Recall", "NDCG"])
    part_of.fit(saved=False)
    data = part_of.test_data.dataset
    relevant, seen = distinct_clicks(data).toarray()[:, 1:], data.fold_in.toarray()[:, 1:]
    tested = relevant.any(axis=1)
    model = part_of.trainer.model
    scores = model.score_histories([(np.flatnonzero(row) + 1).tolist() for row in seen[tested]])[:, 1:].numpy()
    assert part_of.test(saved=False)["recall@3"] == pytest.approx(recall(scores, seen[tested], relevant[tested]))


def recall(scores: np.ndarray, seen: np.ndarray, relevant: np.ndarray) -> float:
    """Recall@3, where an item of the history is ranked only if it is relevant."""
    best = np.argsort(-np.where((seen > 0) & ~(relevant > 0), -np.inf, scores), axis=1, kind="stable")[:, :3]
    return float((np.take_along_axis(relevant, best, axis=1).sum(axis=1) / relevant.sum(axis=1)).mean())


@pytest.mark.parametrize("model", ["BPR", "ItemAutoRec"])
def test_a_model_of_users_knows_those_of_training_and_recommends_no_item_of_the_history(model: str) -> None:
    part_of = experiment(model, comings(), split_of())
    data = part_of.test_data.dataset
    for users, (rows, items), *_ in part_of.test_data:
        masked = np.zeros((len(users), data.item_num), dtype=bool)
        masked[rows, items] = True
        ids = users["user_id"].numpy()
        assert (masked == ((data.fold_in > distinct_clicks(data)).toarray()[ids] > 0)).all()
    part_of.fit(saved=False)
    assert 0 < part_of.test(saved=False)["recall@3"] < 1


def ordered(rows: Sequence[Click], user: str, end: float, longest: int) -> list[str]:
    """The newest items of a user before a time, in order of time, and of the file where times are equal."""
    history = [row for row in sorted(rows, key=lambda row: row[2]) if row[0] == user and row[2] < end]
    return [item for _, item, _ in history][-longest:]


@pytest.mark.parametrize("users", ["all", "known", "new"])
def test_sequential_models_read_what_is_before_the_part(users: str) -> None:
    keys = {**split_of(users, valid_from=DAY[0], test_from=DAY[1]), "MAX_ITEM_LIST_LENGTH": 4, "load_col": None}
    part_of = experiment("GRU4Rec", comings(), keys)
    catalogue = {item for _, item, time in comings() if time < DAY[0]}
    rows = [row for row in comings() if row[1] in catalogue]
    for loader, end in ((part_of.valid_data, DAY[0]), (part_of.test_data, DAY[1])):
        data, sequences = loader.dataset, loader.user_df
        columns = (sequences[name] for name in ("user_id", "item_id_list", "item_length"))
        for user, items, length in zip(*columns, strict=True):
            history = ordered(rows, data.id2token("user_id", int(user)), end, longest=4)
            assert data.id2token("item_id", items[: len(history)].numpy()).tolist() == history
            assert int(length) == max(len(history), 1)
            assert (items[len(history) :] == 0).all()
        assert sequences["timestamp_list"].dtype == torch.float32
    targets = part_of.train_data.dataset.inter_feat
    assert len(targets) == sum(len(ordered(rows, user, DAY[0], 999)) - 1 for user in {u for u, _, t in rows if t < DAY[0]})


def test_sequential_models_are_tested_on_the_same_split_and_ranked_as_the_others() -> None:
    keys = {**split_of(), "metrics": ["Recall", "NDCG"], "metric_decimal_place": 9, "epochs": 1, "hidden_size": 8}
    sequential, general = (experiment(model, comings(), keys) for model in ("SASRec", "EASE"))
    digests = [digest([data.dataset for data in (e.train_data, e.valid_data, e.test_data)]) for e in (sequential, general)]
    assert digests[0] == digests[1]
    sequential.fit(saved=False)
    data, model = sequential.test_data.dataset, sequential.trainer.model.eval()
    scores = model.full_sort_predict(sequential.test_data.user_df).detach().view(-1, data.item_num)[:, 1:].numpy()
    users = np.flatnonzero(distinct_clicks(data).getnnz(axis=1))
    relevant, seen = distinct_clicks(data)[users].toarray()[:, 1:], data.fold_in[users].toarray()[:, 1:]
    assert sequential.test(saved=False)["recall@3"] == pytest.approx(recall(scores, seen, relevant), abs=1e-6)


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        ("MultVAE", split_of(valid_form=0.8), "split GT has no argument 'valid_form': did you mean valid_from?"),
        ("MultVAE", split_of("everyone"), "users='everyone' is not allowed: expected all, known or new"),
        ("MultVAE", split_of(valid_from=0.9, test_from=0.8), "test_from=0.8 is not allowed: expected a later time than"),
        ("MultVAE", split_of(test_from="yesterday"), "test_from='yesterday' is not allowed: expected a share between"),
        ("MultVAE", split_of(test_from=True), "test_from=True is not allowed"),
        ("MultVAE", {"eval_args": {**split_of()["eval_args"], "order": "RO"}}, "order='RO' is not allowed: expected TO"),
        ("MultVAE", {"eval_args": {**split_of()["eval_args"], "mode": "uni5"}}, "mode='uni5' does not go with split GT"),
        ("MultVAE", {**split_of(), "TIME_FIELD": "when"}, "sorts by the column when, which is not loaded"),
    ],
)  # fmt: skip
def test_mistakes(model: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        experiment(model, comings(), keys)


def test_models_that_cannot() -> None:
    with pytest.raises(NotApplicableError, match="BPR needs more of a user than a set of clicks"):
        experiment("BPR", comings(), split_of("new"))
    with pytest.raises(NotApplicableError, match=r"split WG has no order of time, .* SASRec learn from: take split GT"):
        experiment("SASRec", comings(), {"eval_args": {"split": {"WG": {}}}})


def test_nobody_is_left_for_the_test() -> None:
    rows = [*comings(), ("late", "i3", LAST + 1), ("later", "i4", LAST + 1)]
    with pytest.raises(DataError, match="leaves no interaction for the test, with users='known' and items of training"):
        experiment("EASE", rows, split_of("known", test_from=LAST + 1))
