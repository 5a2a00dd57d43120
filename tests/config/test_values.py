from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from recbole.config import Config
from recbole.utils import get_model

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.experiment.configuration import make_config, model_names


@pytest.mark.parametrize("model", sorted(model_names()))
def test_defaults_of_every_model_pass(model: str) -> None:
    try:
        get_model(model)
    except ModuleNotFoundError as error:
        pytest.skip(f"{model} needs {error.name}")
    # RecBole itself refuses its default for the models of sequences that have a softmax.
    keys = {"train_neg_sample_args": None} if "sequential" in get_model(model).__module__ else {}
    make_config(model, "ml-100k", keys=keys, command_line={})


class TestPrecedence:
    """The command line wins over the dictionary, and this over the files."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> str:
        (tmp_path / "c.yaml").write_text("epochs: 1\nseed: 1\nworker: 1\n")
        return str(tmp_path / "c.yaml")

    def test_as_recbole_has_it(self, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = {"seed": 2, "worker": 2}
        ours = make_config("MultVAE", "ml-100k", [file], dict(keys), {"worker": "3"})
        monkeypatch.setattr(sys, "argv", ["run_recbole.py", "--worker=3"])
        plain = Config("MultVAE", "ml-100k", [file], dict(keys))
        assert (ours["epochs"], ours["seed"], ours["worker"]) == (1, 2, 3)
        assert ours.final_config_dict == plain.final_config_dict
        assert vars(ours).keys() == vars(plain).keys()

    def test_without_a_command_line_sys_argv_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["script.py", "--epochs=7"])
        assert make_config("MultVAE", "ml-100k")["epochs"] == 7
        assert make_config("MultVAE", "ml-100k", command_line={})["epochs"] == 300

    def test_checkpoint_holds_recbole_s_class(self) -> None:
        assert type(make_config("MultVAE", "ml-100k", command_line={})) is Config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=b", "a=b"),
        ("[1, 2]", [1, 2]),
        ("{'max': 5}", {"max": 5}),
        ("TRUE", True),
        ("None", None),
        ("1e-3", 0.001),
        ("1/0", "1/0"),
        ("os.path.nothing", "os.path.nothing"),
        ("[1][5]", "[1][5]"),
        ("torch", "torch"),
    ],
)
def test_text_of_the_command_line_is_evaluated_as_recbole_does(text: str, value: object) -> None:
    assert make_config("BPR", "ml-100k", command_line={"note": text})["note"] == value


@pytest.mark.parametrize("folder", ["2026/11", "3", "None", "1e3"])
def test_folder_is_a_name_however_it_looks(folder: str) -> None:
    assert make_config("MultVAE", "ml-100k", command_line={"checkpoint_dir": folder})["checkpoint_dir"] == folder


def refused(keys: dict[str, Any], model: str = "MultVAE") -> str:
    with pytest.raises(ConfigurationError) as error:
        make_config(model, "ml-100k", keys=dict(keys), command_line={})
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("epochs", value) for value in ("abc", -1, 1.5, None, True)),
        *(("train_batch_size", value) for value in ("abc", 0, -3, 2.5)),
        *(("learning_rate", value) for value in ("abc", -1, float("nan"), float("inf"), [1])),
        *(("eval_step", value) for value in ("abc", 0.5, None)),
        *(("stopping_step", value) for value in ("abc", -1)),
        *(("clip_grad_norm", value) for value in ("abc", 5, {"foo": 5}, {})),
        *(("seed", value) for value in ("abc", -1, 1.5, 2**32)),
        *(("topk", value) for value in ("abc", 0, [], [0], [1.5], ["10"], None)),
        *(("metrics", value) for value in (3, [], [3])),
        *(("checkpoint_dir", value) for value in ("", 3, None)),
        *(("load_col", value) for value in ("abc", ["user_id"])),
        *(("val_interval", value) for value in ([4, 5], {"rating": "4"}, "rating")),
        *(("user_inter_num_interval", value) for value in (5, "[5", "[5;7]")),
        ("eval_batch_size", 0),
        ("weight_decay", -1),
        ("learner", "adm"),
        ("learner", 3),
        ("worker", -1),
        ("state", "loud"),
        ("use_gpu", "no"),
        ("metric_decimal_place", -1),
        ("encoding", "utf-99"),
        ("field_separator", ""),
        ("valid_metric", 3),
        ("eval_args", "RO"),
        ("benchmark_filename", ["train", "test"]),
        ("alias_of_user_id", "friend"),
        ("additional_feat_suffix", 3),
        ("discretization", 5),
    ],
)
@pytest.mark.parametrize("model", ["MultVAE", "BPR"])
def test_value_that_is_not_allowed(key: str, value: object, model: str) -> None:
    assert refused({key: value}, model).startswith(f"{key}={value!r} is not allowed: expected ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("learning_rate", 1),
        ("eval_step", -1),
        ("clip_grad_norm", {"max_norm": 5, "norm_type": "inf"}),
        ("learner", "SGD"),
        ("topk", 5),
        ("state", None),
        ("user_inter_num_interval", "[5,inf)"),
        ("user_inter_num_interval", [5, 10]),
        ("user_inter_num_interval", "(1,3];[10,inf)"),
        ("val_interval", {"rating": "[4,inf)", "genre": ["Drama", "War"]}),
        ("encoding", "ISO-8859-1"),
        ("eval_args", {"split": {"RS": [9, 1, 0]}, "mode": {"valid": "uni100", "test": "full"}, "group_by": None}),
    ],
)
def test_value_that_is_allowed(key: str, value: object) -> None:
    keys = {"valid_metric": "MRR@5"} if key == "topk" else {}
    make_config("MultVAE", "ml-100k", keys={key: value, **keys}, command_line={})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"local_rank": 0}, "local_rank is set for each process of several: leave it out"),
        ({"valid_metric": "MAP@10"}, "valid_metric='MAP@10' is not among the metrics that are computed, recall@10, mrr@10,"),
        ({"valid_metric": "MRR@5"}, "is not among the metrics"),
        ({"valid_metric": "MRR"}, "is not among the metrics"),
        ({"topk": [5, 20]}, "valid_metric='MRR@10' is not among the metrics that are computed, recall@5, recall@20,"),
        ({"metrics": ["GAUC"], "valid_metric": "GAUC@10"}, "are computed, gauc: "),
        ({"metrics": ["Recal"]}, "metrics=['Recal'] names 'Recal', which RecBole does not have: did you mean Recall?"),
        ({"eval_args": {"splt": {}}}, "eval_args has the key 'splt', which RecBole does not read: did you mean split?"),
        ({"eval_args": {"mode": "uni"}}, "eval_args mode='uni' is not allowed: expected the number of sampled items"),
        ({"eval_args": {"split": {"RS": [8, 1, 1], "LS": "test_only"}}}, "expected one way to split"),
        *(
            (
                {"eval_args": {"split": {"RS": parts}}},
                f"eval_args split RS={parts!r} is not allowed: expected a list of three",
            )
            for parts in ([8, 2], [7, 1, 1, 1], [0, 1, 1], [8, -1, 1], ["a", 1, 1], 3)
        ),
    ],
)
def test_keys_that_do_not_fit(keys: dict[str, Any], message: str) -> None:
    assert message in refused(keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"valid_metric": "mrr@10"},
        {"metrics": "NDCG", "valid_metric": "ndcg@10"},
        {"metrics": ["GAUC", "ItemCoverage"], "valid_metric": "GAUC"},
        {"metrics": ["NDCG"], "eval_step": 0},
        {"metrics": ["NDCG"], "eval_args": {"split": {"RS": [8, 0, 2]}}},
    ],
)
def test_metric_that_validation_has_or_does_not_need(keys: dict[str, Any]) -> None:
    make_config("MultVAE", "ml-100k", keys=keys, command_line={})


def test_text_for_a_number_or_a_list_of_a_model_s_own() -> None:
    assert refused({"mlp_hidden_size": "abc"}, "MultiVAE").endswith("expected a list such as [600], the default.")
    assert (
        refused({"n_layers": "abc"}, "LightGCN")
        == "n_layers='abc' is not allowed: expected a number such as 2, the default."
    )
