"""The rooms of the two packages and what each may import, and that only two files change other packages."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE, EXPORTER = ROOT / "recbole_multvae", ROOT / "export" / "multvae_export"

#: For each room of the plugin, from the ground up, the rooms that it may import.
GROUND = ("errors", "files", "hardware")
PLUGIN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*GROUND, "clicks", "corrections", "threads", "times"), ()),
    **dict.fromkeys(("compatibility", "config"), ("errors",)), "checkpoint": ("errors", "files"),
    "importing": ("errors", "times"),
    "layers": ("clicks",),
    "likelihoods": ("clicks", "config"),
    "data": (*GROUND, "clicks", "config", "times"),
    "evaluation": (*GROUND, "clicks", "config", "data"),
    "models": (*GROUND, "checkpoint", "clicks", "config", "data", "layers", "likelihoods"),
    "training": (*GROUND, "checkpoint", "config", "data", "evaluation"),
    "sums": ("checkpoint", "clicks", "config", "data", "errors", "evaluation", "models", "training"),
    "registration": ("checkpoint", "config", "corrections", "data", "errors", "evaluation", "likelihoods", "models", "sums",
                     "training"),
    "tracking": ("data", "errors"),
    "experiment": (*GROUND, "compatibility", "config", "data", "evaluation", "models", "sums", "tracking", "training"),
    "rebuild": ("checkpoint", "clicks", "data", "errors", "evaluation", "experiment", "files", "models"),
    "leaderboard": (*GROUND, "checkpoint", "compatibility", "config", "data", "evaluation", "experiment", "sums", "times",
                    "tracking"),
    "commands": ("checkpoint", "compatibility", "config", "data", "errors", "evaluation", "experiment", "importing",
                 "leaderboard", "likelihoods", "models", "rebuild", "sums", "tracking"),
    "__init__": ("compatibility", "models", "registration", "threads"),
    "__main__": ("commands",),
}  # fmt: skip
#: The same for the exporter.
EXPORT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("errors", "ranking", "target"), ()),
    **dict.fromkeys(("reading", "histories", "console"), ("errors",)),
    "onnx_session": ("errors", "target"),
    "checkpoint": ("errors", "reading"),
    "features": ("errors", "histories"),
    "nodes": ("errors", "target"),
    "architectures": ("checkpoint", "errors", "features", "nodes", "ranking", "target"),
    "trained_model": ("architectures", "checkpoint", "errors"),
    "graph": ("__version__", "architectures", "errors", "nodes", "target", "trained_model"),
    "publish": ("errors", "trained_model"),
    "verification": ("architectures", "errors", "graph", "histories", "ranking", "target", "trained_model"),
    "golden": ("architectures", "graph", "ranking", "target", "trained_model"),
    "benchmark": (
        "architectures",
        "checkpoint",
        "console",
        "errors",
        "histories",
        "nodes",
        "onnx_session",
        "target",
        "trained_model",
    ),
    "new_items": ("checkpoint", "errors", "features", "histories", "trained_model"),
    "compare": ("console", "errors", "graph", "histories", "onnx_session", "publish"),
    "exporter": (
        "checkpoint",
        "errors",
        "graph",
        "histories",
        "new_items",
        "publish",
        "target",
        "trained_model",
        "verification",
    ),
    "vectors": (
        "architectures",
        "errors",
        "exporter",
        "graph",
        "histories",
        "new_items",
        "nodes",
        "publish",
        "ranking",
        "target",
        "trained_model",
        "verification",
    ),
    "__init__": ("errors", "exporter", "vectors"),
    "cli": (
        "__version__",
        "architectures",
        "console",
        "errors",
        "exporter",
        "graph",
        "new_items",
        "nodes",
        "publish",
        "reading",
        "target",
        "vectors",
    ),
    "__main__": ("cli",),
}
#: What a room of the exporter may import besides the standard library and the exporter: what reads a checkpoint or ranks
#: imports torch only, writing adds onnx, verification adds onnxruntime. What is done with files alone needs no torch.
TORCH, ONNX, RUNTIME = ("numpy", "torch"), ("numpy", "torch", "onnx"), ("numpy", "torch", "onnx", "onnxruntime")
PACKAGES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("__init__", "__main__", "cli", "console", "errors", "exporter", "target", "trained_model"), ()),
    "new_items": TORCH,
    "features": TORCH,
    **dict.fromkeys(("golden", "histories", "ranking", "checkpoint", "nodes", "architectures", "reading"), TORCH),
    **dict.fromkeys(("graph", "publish"), ONNX),
    **dict.fromkeys(("verification", "benchmark"), RUNTIME),
    "vectors": ("numpy", "torch", "onnx", "pyarrow"),
    **dict.fromkeys(("onnx_session", "compare"), ("numpy", "onnx", "onnxruntime")),
}


def imports(file: Path) -> set[str]:
    """The modules that a file imports; of a package of ours, what is imported from it."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            module = node.module or ""
            whole = module in (PACKAGE.name, EXPORTER.name)
            modules |= {f"{module}.{alias.name}" for alias in node.names} if whole else {module}
    return modules


def room(file: Path, package: Path) -> str:
    return file.relative_to(package).with_suffix("").parts[0]


