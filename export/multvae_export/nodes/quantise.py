"""Weights in fewer bits: what a file stores, the float32 weights that it stands for, and the nodes that unpack int4.

``C`` items of the catalogue, ``H`` units of the hidden layer next to it. Every scheme is symmetric rounding to nearest:

- ``fp16``: half precision.
- ``int8``: the encoder's table a row (item) at a time, to -127..127; the decoder a column (item) at a time, to -64..64.
  Processors with AVX2 or AVX512 but no VNNI add two products of a uint8 and an int8 in 16 bits, which overflow beyond 64.
- ``int4``: the table a row at a time, two units to a byte, unit h in the lower half and unit h + H/2 in the upper one; the
  decoder in blocks of 32 units, as onnxruntime's MatMulNBits reads them. 8 stands for zero.

The small layers between table and decoder are 1 % of the weights: fp16 stores them as fp16, int8 and int4 as int8. The
entries of a sparse matrix are in half precision in all three: fewer bits would save little beside the column of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multvae_export.errors import PrecisionError
from multvae_export.nodes.nodes import Nodes

PRECISIONS = ("fp32", "fp16", "int8", "int4")
TABLE_LIMIT, DECODER_LIMIT = 127, 64
#: Units of a block of MatMulNBits: a scale of 4 bytes for 16 bytes of weights.
BLOCK = 32
#: The largest number of half precision.
LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Stored:
    """Weights as a file holds them.

    Attributes:
        values: the weights as stored.
        scale: their factor, float32; None if they have none.
        widened: the float32 weights that they stand for, in the shape of the original.
    """

    values: np.ndarray
    scale: np.ndarray | None
    widened: np.ndarray


def table(weight: np.ndarray, precision: str) -> Stored:
    """The encoder's first layer, [C, H]; ``scale`` is [C]. For int4 H is even, and ``values`` are [C, H / 2]."""
    if precision == "int8":
        return _rounded(weight, axis=1, limit=TABLE_LIMIT)
    if precision == "int4":
        scale = _four_bit_scale(weight, axis=1)
        numbers = np.clip(np.rint(weight / scale), -8, 7)
        low, high = np.split((numbers + 8).astype(np.uint8), 2, axis=1)
        return Stored(low | high << 4, scale[:, 0], numbers * scale)
    return _float(weight, precision)


def hidden(weight: np.ndarray, precision: str) -> Stored:
    """A layer between the table and the decoder's last, [d_in, d_out]; ``scale`` is [d_out]."""
    return _float(weight, precision) if precision in ("fp32", "fp16") else _rounded(weight, axis=0, limit=TABLE_LIMIT)


def decoder(weight: np.ndarray, precision: str) -> Stored:
    """The decoder's last layer, [H, C]; ``scale`` is [C], for int4 [C * blocks], and ``values`` [C, blocks, BLOCK / 2]."""
    if precision == "int8":
        return _rounded(weight, axis=0, limit=DECODER_LIMIT)
    if precision == "int4":
        units, items = weight.shape
        blocks = np.pad(weight, ((0, -units % BLOCK), (0, 0))).T.reshape(items, -1, BLOCK)
        scale = _four_bit_scale(blocks, axis=2)
        numbers = np.clip(np.rint(blocks / scale), -8, 7)
        half = (numbers + 8).astype(np.uint8)
        widened = (numbers * scale).reshape(items, -1)[:, :units].T
        return Stored(half[..., 0::2] | half[..., 1::2] << 4, scale.reshape(-1), widened)
    return _float(weight, precision)


def entries(weight: np.ndarray, precision: str) -> Stored:
    """The entries of a sparse matrix, [N]."""
    return _float(weight, "fp32" if precision == "fp32" else "fp16")


def _float(weight: np.ndarray, precision: str) -> Stored:
    values = _half(weight) if precision == "fp16" else weight
    return Stored(values, None, values.astype(np.float32, copy=False))


def _half(weight: np.ndarray) -> np.ndarray:
    largest = np.abs(weight).max(initial=0)
    if not largest <= LARGEST_HALF:  # Also for NaN.
        raise PrecisionError(
            f"a weight has the size {largest:g}, and half precision ends at {LARGEST_HALF:g}: export with --precision=fp32."
        )
    return weight.astype(np.float16)


def _rounded(weight: np.ndarray, axis: int, limit: int) -> Stored:
    largest = np.abs(weight).max(axis=axis, keepdims=True)
    scale = np.where(largest > 0, largest / limit, 1).astype(np.float32)
    values = np.rint(weight / scale).astype(np.int8)
    return Stored(values, scale.squeeze(axis), values * scale)


def _four_bit_scale(weight: np.ndarray, axis: int) -> np.ndarray:
    """The number of largest magnitude becomes -8. There is no +8, so the scale has the sign."""
    where = np.abs(weight).argmax(axis=axis, keepdims=True)
    extreme = np.take_along_axis(weight, where, axis=axis)
    return np.where(extreme != 0, extreme / -8, 1).astype(np.float32)


def upper_half(packed: str, prefix: str = "") -> Nodes:
    """The nodes from int4's bytes to ``bytes`` and ``upper``, the number in the upper half of each, as float32."""
    return Nodes(f"""
    {prefix}bytes = Cast <to: int = 1> ({packed})
    {prefix}sixteenths = Mul({prefix}bytes, sixteenth)
    {prefix}upper = Floor({prefix}sixteenths)
""")


def halves(packed: str, prefix: str = "") -> Nodes:
    """The nodes from int4's bytes to ``lower`` and ``upper``, the numbers in the two halves of each, as float32."""
    return upper_half(packed, prefix) + Nodes(f"""
    {prefix}upper_times_16 = Mul({prefix}upper, sixteen)
    {prefix}lower = Sub({prefix}bytes, {prefix}upper_times_16)
""")


def widened(rows: str, precision: str) -> tuple[Nodes, str]:
    """The nodes from rows of the table as they are stored to float32, before any scale, and the name of the result."""
    if precision == "fp32":
        return Nodes(), rows
    if precision != "int4":
        return Nodes(f"    {rows}_wide = Cast <to: int = 1> ({rows})\n"), f"{rows}_wide"
    return halves(rows, f"{rows}_") + Nodes(f"""
    {rows}_units = Concat <axis: int = -1> ({rows}_lower, {rows}_upper)
    {rows}_wide = Sub({rows}_units, eight)
"""), f"{rows}_wide"
