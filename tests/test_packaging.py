"""The two distributions, each installed in an environment of its own, do their jobs from an empty folder."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import multvae_export
import pytest
import recbole

import recbole_multvae
from tests.conftest import Experiment

tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "pip._vendor.tomli")
ROOT = Path(__file__).parent.parent
PIP = (sys.executable, "-m", "pip")
OFFLINE = ("--quiet", "--no-deps", "--no-index")
#: What the exporter alone does without.
FORBIDDEN = ("recbole", "ray", "recbole_multvae", "scipy", "pandas", "pydantic")


def run(*command: str | Path, cwd: Path, fails: bool = False) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: setuptools leaves build/ and *.egg-info behind."""
    folder = tmp_path_factory.mktemp("packaging") / "clone"
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheels(clone: Path) -> Path:
    """The folder of the wheels."""
    folder = clone.parent / "wheels"
    run(*PIP, "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", folder, clone, clone / "export", cwd=clone.parent)
    return folder


def environment(folder: Path, *packages: str | Path, forbidden: tuple[str, ...] = ()) -> Path:
    """The interpreter of a fresh environment with some packages in it.

    It borrows the installed packages through a .pth file, which does not process theirs: an editable install of the
    checkout stays out. That of setuptools, which has what newer Pythons have no longer, is taken over.

    Args:
        folder: where to make it.
        packages: what pip installs.
        forbidden: modules that cannot be imported there.
    """
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    installed = Path(recbole.__file__).parents[1]
    (own / "borrowed.pth").write_text(f"{installed}\n")
    shutil.copy(installed / "distutils-precedence.pth", own)
    (own / "forbidden.pth").write_text(f"import sys; sys.modules.update(dict.fromkeys({forbidden!r}))\n")
    if packages:
        run(*PIP, "--python", python, "install", *OFFLINE, "--no-build-isolation", *packages, cwd=folder)
    return python


@pytest.fixture(scope="module")
def python(wheels: Path) -> Path:
    """The interpreter of an environment with recbole-multvae."""
    return environment(wheels.parent / "plugin", next(wheels.glob("recbole_multvae-*.whl")))


@pytest.fixture(scope="module")
def exporter(wheels: Path) -> Path:
    """The interpreter of an environment with multvae-export, and without what the plugin needs."""
    return environment(wheels.parent / "exporter", next(wheels.glob("multvae_export-*.whl")), forbidden=FORBIDDEN)


@pytest.fixture(scope="module")
def trained(python: Path) -> Path:
    """The folder in which an installed recbole-multvae has trained MultVAE; what it printed is in ``out.txt``."""
    folder = python.parents[2] / "trained"
    folder.mkdir()
    flags = ("--model=MultVAE", "--dataset=ml-100k", "--epochs=1", "--show_progress=False")
    (folder / "out.txt").write_text(run(python.parent / "multvae-train", *flags, cwd=folder))
    return folder


def sources(folder: Path) -> set[str]:
    """Every file of a package that Python or the package itself reads, named from the folder that holds the package."""
    return {
        path.relative_to(folder.parent).as_posix()
        for pattern in ("*.py", "*.json", "*.yaml", "*.jinja", "*.hyper")
        for path in folder.rglob(pattern)
    }