@pytest.mark.parametrize(("package", "rooms"), [(PACKAGE, PLUGIN), (EXPORTER, EXPORT)], ids=["plugin", "exporter"])
def test_rooms_import_only_rooms_below(package: Path, rooms: dict[str, tuple[str, ...]]) -> None:
    below: set[str] = {"__version__"}
    for name, allowed in rooms.items():
        assert set(allowed) <= below, f"{name} stands too low"
        below.add(name)
    for file in package.rglob("*.py"):
        own = room(file, package)
        modules = {module.split(".")[1] for module in imports(file) if module.startswith(f"{package.name}.")}
        assert modules <= {own, *rooms[own]}, file


def test_exporter_s_packages() -> None:
    for file in EXPORTER.rglob("*.py"):
        packages = {module.split(".")[0] for module in imports(file)} - set(sys.stdlib_module_names) - {EXPORTER.name}
        assert packages <= set(PACKAGES[room(file, EXPORTER)]), file


def test_maths_knows_neither_recbole_nor_configurations() -> None:
    for name in ("clicks.py", "layers.py", "likelihoods/output_layer.py"):
        allowed = {"recbole_multvae.clicks"}
        assert {module for module in imports(PACKAGE / name) if module.startswith("recbole")} <= allowed, name


def test_a_likelihood_is_torch_only() -> None:
    allowed = ("clicks", "config.settings", "likelihoods.base", "likelihoods.output_layer")
    for file in (PACKAGE / "likelihoods").glob("[!_]*.py"):
        ours = {module for module in imports(file) if module.startswith("recbole")}
        assert ours <= {f"recbole_multvae.{name}" for name in allowed}, file


#: The adapters to RecBole, from which models derive.
BASES = ("base", "auto_encoder")


def test_a_model_knows_the_maths_its_base_and_settings_only() -> None:
    rooms = {"clicks", "config", "errors", "layers", "likelihoods", "models"}
    of_data = {"recbole_multvae.data.cold_items"}  # A type.
    for file in (PACKAGE / "models").glob("[!_]*.py"):
        modules = imports(file)
        if file.stem not in (*BASES, "itemautorec"):  # ItemAutoRec has a training loader of its own.
            ours = {module for module in modules if module.startswith("recbole_multvae.")} - of_data
            assert {module.split(".")[1] for module in ours} <= rooms, file
            assert {module for module in modules if module.startswith("recbole.")} <= {"recbole.utils"}, file


#: What the plugin uses of the exporter: the safe reader, and the weights of items without clicks, which have one source.
OF_EXPORTER = {
    "checkpoint.py": ("reading",),
    "data/cold_items.py": ("errors", "features", "histories"),
    "rebuild/new_items.py": tuple(EXPORT),
}


def test_the_plugin_uses_only_the_reader_and_items_without_clicks_of_the_exporter_and_each_in_one_file() -> None:
    for file in PACKAGE.rglob("*.py"):
        modules = {module for module in imports(file) if module.startswith(f"{EXPORTER.name}.")}
        allowed = OF_EXPORTER.get(file.relative_to(PACKAGE).as_posix(), ())
        assert {module.split(".")[1] for module in modules} <= set(allowed), file


def test_importing_knows_no_recbole_and_only_one_file_pyarrow() -> None:
    for file in (PACKAGE / "importing").glob("*.py"):
        assert not [module for module in imports(file) if module.startswith("recbole.")], file
        if file.name != "arrow.py":
            assert not [module for module in imports(file) if module.startswith("pyarrow")], file


def test_only_its_own_file_imports_a_tracker() -> None:
    for file in PACKAGE.rglob("*.py"):
        packages = {module.split(".")[0] for module in imports(file)} & {"mlflow", "wandb"}
        assert packages <= {file.stem.removeprefix("to_")}, file


def test_only_commands_read_a_command_line() -> None:
    for file in PACKAGE.rglob("*.py"):
        if room(file, PACKAGE) != "commands":
            assert "argparse" not in imports(file), file


def test_only_two_files_change_other_packages() -> None:
    for file in PACKAGE.rglob("*.py"):
        if file.name in ("registration.py", "compatibility.py"):
            continue
        tree = ast.parse(file.read_text("utf-8"))
        calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        assert "setattr" not in calls, file
        assert "sys.modules" not in file.read_text("utf-8"), file


def test_no_other_file_names_an_architecture() -> None:
    shared = {"__init__", "base", "layered", "description", "similarity"}
    names = {file.stem for file in (EXPORTER / "architectures").glob("*.py")} - shared
    for file in EXPORTER.rglob("*.py"):
        # The golden file is of a small auto-encoder.
        if file.stem != "golden" and room(file, EXPORTER) != "architectures":
            assert not [module for module in imports(file) if module.split(".")[-1] in names], file


def test_exporter_names_no_plugin() -> None:
    for file in EXPORTER.rglob("*.py"):
        assert not [module for module in imports(file) if module.startswith("recbole")], file


def test_reader_needs_neither_onnx_nor_onnxruntime() -> None:
    block = "import sys; sys.modules.update(onnx=None, onnxruntime=None); import multvae_export.reading"
    assert subprocess.run([sys.executable, "-c", block], check=False).returncode == 0


def test_files_and_functions_are_short() -> None:
    for file in (*PACKAGE.rglob("*.py"), *EXPORTER.rglob("*.py")):
        text = file.read_text("utf-8")
        assert len(text.splitlines()) < 350, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                docstring = node.body[0] if ast.get_docstring(node) else None
                lines = (node.end_lineno or 0) - node.lineno + 1
                lines -= (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
                assert lines <= 35, f"{file}: {node.name}"
