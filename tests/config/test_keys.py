from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import recbole
from recbole.config import Config

from recbole_multvae.commands.command_line import read_command_line
from recbole_multvae.config.keys import recbole_keys, recbole_model_keys
from tests.conftest import QUICK

PACKAGE = Path(recbole.__file__).parent


def keys_read_in(tree: ast.AST) -> Iterator[str]:
    """Every ``config["key"]``, ``config.get("key")`` and ``"key" in config``, but for those that only set a key."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=config, slice=ast.Constant(value=str(key)), ctx=ast.Load()):
                pass
            case ast.Call(func=ast.Attribute(value=config, attr="get"), args=[ast.Constant(value=str(key)), *_]):
                pass
            case ast.Compare(left=ast.Constant(value=str(key)), ops=[ast.In() | ast.NotIn()], comparators=[config]):
                pass
            case _:
                continue
        if ast.unparse(config).split(".")[-1] in ("config", "final_config_dict"):
            yield key


def test_every_key_that_recbole_reads_is_known() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] != "model"]
    read = {key for file in files for key in keys_read_in(ast.parse(file.read_text("utf-8")))}
    assert len(read) > 100
    assert {"encoding", "tail_ratio", "valid_neg_sample_args", "eval_args", "topk"} <= read
    assert not read - recbole_keys() - recbole_model_keys()


def test_keys_in_the_source_are_found_however_they_are_read() -> None:
    source = "config['a']; self.config.get('b', 1); 'c' in config; config['d'] = 1; config['e']['f']; other['g']"
    assert sorted(keys_read_in(ast.parse(source))) == ["a", "b", "c", "e"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoding", "utf-8"),
        ("tail_ratio", 0.1),
        ("valid_neg_sample_args", {"distribution": "uniform", "sample_num": "none"}),
        ("test_neg_sample_args", {"distribution": "uniform", "sample_num": "none"}),
    ],
)
def test_recbole_s_keys_are_no_false_alarm(key: str, value: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Config("MultVAE", "blocks", config_dict={**QUICK, key: value})
    assert "has no effect" not in caplog.text


@pytest.mark.parametrize(("model", "key"), [("MultVAE", "anneal_cap: 0.5"), ("MultDAE", "reg_weight: 0.01")])
def test_help_shows_the_keys_of_a_model(model: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_command_line([f"--model={model}", "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"keys of {model} and their defaults:" in out and f"  {key} " in out
    assert "--nproc" in out


def test_help_of_recbole_s_models_is_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_command_line(["-h", "--model=BPR"])
    out = capsys.readouterr().out
    assert "keys of BPR" not in out
    assert "keys of any model and their defaults:\n  activity_quantiles: 0 " in out and "\n  eval_memory: 512 " in out
