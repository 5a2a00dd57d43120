"""The import direction of the package, and that only one file reaches into RecBole."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "recbole_multvae"
EXPORTER = Path(__file__).parent.parent / "export" / "multvae_export"


def imports(file: Path) -> set[str]:
    """The modules that a file imports, as written."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("name", ["layers.py", "training/schedule.py"])
def test_maths_knows_neither_recbole_nor_siblings(name: str) -> None:
    assert not [module for module in imports(PACKAGE / name) if module.startswith(("recbole", "recbole_multvae"))]


def test_likelihoods_know_their_base_and_settings_only() -> None:
    allowed = {"recbole_multvae.likelihoods.base", "recbole_multvae.settings"}
    for file in (PACKAGE / "likelihoods").glob("[!_]*.py"):
        assert {module for module in imports(file) if module.startswith("recbole")} <= allowed, file


def test_models_know_the_maths_the_base_and_settings_only() -> None:
    allowed = {"recbole_multvae." + name for name in ("layers", "models.base", "settings", "training.schedule")}
    for file in (PACKAGE / "models").glob("mult*.py"):
        ours = {module for module in imports(file) if module.startswith("recbole")}
        assert ours <= allowed, file


def test_nothing_imports_the_runner_or_the_exporter() -> None:
    for file in PACKAGE.rglob("*.py"):
        found = imports(file)
        assert not any(module.startswith("multvae_export") for module in found), file
        if file.name not in ("__main__.py", "train.py"):
            assert "recbole_multvae.commands.train" not in found, file


def test_only_registration_changes_recbole() -> None:
    for file in PACKAGE.rglob("*.py"):
        if file.name == "registration.py":
            continue
        tree = ast.parse(file.read_text("utf-8"))
        calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        assert "setattr" not in calls, file
        assert "sys.modules" not in file.read_text("utf-8"), file


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("scorer", {"torch"}),
        ("reader", {"torch"}),
        ("graph", set()),
        ("quantise", {"numpy", "torch"}),
        ("convert", {"numpy", "onnx"}),
        ("verify", {"numpy", "onnx", "onnxruntime", "torch"}),
        ("cost", {"numpy", "torch"}),
        ("benchmark", {"numpy", "onnx", "onnxruntime", "torch"}),
        ("exporter", set()),
        ("cli", set()),
    ],
)
def test_exporter_s_import_direction(name: str, allowed: set[str]) -> None:
    packages = {module.split(".")[0] for module in imports(EXPORTER / f"{name}.py")}
    assert packages - set(sys.stdlib_module_names) - {"multvae_export"} == allowed


def test_exporter_imports_recbole_only_to_read_a_data_set() -> None:
    for file in EXPORTER.glob("*.py"):
        top = [node for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not [node for node in top if "recbole" in ast.unparse(node)], file
        if file.name != "model.py":
            assert not [module for module in imports(file) if module.startswith("recbole")], file


def test_files_are_short() -> None:
    for file in (*PACKAGE.rglob("*.py"), *EXPORTER.rglob("*.py")):
        assert len(file.read_text("utf-8").splitlines()) < 350, file
