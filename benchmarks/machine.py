"""One line that says which machine, which packages and which day a figure comes from."""

from __future__ import annotations

import datetime
import logging
import re
import sys
import warnings
from pathlib import Path

import torch


def describe() -> str:
    """The processor with what matters for matrix products, its threads, the packages and the date."""
    cpuinfo = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", cpuinfo.split("\n\n")[0], re.MULTILINE))
    flags = fields.get("flags", "").split()
    kinds = [name for flag, name in (("avx512_bf16", "AVX512-bf16"), ("amx_bf16", "AMX-bf16")) if flag in flags]
    processor = (
        f"{fields.get('model name', 'unknown processor')} (family {fields.get('cpu family')} model {fields.get('model')})"
    )
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{processor}, {torch.backends.cpu.get_cpu_capability()}, {' and '.join(kinds) or 'no bf16'}, "
        f"{torch.get_num_threads()} threads{gpu}, torch {torch.__version__}, {datetime.date.today()}"
    )


def quiet() -> None:
    """Keep RecBole from reading the benchmark's flags, and logs and warnings from the table."""
    sys.argv = sys.argv[:1]
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
