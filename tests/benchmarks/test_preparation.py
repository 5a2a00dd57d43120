"""benchmarks/preparation.py measures RecBole's model in a process without this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_process_of_recbole_s_model_does_not_import_this_package() -> None:
    # A spawned process imports the script, and contestants.py runs as one.
    code = "import sys, preparation, contestants; sys.exit('recbole_multvae' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, check=True)
