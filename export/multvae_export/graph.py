"""The graph of a model in ONNX's own text form.

``batch`` histories, ``length`` their padded length, C items of the catalogue with the padding item (id 0). The three graphs
share their middle: the encoder after its first layer, and the decoder.

Every operator but the two string look-ups and int8's MatMulInteger has a CUDA kernel at opset 18 (``cuda_kernels.json``).
What each precision stores is in :mod:`.quantise`; what the graph then computes:

- ``fp16``: the two products with the catalogue in half precision, for CUDA. On a CPU onnxruntime widens the weights as it
  loads them: half the file, the speed of fp32.
- ``int8``: the gathered rows of the table are widened; the decoder's input is rounded a row at a time, so that no user's
  ranking depends on who else is in the batch, and multiplied in integers. For CPUs.
- ``int4``: the gathered rows are unpacked; the decoder is onnxruntime's MatMulNBits, for CPUs and CUDA.

The layers between are widened once, when the file is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from string import Template

from multvae_export.model import Model
from multvae_export.quantise import BLOCK

#: Each position of the history writes its number into the row of the catalogue; the one that stands there in the end is the
#: one that counts, and what nobody wrote to is unseen.
SEEN = Template("""
    known_above = Greater($ids, zero)
    known_below = Less($ids, n_items)
    known = And(known_above, known_below)
    item = Where(known, $ids, zero)
    shape = Shape($ids)
    batch_shape = Shape <start: int = 0, end: int = 1> ($ids)
    length_shape = Shape <start: int = 1, end: int = 2> ($ids)
    catalogue_shape = Concat <axis: int = 0> (batch_shape, n_items)
    nobody = ConstantOfShape <value: tensor = int32[1] {-1}> (catalogue_shape)
    length64 = Squeeze(length_shape)
    length = Cast <to: int = 6> (length64)
    numbers = Range(start, length, step)
    position = Expand(numbers, shape)
    writer = ScatterElements <axis: int = 1> (nobody, item, position)
    standing = GatherElements <axis: int = 1> (writer, item)
    stands = Equal(standing, position)
    counts = And(stands, known)
    seen = Greater(writer, unwritten)
""")
#: The first layer: the sum of the rows of the items, over the square root of their number.
SPARSE = Template("""
    click = Cast <to: int = 1> (counts)$scaling
    click_row = Unsqueeze($weight, axis1)
    rows = Gather(table, item)$product
    sum = Squeeze(weighted, axis1)
    number = ReduceSum <keepdims: int = 1> (click, axis1)
    at_least_one = Max(number, one)
    norm = Sqrt(at_least_one)
    mean = Div(sum, norm)
    hidden0 = Add(mean, bias0)
""")
DENSE = Template("""
    square = Mul(x, x)
    sum_of_squares = MatMul(square, real)
    norm = Sqrt(sum_of_squares)
    divisor = Max(norm, tiny)
    unit = Div(x, divisor)$scaling$product
    hidden0 = Add(sum, bias0)
