"""The rows that a command line names, and the protocol of their configurations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.leaderboard.report import PROTOCOL
from recbole_multvae.leaderboard.rows import Row, read_rows, split_applicable, tell_unread, with_members


def test_rows_of_models_with_files_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["shared.yaml", "conf/EASE.yaml", "ml-1m-strong", "LightGCN.yaml"]
    rows = read_rows("MultVAE, EASE,MultVAE:conf/wide.yaml", files, "ml-1m", {"epochs": "3"})
    assert rows == [
        Row("MultVAE", "MultVAE", ("shared.yaml", "ml-1m-strong"), "ml-1m", {"epochs": "3"}),
        Row("EASE", "EASE", ("shared.yaml", "conf/EASE.yaml", "ml-1m-strong"), "ml-1m", {"epochs": "3"}),
        Row("MultVAE:wide", "MultVAE", ("shared.yaml", "ml-1m-strong", "conf/wide.yaml"), "ml-1m", {"epochs": "3"}),
    ]
    assert rows[2].file_name == "MultVAE-wide"
    tell_unread(rows, files)
    said = "LightGCN.yaml is for the model LightGCN, which is not in --model: the file is not read.\n"
    assert capsys.readouterr().out == said


def test_a_row_of_a_sum_has_its_members() -> None:
    keys = {"epochs": "3", "reg_weight": "5", "weights": "[1,2]"}
    files = ["EASE.yaml", "Sum.yaml", "all.yaml"]
    for file in files:
        Path(file).write_text("seed: 1")
    ease, both = read_rows("EASE,MultVAE:gaussian + EASE", files, "ml-1m", keys)
    member, same = both.members
    assert (
        both == Row("MultVAE:gaussian+EASE", "Sum", ("Sum.yaml", "all.yaml"), "ml-1m", keys, (member, ease)) and same == ease
    )
    assert member == Row("MultVAE:gaussian", "MultVAE", ("all.yaml", "gaussian"), "ml-1m", keys)
    assert list(with_members([both])) == ["MultVAE:gaussian", "EASE", "MultVAE:gaussian+EASE"]
    Path("all.yaml").write_text("warm_start: sum.pth")
    assert read_rows("MultVAE+EASE", files, "ml-1m", {})[0].members[1].keys == {"warm_start_member": "EASE"}


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("MultVAE,,EASE", "--model=MultVAE,,EASE has an empty name: write models with commas between, such as MultVAE,EASE"),
        ("MultVAE:", "--model=MultVAE: has an empty name"),
        ("EASE,BPR,EASE", "--model=EASE,BPR,EASE names EASE twice: leave one of them out."),
        ("EASE+MultVAE,EASE+MultVAE", "names EASE+MultVAE twice: leave one of them out."),
        ("EASE+EASE", "--model=EASE+EASE names EASE twice: leave one of them out."),
        ("EASE+", "--model=EASE+ has an empty name: write models with commas between, such as MultVAE,EASE, or with + betw"),
    ],
)
def test_wrong_names_of_rows_are_refused(models: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        read_rows(models, [], "ml-1m", {})


def test_a_shipped_configuration_of_a_data_set_is_for_all_models(tmp_path: Path) -> None:
    (tmp_path / "weak.yaml").write_text("eval_args: {split: {RS: [8, 1, 1]}}")
    rows, _ = split_applicable(read_rows("MultVAE,EASE,EASE:weak.yaml", [], "netflix", {}))
    ours, ease, weak = (row.config for row in rows.values())
    for key in PROTOCOL:
        assert ease[key] == ours[key], key
    assert ease["train_batch_size"] == 2048 and ours["train_batch_size"] == 500
    assert list(weak["eval_args"]["split"]) == ["RS"] and weak["topk"] == ours["topk"]
