"""The import direction of the package, and that only one file reaches into RecBole."""

from __future__ import annotations

import ast
import subprocess
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


@pytest.mark.parametrize("name", ["clicks.py", "layers.py", "likelihoods/output_layer.py"])
def test_maths_knows_neither_recbole_nor_siblings(name: str) -> None:
    allowed = {"recbole_multvae.clicks"}
    assert {module for module in imports(PACKAGE / name) if module.startswith("recbole")} <= allowed


def test_likelihoods_know_clicks_their_base_the_output_layer_and_settings_only() -> None:
    names = ("clicks", "config.settings", "likelihoods.base", "likelihoods.output_layer")
    allowed = {f"recbole_multvae.{name}" for name in names}
    for file in (PACKAGE / "likelihoods").glob("[!_]*.py"):
        assert {module for module in imports(file) if module.startswith("recbole")} <= allowed, file


#: The adapters to RecBole, from which models derive.
BASES = ("base", "auto_encoder")


def test_models_know_the_maths_the_base_and_settings_only() -> None:
    maths = ("clicks", "layers", "likelihoods.base", "likelihoods.gaussian")
    ours = (*maths, "data.loaders", "models.autorec", "models.base", "models.auto_encoder", "config.settings", "errors")
    allowed = {"recbole.utils", *(f"recbole_multvae.{name}" for name in ours)}
    for file in {*(PACKAGE / "models").glob("[!_]*.py")} - {PACKAGE / "models" / f"{name}.py" for name in BASES}:
        assert {module for module in imports(file) if module.startswith("recbole")} <= allowed, file


def test_nothing_imports_the_runner_and_only_checkpoint_imports_of_the_exporter_its_reader() -> None:
    for file in PACKAGE.rglob("*.py"):
        found = imports(file)
        allowed = {"multvae_export.reading"} if file.name == "checkpoint.py" else set()
        assert {module for module in found if module.startswith("multvae_export")} <= allowed, file
        if file.name not in ("__main__.py", "train.py"):
            assert "recbole_multvae.commands.train" not in found, file


def test_importing_knows_no_recbole() -> None:
    allowed = ("recbole_multvae.errors", "recbole_multvae.importing")
    for file in (PACKAGE / "importing").glob("*.py"):
        assert not [name for name in imports(file) if name.startswith("recbole") and not name.startswith(allowed)], file
        if file.name != "arrow.py":
            assert not [name for name in imports(file) if name.startswith("pyarrow")], file


def test_only_two_files_change_other_packages() -> None:
    for file in PACKAGE.rglob("*.py"):
        if file.name in ("registration.py", "compatibility.py"):
            continue
        tree = ast.parse(file.read_text("utf-8"))
        calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        assert "setattr" not in calls, file
        assert "sys.modules" not in file.read_text("utf-8"), file


#: What a file of the exporter may import besides the standard library and the exporter, by the room it is in: what reads a
#: checkpoint and what ranks is torch only, writing adds onnx, verification adds onnxruntime.
TORCH, ONNX, RUNTIME = ("numpy", "torch"), ("numpy", "torch", "onnx"), ("numpy", "torch", "onnx", "onnxruntime")
ROOMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("__init__", "__main__", "cli", "console", "errors", "exporter", "target", "trained_model"), ()),
    **dict.fromkeys(("golden", "histories", "ranking", "checkpoint", "graph", "architectures", "reading"), TORCH),
    **dict.fromkeys(("graph/onnx_file", "publish"), ONNX),
    **dict.fromkeys(("verification", "benchmark"), RUNTIME),
}


def others(file: Path) -> set[str]:
    """The packages that a file imports, without the standard library and the exporter."""
    return {module.split(".")[0] for module in imports(file)} - set(sys.stdlib_module_names) - {"multvae_export"}


def room(file: Path) -> str:
    """The room that a file is in: it may have one of its own."""
    path = file.relative_to(EXPORTER).with_suffix("")
    return path.as_posix() if path.as_posix() in ROOMS else path.parts[0]


def test_exporter_s_import_direction() -> None:
    for file in EXPORTER.rglob("*.py"):
        assert others(file) <= set(ROOMS[room(file)]), file


def test_reading_is_torch_only_and_knows_nothing_of_models() -> None:
    for file in (EXPORTER / "reading").glob("*.py"):
        assert others(file) <= set(TORCH), file
        ours = {module.split(".")[1] for module in imports(file) if module.startswith("multvae_export.")}
        assert ours <= {"errors", "reading"}, file


def test_architectures_are_torch_only_and_know_nothing_of_files() -> None:
    allowed = {"architectures", "checkpoint", "errors", "graph", "ranking", "target"}
    for file in (EXPORTER / "architectures").glob("*.py"):
        assert others(file) <= set(TORCH), file
        ours = {module.split(".")[1] for module in imports(file) if module.startswith("multvae_export.")}
        assert ours <= allowed, file


def test_no_file_of_the_exporter_but_its_own_names_an_architecture() -> None:
    names = {file.stem for file in (EXPORTER / "architectures").glob("*.py")} - {
        "__init__",
        "base",
        "layered",
        "description",
        "similarity",
    }
    for file in EXPORTER.glob("*.py"):
        # The golden file is of a small auto-encoder.
        if file.stem != "golden":
            assert not [module for module in imports(file) if module.split(".")[-1] in names], file


def test_exporter_names_no_plugin() -> None:
    for file in EXPORTER.rglob("*.py"):
        assert not [module for module in imports(file) if module.startswith("recbole")], file


def test_reader_imports_nothing_else_of_the_exporter() -> None:
    for file in (EXPORTER / "reading").glob("*.py"):
        ours = {module for module in imports(file) if module.startswith("multvae_export")}
        assert all(module == "multvae_export.errors" or module.startswith("multvae_export.reading.") for module in ours), (
            file
        )


def test_reader_needs_neither_onnx_nor_onnxruntime() -> None:
    block = "import sys; sys.modules.update(onnx=None, onnxruntime=None); import multvae_export.reading"
    assert subprocess.run([sys.executable, "-c", block], check=False).returncode == 0


def test_files_are_short() -> None:
    for file in (*PACKAGE.rglob("*.py"), *EXPORTER.rglob("*.py")):
        assert len(file.read_text("utf-8").splitlines()) < 350, file