""")
#: Clicks times the table, as it is stored; int4 holds a byte's upper half beside its lower one, and 8 stands for zero.
PRODUCT = {
    "fp32": Template("""
    $sum = MatMul($clicks, $table)"""),
    "fp16": Template("""
    clicks16 = Cast <to: int = 10> ($clicks)
    sum16 = MatMul(clicks16, $table)
    $sum = Cast <to: int = 1> (sum16)"""),
    "int8": Template("""
    wide = Cast <to: int = 1> ($table)
    $sum = MatMul($clicks, wide)"""),
    "int4": Template("""
    bytes = Cast <to: int = 1> ($table)
    sixteenths = Mul(bytes, sixteenth)
    upper = Floor(sixteenths)
    both_sum = MatMul($clicks, bytes)
    upper_sum = MatMul($clicks, upper)
    upper_sixteen = Mul(upper_sum, sixteen)
    lower_sum = Sub(both_sum, upper_sixteen)
    halves = Concat <axis: int = -1> (lower_sum, upper_sum)
    all_clicks = ReduceSum <keepdims: int = 1> ($clicks, last_axis)
    all_zeros = Mul(all_clicks, eight)
    $sum = Sub(halves, all_zeros)"""),
}
#: The decoder's last layer. int8: rows at most 1, then -127..127 around 128; the scales come last and one after the other,
#: as onnxruntime 1.31 applies a product of both scales to the bias too.
LAST = {
    "fp32": Template("    $output = Gemm($source, weight$n, bias$n)"),
    "fp16": Template("""
    source16 = Cast <to: int = 10> ($source)
    product16 = MatMul(source16, weight$n)
    product = Cast <to: int = 1> (product16)
    $output = Add(product, bias$n)"""),
    "int8": Template("""
    magnitude = Abs($source)
    largest, where_largest = TopK <axis: int = 1> (magnitude, axis1)
    divisor8 = Max(largest, tiny)
    at_most_one = Div($source, divisor8)
    source8 = QuantizeLinear(at_most_one, step8, middle8)
    product32 = MatMulInteger(source8, weight$n, middle8)
    product = Cast <to: int = 1> (product32)
    of_items = Mul(product, scale$n)
    of_users = Mul(of_items, divisor8)
    $output = Add(of_users, bias$n)"""),
    "int4": Template("""
    product = com.microsoft.MatMulNBits <K: int = $units, N: int = $items, bits: int = 4, block_size: int = $block,
        accuracy_level: int = 4> ($source, weight$n, scale$n)
    $output = Add(product, bias$n)"""),
}
RANK = Template("""
    unseen = Where(seen, lowest, logits)
    most = Min(k, n_real)
    scores, best = TopK <axis: int = 1, largest: int = 1, sorted: int = 1> (unseen, most)
    ended = Equal(scores, lowest)
    $items = Where(ended, zero, best)
""")


def _hidden(n: int, source: str, precision: str) -> Iterator[str]:
    """A layer between: its weights are constants, which a runtime widens once."""
    weight = f"weight{n}"
    if precision != "fp32":
        yield f"    wide{n} = Cast <to: int = 1> ({weight})"
        weight = f"wide{n}"
    if precision in ("int8", "int4"):
        yield f"    scaled{n} = Mul(wide{n}, scale{n})"
        weight = f"scaled{n}"
    yield f"    hidden{n} = Gemm({source}, {weight}, bias{n})"


def _network(model: Model, output: str, precision: str) -> Iterator[str]:
    """The layers after the first, from ``hidden0`` to the output."""
    scorer = model.scorer
    depth, last = len(scorer.encoder), len(scorer.encoder) + len(scorer.decoder) - 1
    for n in range(1, last + 1):
        source = f"hidden{n - 1}"
        if n != depth or scorer.latent_tanh:
            yield f"    active{n - 1} = Tanh({source})"
            source = f"active{n - 1}"
        if n < last:
            yield from _hidden(n, source, precision)
        else:
            names = {"source": source, "output": output, "n": n}
            units = scorer.decoder[-1][0].shape[0]
            # The spare unit of int4's table, where the decoder follows it.
            units += units % 2 if n == 1 else 0
            sizes = {"units": units, "items": scorer.n_items, "block": BLOCK}
            yield LAST[precision].substitute(names, **sizes)


def _first(io: str, precision: str) -> str:
    """From the history to ``hidden0``; a row of the table may have a scale of its own, which goes to its click."""
    scaled = precision in ("int8", "int4")
    if io == "dense":
        scaling = "\n    scaled = Mul(unit, table_scale)" if scaled else ""
        product = PRODUCT[precision].substitute(clicks="scaled" if scaled else "unit", table="table", sum="sum")
        return DENSE.substitute(scaling=scaling, product=product)
    scaling = "\n    row_scale = Gather(table_scale, item)\n    scaled = Mul(click, row_scale)" if scaled else ""
    product = PRODUCT[precision].substitute(clicks="click_row", table="rows", sum="weighted")
    return SPARSE.substitute(scaling=scaling, weight="scaled" if scaled else "click", product=product)


def body(model: Model, io: str, precision: str) -> str:
    """The nodes of a graph, one a line."""
    network = "\n".join(_network(model, "scores" if io == "dense" else "logits", precision))
    first = _first(io, precision)
    if io == "dense":
        return first + network
    if io == "ids":
        return SEEN.substitute(ids="history") + first + network + RANK.substitute(items="items")
    ranked = SEEN.substitute(ids="ids") + first + network + RANK.substitute(items="best_ids")
    return f"\n    ids = LabelEncoder(history){ranked}    items = Gather(tokens, best_ids)\n"
