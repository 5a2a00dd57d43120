"""Configuration files as people write them: what YAML alone would read as text, as another number, or drop in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_multvae.commands.train import main
from recbole_multvae.config import shipped
from recbole_multvae.config.yaml_files import parse, read_keys
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.experiment.configuration import make_config
from tests.conftest import QUICK

#: PyYAML's, and the one that RecBole's Config reads files with.
LOADERS = [yaml.SafeLoader, yaml.FullLoader]


def read(text: str, loader: Any = yaml.SafeLoader) -> dict[str, Any]:
    Path("c.yaml").write_text(text, encoding="utf-8", newline="")
    return read_keys("c.yaml", loader)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("word", ["None", "~", "null", "", "'None'", '"None"'])
def test_none_is_none_however_it_is_written_and_wherever(word: str, loader: Any) -> None:
    text = f"a: {word}\nb: {{c: {word or '~'}, d: [1, {word or '~'}]}}\ne:\n  - f:\n      g: {word}\n"
    assert read(text, loader) == {"a": None, "b": {"c": None, "d": [1, None]}, "e": [{"f": {"g": None}}]}


@pytest.mark.parametrize("word", ["none", "None of these", "NoneType", "(None,)"])
def test_other_words_stay_text(word: str) -> None:
    assert read(f"a: {word}\nNone of these: 1\n") == {"a": word, "None of these": 1}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    "number", ["1e-3", "1E-3", "1e3", "1e+3", "+1e-3", "-1e3", "1.5e3", "1.e3", ".5e3", "-.5", "+.5", ".5", "1_0e2"]
)
def test_numbers_are_numbers(number: str, loader: Any) -> None:
    keys = read(f"a: {number}\nb: [{number}, {{c: {number}}}]\n", loader)
    assert keys == {"a": float(number), "b": [float(number), {"c": float(number)}]}
    assert type(keys["a"]) is float
    assert read(f"a: '{number}'\n", loader) == {"a": number}


@settings(max_examples=200)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_of_python_s_is_read(number: float) -> None:
    assert parse(f"a: {number!r}\nb: {number:e}\nc: [{number:.3E}]", yaml.SafeLoader) == {
        "a": number,
        "b": float(f"{number:e}"),
        "c": [float(f"{number:.3E}")],
    }


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("word", ["1.2.3", "e3", "1e", "1e3x", "e-3", ".", "1-e3", "ml-1m", "1e-3 and more"])
def test_what_only_looks_like_a_number_is_text(word: str, loader: Any) -> None:
    assert read(f"a: {word}\n", loader) == {"a": word}


@pytest.mark.parametrize("loader", LOADERS)
def test_switches(loader: Any) -> None:
    for word in ("yes", "Yes", "on", "ON", "true", "True"):
        assert read(f"a: {word}\n", loader) == {"a": True}
    for word in ("no", "NO", "off", "Off", "false", "False"):
        assert read(f"a: {word}\n", loader) == {"a": False}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 1\nseed: 2\nepochs: 3\n", "line 3 of .* as YAML: it names the key epochs again, after line 1: keep one"),
        ("epochs: 1\nepochs: 1\n", "line 2 of .* names the key epochs again, after line 1"),
        ("eval_args:\n  order: RO\n  group_by: user\n  order: TO\n", "line 4 of .* names the key order again, after line 2"),
        ("a: [{b: 1, b: 2}]\n", "line 1 of .* names the key b again, after line 1"),
        ("a: 1\n'a': 2\n", "line 2 of .* names the key a again"),
        ("a: {1: 2, 1: 3}\n", "line 1 of .* names the key 1 again"),
        ("seed: 010\n", "line 1 of .* as YAML: 010 is no decimal number there: write it without leading zeros"),
        ("epochs: 2\ntopk: [5, -012]\n", "line 2 of .* -012 is no decimal number"),
        ("a: 12:30\n", "line 1 of .* 12:30 is no decimal number"),
        ("a: 1:30.5\n", "line 1 of .* 1:30.5 is no decimal number"),
        ("a: 1\n\tb: 2\n", "Cannot read line 2 of the configuration file c.yaml as YAML: "),
        ("a:\t1\n", "Cannot read line 1 of the configuration file c.yaml as YAML: found character"),
        ("a: 2026-13-45\n", "Cannot read the configuration file c.yaml as YAML: month must be in 1..12"),
        ("a: 1\n---\na: 2\n", "Cannot read line 2 of the configuration file c.yaml as YAML: but found another document"),
        ("a: \0\n", "Cannot read the configuration file c.yaml as YAML: "),
        (
            "a: !!python/object/apply:os.getcwd []\n",
            "Cannot read line 1 of the configuration file c.yaml as YAML: could not",
        ),
        ("{[1]: 2}: 3\n", "Cannot read line 1 of"),
        ("None: 3\n3: 4", "holds something else than keys and values"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(text: str, message: str, loader: Any) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        read(text, loader)
    assert "\n" not in str(caught.value)


def test_anchors_merges_and_line_ends() -> None:
    text = "\ufeffbase: &base {a: 1, b: None}\nother:\n  <<: *base\n  a: 2\nsame: *base\nof: {a: 0x10, b: 0, c: -0.5}\n"
    base = {"a": 1, "b": None}
    expected = {"base": base, "other": {"a": 2, "b": None}, "same": base, "of": {"a": 16, "b": 0, "c": -0.5}}
    assert read(text) == read(text.replace("\n", "\r\n")) == expected
    keys = read("a: &a [1, *a]\n")
    assert keys["a"][1] is keys["a"]


def test_files_of_the_package_are_read_as_before() -> None:
    for name, path in shipped.configurations().items():
        assert read_keys(name) == yaml.load(path.read_text("utf-8"), yaml.FullLoader), name


def test_pyyaml_s_own_loaders_are_left_alone() -> None:
    read("a: -.5\nb: None\n")
    assert yaml.safe_load("a: -.5\nb: None\nb: 1e-3\n") == {"a": "-.5", "b": "1e-3"}


@pytest.mark.parametrize("key", ["preload_weight", "load_col", "val_interval", "clip_grad_norm", "encoding"])
def test_a_run_takes_none_from_a_file_as_from_the_command_line(blocks: str, key: str) -> None:
    Path("c.yaml").write_text(f"{key}: None\nlearning_rate: 1e-3\n")
    keys = {name: value for name, value in QUICK.items() if name != "learning_rate"}
    from_file = make_config("MultVAE", blocks, ["c.yaml"], keys, {})
    from_line = make_config("MultVAE", blocks, [], keys, {key: "None", "learning_rate": "1e-3"})
    for config in (from_file, from_line):
        assert config[key] is None and config["learning_rate"] == 0.001


def test_none_in_a_file_ends_in_a_model(blocks: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text("preload_weight: None\nload_col: None\nval_interval: None\nlearning_rate: 1e-3\nepochs: 1\n")
    flags = ["--data_path=.", "--state=ERROR", "--show_progress=False", "--use_gpu=False"]
    assert main([f"--dataset={blocks}", "--config_files=c.yaml", *flags]) == 0, capsys.readouterr().err
    assert len(list(Path("saved").glob("*.pth"))) == 1
