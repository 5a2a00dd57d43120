"""What training asks of the machine: the precision of products, and memory that stays at hand from step to step."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from logging import getLogger
from pathlib import Path

import torch

#: mallopt's parameters (glibc, malloc.h), and how much memory we let it keep: bytes, an int of C.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, KEPT_BLOCK_BYTES = 2**31 - 1, 2**30


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 by instructions of its own: AMX or AVX512-bf16 on a processor of Intel or AMD."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (_has("amx_bf16") or _has("avx512_bf16"))


def bf16_is_fast(device: torch.device) -> bool:
    """Whether products in bfloat16 take less time than in float32.

    With AMX they do, and with AVX512-bf16 on AMD's processors. With AVX512-bf16 alone on Intel's, the three products of a
    batch took 1.6 times as long as in float32 (family 6 model 207, benchmarks/JOURNAL.md).
    """
    return has_bf16(device) and (device.type != "cpu" or _has("amx_bf16") or _vendor() == "AuthenticAMD")


def _has(instructions: str) -> bool:
    # torch before 2.10 cannot say.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get(instructions))


def _vendor() -> str:
    return cpuinfo("vendor_id")


def cpuinfo(field: str) -> str:
    """What Linux says of the first processor, such as its ``model name``; nothing elsewhere."""
    file = Path("/proc/cpuinfo")
    found = re.search(rf"^{field}\s*: (.*)$", file.read_text("utf-8"), re.MULTILINE) if file.exists() else None
    return found[1] if found else ""


def product_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type in which the products with the output layer are computed.

    Args:
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where it is fast.
        device: where the model is.
    """
    native = has_bf16(device)
    if precision == "bf16" and not native:
        getLogger().warning(f"precision=bf16, but this {device.type} has no instructions for it: fp32 would be faster.")
    if precision == "auto":
        precision = "bf16" if bf16_is_fast(device) else "fp32"
        getLogger().info(f"precision=auto: products with the output layer are {precision} on this {device.type}.")
    return torch.bfloat16 if precision == "bf16" else torch.float32


def keep_freed_memory() -> None:
    """Make glibc keep large blocks that are freed, for the next step to take: up to 2 GiB in this process.

    By default it returns a block of 32 MiB or more to the kernel at once, and the next step gets a new one page by page,
    each page zeroed first: as much time as the arithmetic on it. This does nothing where the C library is not glibc, or with
    ``RECBOLE_MULTVAE_MALLOPT=0`` in the environment.
    """
    if platform.libc_ver()[0] == "glibc" and os.environ.get("RECBOLE_MULTVAE_MALLOPT") != "0":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
