"""The machine: its description, its free memory, the precision of products that suits it, and memory that is kept."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from logging import getLogger
from pathlib import Path

import psutil
import torch

#: mallopt's parameters (glibc, malloc.h), and how much freed memory glibc may keep: bytes, an int of C.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, KEPT_BLOCK_BYTES = 2**31 - 1, 2**30


def has_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16 products: AMX or AVX512-bf16 on a processor of Intel or AMD."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (_has("amx_bf16") or _has("avx512_bf16"))


def bf16_is_fast(device: torch.device) -> bool:
    """Whether products in bfloat16 take less time than in float32.

    They do with AMX, and with AVX512-bf16 on AMD's processors. On Intel's with AVX512-bf16 but without AMX, the three
    products of a batch took 1.6 times as long as in float32 (family 6 model 207, benchmarks/JOURNAL.md).
    """
    return has_bf16(device) and (device.type != "cpu" or _has("amx_bf16") or _vendor() == "AuthenticAMD")


def _has(instructions: str) -> bool:
    # torch before 2.10 has no get_capabilities.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get(instructions))


def _vendor() -> str:
    return cpuinfo().get("vendor_id", "")


def cpuinfo() -> dict[str, str]:
    """The fields of the first processor in Linux's /proc/cpuinfo, such as ``model name``; empty on other systems."""
    file = Path("/proc/cpuinfo")
    text = file.read_text("utf-8") if file.exists() else ""
    return dict(re.findall(r"^([\w ]+?)\s*: (.*)$", text.split("\n\n")[0], re.MULTILINE))


def describe_machine() -> str:
    """The processor with its instructions for matrix products, the number of threads, and the GPU: one line."""
    fields = cpuinfo()
    processor = fields.get("model name") or platform.processor() or platform.machine()
    if "model" in fields:
        processor += f" (family {fields.get('cpu family')} model {fields['model']})"
    flags = fields.get("flags", "").split()
    bf16 = [name for flag, name in (("avx512_bf16", "AVX512-bf16"), ("amx_bf16", "AMX-bf16")) if flag in flags]
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{processor}, {torch.backends.cpu.get_cpu_capability()}, {' and '.join(bf16) or 'no bf16'}, "
        f"{torch.get_num_threads()} threads{gpu}"
    )


#: The files of a control group, in version 2 and in version 1: its limit, its use, and a prefix in its statistics.
_GROUP_FILES = (("memory.max", "memory.current", ""), ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"))


def available_memory(proc: Path = Path("/proc"), mounted: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process can still take, without swap.

    psutil knows the memory of the whole system. A container or a batch system may allow less: the limits of the process's
    control group and of all groups above it hold too.

    Args:
        proc: where Linux describes processes.
        mounted: where Linux describes control groups.
    """
    own = proc / "self" / "cgroup"
    left = [int(psutil.virtual_memory().available)]
    for line in own.read_text("utf-8").splitlines() if own.exists() else ():
        number, controllers, path = line.split(":", 2)
        if number == "0" or "memory" in controllers.split(","):
            root = mounted if number == "0" else mounted / "memory"
            group = root / path.lstrip("/")  # In a container, a path of the host may not exist; the root does.
            left += [_left_in(folder) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return max(0, min(left))


def _left_in(group: Path) -> int:
    """Bytes up to the limit of a control group. The kernel drops cached files when it needs their memory."""
    for limit, used, prefix in _GROUP_FILES:
        if (group / limit).is_file() and (most := (group / limit).read_text("utf-8").strip()) != "max":
            statistics = dict(line.split() for line in (group / "memory.stat").read_text("utf-8").splitlines())
            cached = sum(int(statistics.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
            return int(most) - int((group / used).read_text("utf-8")) + cached
    return sys.maxsize


def product_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type in which the products with the output layer are computed.

    Args:
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where it is fast.
        device: that of the model.
    """
    native = has_bf16(device)
    if precision == "bf16" and not native:
        getLogger().warning(f"precision=bf16, but this {device.type} has no instructions for it: fp32 would be faster.")
    if precision == "auto":
        precision = "bf16" if bf16_is_fast(device) else "fp32"
        getLogger().info(f"precision=auto: products with the output layer are {precision} on this {device.type}.")
    return torch.bfloat16 if precision == "bf16" else torch.float32


def keep_freed_memory() -> None:
    """Make glibc keep large freed blocks for the next training step: up to 2 GiB in this process.

    By default glibc returns a block of 32 MiB or more to the kernel at once, and the kernel zeroes each page of the next
    block. That takes as much time as the arithmetic on it. This function does nothing where the C library is not glibc, or
    with ``RECBOLE_MULTVAE_MALLOPT=0`` in the environment.
    """
    if platform.libc_ver()[0] == "glibc" and os.environ.get("RECBOLE_MULTVAE_MALLOPT") != "0":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
