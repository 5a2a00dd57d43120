"""What RecBole uses and newer packages no longer have: it is put back where it is missing, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import dok_matrix

from recbole_multvae import compatibility
from recbole_multvae.errors import UnsupportedVersionError


def test_names_that_are_there_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = type("mine", (np.float32,), {})
    monkeypatch.setattr(np, "float_", mine, raising=False)
    monkeypatch.delattr(np, "unicode_", raising=False)
    monkeypatch.setattr(dok_matrix, "_update", dok_matrix.update, raising=False)
    compatibility.restore_removed_names()
    assert np.float_ is mine and np.unicode_ is np.str_ and dok_matrix._update is dok_matrix.update


def test_entries_of_a_matrix() -> None:
    compatibility.restore_removed_names()
    matrix = dok_matrix((3, 4), dtype=np.float32)
    matrix._update({(0, 1): 1, (2, 3): 2})
    np.testing.assert_array_equal(matrix.toarray(), [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2]])
    assert matrix.tocoo().dtype == np.float32


def test_pandas_that_loses_what_is_filled_in_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd, "__version__", "3.0.1")
    with pytest.raises(UnsupportedVersionError, match=r"but 3\.0\.1 is installed, with which RecBole leaves missing values"):
        compatibility.restore_removed_names()


#: ``HIDDEN`` packages are not installed.
WITHOUT = """
import importlib.abc, sys
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in HIDDEN else find_spec(name, package)
"""


def run(code: str, *hidden: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", f"HIDDEN = {hidden}\n{WITHOUT}\n{code}"]
    return subprocess.run(command, capture_output=True, text=True)


def test_quick_start_without_ray() -> None:
    code = """
import recbole_multvae
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.quick_start.quick_start import tune
assert "ray" not in sys.modules
try:
    tune.report(recall=0.5)
    tune.run
except ModuleNotFoundError as error:
    print(error)
import ray
"""
    done = run(code, "ray")
    assert done.stdout == "ray.tune.run needs the package ray, which is not installed: pip install ray\n", done.stderr
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'ray'"


def test_no_recbole() -> None:
    last = run("import recbole_multvae", "recbole").stderr.splitlines()[-1]
    assert last.endswith("needs RecBole, which is not installed: pip install --no-deps recbole==1.2.1")
