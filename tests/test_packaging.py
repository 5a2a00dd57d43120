"""The wheel, installed in an environment of its own, does the main job from an empty folder."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: setuptools leaves build/ and *.egg-info behind.
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, folder / "source", cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """The interpreter of a fresh environment with the wheel in it.

    It borrows the installed packages through a .pth file, which does not process theirs: an editable install of the
    checkout stays out.
    """
    folder = wheel.parent / "env"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=wheel.parent)
    python = folder / "bin" / "python"
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=folder,
    )
    Path(own, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_wheel_holds_the_package_and_its_yaml_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"multvae_export", "recbole_multvae", "recbole_multvae-0.1.0.dist-info"}
    assert {"recbole_multvae/properties/model/MultVAE.yaml", "multvae_export/cuda_kernels.json"} <= set(names)
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "recbole_multvae").rglob("*.py")}
    assert sources <= set(names)


def test_wheel_trains_recommends_and_exports_from_an_empty_folder(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import recbole_multvae; print(recbole_multvae.__file__)", cwd=tmp_path)
    assert str(python.parent.parent) in where
    flags = ("--model=MultVAE", "--dataset=ml-100k", "--epochs=1", "--show_progress=False")
    out = run(python.parent / "multvae-train", *flags, cwd=tmp_path)
    assert "test result" in out
    assert "latent_dimension = 200" in out.replace("\x1b[1;36m", "").replace("\x1b[1;33m", "").replace("\x1b[0m", "")
    checkpoint = next(tmp_path.glob("saved/MultVAE-*.pth"))
    out = run(python.parent / "multvae-recommend", checkpoint, "--user=1", cwd=tmp_path)
    assert "MultVAE recommends" in out
    out = run(python.parent / "multvae-export", checkpoint, "model.onnx", cwd=tmp_path)
    assert "equals torch" in out
    out = run(python.parent / "multvae-benchmark", "model.onnx", "--batch-size", "1", "--requests", "1", cwd=tmp_path)
    assert "| model.onnx | tokens fp32 | CPU | 1 |" in out
