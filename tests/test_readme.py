"""The README's commands and its script do what it says."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import recbole
import yaml

from recbole_multvae.commands.command_line import read_command_line
from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.config.settings import Settings, yaml_lines
from recbole_multvae.config.shipped import configurations
from recbole_multvae.data.protocols.strong_generalization import StrongGeneralizationSettings
from recbole_multvae.data.protocols.weak_generalization import WeakGeneralizationSettings
from recbole_multvae.evaluation.recbole_models import READERS
from recbole_multvae.likelihoods import likelihoods
from recbole_multvae.models import FAMILY
from recbole_multvae.sums.model import Sum
from tests.conftest import QUICK, Experiment, block_pairs, write_inter

ROOT = Path(__file__).parent.parent
KEYS = (ROOT / "properties" / "README.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
#: The sections of KEYS by their titles.
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", KEYS, re.MULTILINE | re.DOTALL))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def shorter(commands: str) -> str:
    """The same commands, which train for a moment: a training to its end takes 15 s, and shows no more of them."""
    assert commands.count("--model=MultVAE") == 1
    return commands.replace("--model=MultVAE", "--model=MultVAE --epochs=3")


def run(command: str, cwd: Path) -> str:
    """Run a command in a shell whose ``python`` is this one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, shell=True, cwd=cwd, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a bare clone: nothing is installed from it."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("run_recbole.py", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "Makefile").write_text(shorter((ROOT / "Makefile").read_text("utf-8")), "utf-8")
    for name in ("recbole_multvae", "properties", "export/multvae_export", "export/clients/python"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def test_readme_is_short_and_starts_with_a_command() -> None:
    lines = README.splitlines()
    assert len(lines) < 110
    assert next(n for n, line in enumerate(lines) if line.startswith("make demo")) < 15


def test_make_demo(clone: Path) -> None:
    # The environment is this one, and up to date.
    (clone / ".venv").mkdir(exist_ok=True)
    out = run(f"make --no-print-directory demo --old-file=.venv/installed BIN={Path(sys.executable).parent}", clone)
    liked, recommended = out.split("model.onnx recommends")
    assert liked.count("\N{CHECK MARK}") == 3
    assert "User 1 of ml-100k liked 163 films" in liked
    assert len(recommended.strip().splitlines()) == 10


def test_commands(clone: Path) -> None:
    for folder in ("saved", "dataset"):
        shutil.rmtree(clone / folder, ignore_errors=True)
    write_tables(clone)
    # In order: the export takes the checkpoint of the training.
    commands = shorter("".join(block for block in blocks("bash") if not block.startswith("make"))).splitlines()
    output = {command.split()[0]: run(command, clone) for command in commands}
    titles = {row.split(",", 1)[1].strip('"') for row in (clone / "movies.csv").read_text("utf-8").splitlines()[1:]}
    recommended = output["multvae-recommend"].split("MultVAE recommends")[1].strip().splitlines()
    assert len(recommended) == 5 and all(re.split(r"\s{2,}", row.strip())[1] in titles for row in recommended)
    assert (clone / "model.onnx").is_file()


def write_tables(folder: Path) -> None:
    """Write what the README's reader has: ratings and titles, those of every third user of RecBole's ml-100k, for time."""
    source = Path(recbole.__path__[0]) / "dataset_example" / "ml-100k" / "ml-100k"
    for kind, name, header, columns in (
        (".inter", "ratings.csv", "userId,movieId,rating,timestamp", slice(4)),
        (".item", "movies.csv", "movieId,title", slice(2)),
    ):
        rows = [line.split("\t")[columns] for line in source.with_suffix(kind).read_text("utf-8").splitlines()[1:]]
        rows = [row for row in rows if kind == ".item" or int(row[0]) % 3 == 1]  # User 196 is one of them.
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header.split(","), *rows])


@pytest.mark.parametrize("block", blocks("python"))
def test_script(block: str, clone: Path) -> None:
    (clone / "script.py").write_text(block)
    run("python script.py", clone)


@pytest.mark.parametrize("model", [*FAMILY, Sum])
def test_a_setting_is_the_same_in_code_yaml_and_table(model: type) -> None:
    settings = model.all_settings()
    text = (ROOT / "properties" / "model" / f"{model.__name__}.yaml").read_text("utf-8")
    written = text.split("\n\n")[0].splitlines()
    assert written == yaml_lines(settings), "the lines of the YAML file are made by config.settings.yaml_lines"
    assert {key: yaml.safe_load(text)[key] for key in settings.model_fields} == settings().model_dump()
    for settings in map(model.all_settings, likelihoods()):
        check_table(settings, key_table(model.__name__))


def key_table(model: str) -> dict[str, str]:
    """The rows of the tables of keys by key: of MultVAE and MultDAE, and of the model's own section, which wins."""
    own = [text for title, text in SECTIONS.items() if model in title.split()]
    return rows("".join([SECTIONS["MultVAE and MultDAE"], *own]))


def rows(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `(\w+)` (\| .* \|)$", text, re.MULTILINE))


def check_table(settings: type[Settings], table: dict[str, str]) -> None:
    for key, field in settings.model_fields.items():
        default, rest = table[key].removeprefix("| ").split(" | ", 1)
        assert f"`{field.default}`" in default, key
        assert rest == f"{settings.allowed(key)} | {field.description} |", key


@pytest.mark.parametrize(
    ("settings", "section"),
    [
        (RunSettings, "Keys of a run with any model"),
        (StrongGeneralizationSettings, "Held-out users: split `SG`"),
        (WeakGeneralizationSettings, "Records at random: split `WG`"),
    ],
)
def test_a_setting_of_a_run_or_a_split_is_the_same_in_code_and_table(settings: type[Settings], section: str) -> None:
    check_table(settings, rows(SECTIONS[section]))


def test_every_ready_configuration_and_every_model_of_a_split_is_named() -> None:
    assert set(re.findall(r"^\| `(?:dataset|preset)/(.*)\.yaml`", KEYS, re.MULTILINE)) == configurations().keys()
    assert all(name in KEYS for name in READERS)


@pytest.mark.parametrize("line", re.findall(r"`(--model=.*)` \|$", KEYS, re.MULTILINE))
def test_a_lens_is_a_configuration(line: str, tmp_path: Path) -> None:
    write_inter(tmp_path, "blocks", block_pairs())
    options, given = read_command_line(line.split())
    quick = {key: value for key, value in QUICK.items() if key not in ("latent_dimension", "mlp_hidden_size")}
    experiment = Experiment(options.model, defaults=quick, **{key: yaml.safe_load(value) for key, value in given.items()})
    experiment.fit()
    assert experiment.trainer.evaluate(experiment.test_data, show_progress=False)["recall@10"] > 0