def names(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_wheels_hold_their_packages_and_nothing_else(wheels: Path) -> None:
    exporter, plugin = sources(ROOT / "export" / "multvae_export"), sources(ROOT / "recbole_multvae")
    properties = {f"recbole_multvae/{name}" for name in sources(ROOT / "properties")}
    assert names(next(wheels.glob("multvae_export-*.whl"))) == exporter
    assert names(next(wheels.glob("recbole_multvae-*.whl"))) == exporter | plugin | properties
    for wheel in wheels.glob("*.whl"):
        assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_distributions_agree_on_what_they_share(wheels: Path) -> None:
    both, alone = (tomllib.loads((ROOT / name).read_text("utf-8")) for name in ("pyproject.toml", "export/pyproject.toml"))
    torch, numpy = (next(d for d in both["project"]["dependencies"] if d.startswith(name)) for name in ("torch", "numpy"))
    shared = {torch, numpy, *both["project"]["optional-dependencies"]["export"]}
    assert set(alone["project"]["dependencies"]) == shared
    assert alone["project"]["scripts"].items() <= both["project"]["scripts"].items()
    assert alone["build-system"] == both["build-system"]
    assert {wheel.name.split("-")[1] for wheel in wheels.glob("*.whl")} == {recbole_multvae.__version__}


#: Where a release has its version, besides the wheels, and where in the file.
VERSIONED = {
    "CHANGELOG.md": r"^## ([\w.]+)",
    "export/clients/node/package.json": r'"version": "(.+)"',
    "export/clients/node/package-lock.json": r'"version": "(.+)"',
    "export/clients/web/package.json": r'"version": "(.+)"',
    "export/clients/web/package-lock.json": r'"version": "(.+)"',
    "export/clients/rust/Cargo.toml": r'^version = "(.+)"',
    "export/clients/rust/Cargo.lock": r'^name = "recommend"\nversion = "(.+)"',
    "export/clients/java/pom.xml": r"^  <version>(.+)</version>",
    "export/clients/go/deploy/recommend.yaml": r"^ +image: .*:(.+)",
}


@pytest.mark.parametrize("name", VERSIONED)
def test_a_release_has_one_version(name: str) -> None:
    first = re.search(VERSIONED[name], (ROOT / name).read_text("utf-8"), re.MULTILINE)
    assert first and first[1] == recbole_multvae.__version__ == multvae_export.__version__


def test_wheel_trains_recommends_and_exports_from_an_empty_folder(python: Path, trained: Path) -> None:
    where = run(python, "-c", "import recbole_multvae; print(recbole_multvae.__file__)", cwd=trained)
    assert str(python.parent.parent) in where
    out = re.sub(r"\x1b\[[\d;]*m", "", (trained / "out.txt").read_text())
    assert "test result" in out
    assert "latent_dimension = 200" in out
    assert "--items" in run(python.parent / "multvae-import", "--help", cwd=trained)
    checkpoint = next(trained.glob("saved/MultVAE-*.pth"))
    out = run(python.parent / "multvae-recommend", checkpoint, "--user=1", cwd=trained)
    assert "MultVAE recommends" in out
    out = run(python.parent / "multvae-export", checkpoint, "model.onnx", cwd=trained)
    assert "equals torch" in out


def test_exporter_alone_exports_benchmarks_and_compares(exporter: Path, trained: Path, tmp_path: Path) -> None:
    for name in FORBIDDEN:
        assert "ModuleNotFoundError" in run(exporter, "-c", f"import {name}", cwd=tmp_path, fails=True)
    commands = exporter.parent
    assert recbole_multvae.__version__ in run(commands / "multvae-export", "--version", cwd=tmp_path)
    checkpoint = next(trained.glob("saved/MultVAE-*.pth"))
    assert "equals torch" in run(commands / "multvae-export", checkpoint, "model.onnx", cwd=tmp_path)
    flags = ("--batch-size", "1", "--requests", "1")
    out = run(commands / "multvae-benchmark", "model.onnx", "--checkpoint", checkpoint, *flags, cwd=tmp_path)
    assert "| model.onnx | tokens fp32 | CPU | 1 |" in out
    clicks = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
    out = run(
        commands / "multvae-compare", "model.onnx", "model.onnx", "--histories", clicks, "--min-overlap=1", cwd=tmp_path
    )
    assert "model.onnx and model.onnx: 943 histories, top 10" in out


def test_exporter_alone_says_that_a_data_set_needs_recbole(exporter: Path, blocks: str, tmp_path: Path) -> None:
    experiment = Experiment("MultiVAE", blocks, train_neg_sample_args=None)
    experiment.trainer._save_checkpoint(0, verbose=False)
    command = (exporter.parent / "multvae-export", experiment.trainer.saved_model_file, "model.onnx")
    out = run(*command, "--dataset-path=.", cwd=tmp_path, fails=True)
    assert out.splitlines()[-1] == "error: --dataset-path needs RecBole: pip install recbole-multvae"


#: Prints where the parts come from, and reads a checkpoint.
USE = """
import importlib.util
import sys
from recbole_multvae import checkpoint
from recbole_multvae.config.shipped import PROPERTIES
import multvae_export
print(multvae_export.__file__, checkpoint.__file__, PROPERTIES, importlib.util.find_spec("export"), sep="\\n")
print(checkpoint.load(sys.argv[1])["config"]["model"])
"""


@pytest.mark.parametrize("installed", [True, False])
def test_clone_is_used_in_place(installed: bool, clone: Path, trained: Path, tmp_path: Path) -> None:
    """After an editable installation; and without any, where the clone is on Python's path."""
    python = environment(tmp_path / "env", *(("--editable", clone) if installed else ()))
    (tmp_path / "use.py").write_text(("" if installed else f"import sys; sys.path.append({str(clone)!r})") + USE)
    out = run(python, "use.py", next(trained.glob("saved/MultVAE-*.pth")), cwd=tmp_path)
    *places, export, model = out.splitlines()[-5:]
    assert [Path(place).relative_to(clone).parts[0] for place in places] == ["export", "recbole_multvae", "properties"]
    assert model == "MultVAE"
    if installed:
        assert export == "None", "the folder export is a name that can be imported"
