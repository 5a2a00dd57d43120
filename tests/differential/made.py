"""Made data sets and protocols: Hypothesis draws which oddities there are, and a seed; the rows follow from the seed.

A smaller example has fewer oddities and fewer rows, so that what Hypothesis shrinks a failure to names its cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.differential.files import Shape, files

NAME = "made"
TOPK = [1, 3]

#: What every run of an example has beside the keys that were drawn.
BASE = {
    "topk": TOPK,
    "metrics": ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP"],
    "valid_metric": "NDCG@3",
    "metric_decimal_place": 10,
    "epochs": 1,
    "seed": 7,
    "show_progress": False,
    "use_gpu": False,
    "state": "CRITICAL",
}
SMALL_MULTVAE = {
    "precision": "fp32",
    "train_batch_size": 8,
    "learning_rate": 0.001,
    "latent_dimension": 4,
    "mlp_hidden_size": [6],
    "decoder_hidden_size": "mirrored",
    "eval_step": 1,
    "ema_decay": 0,
}
MODELS = ["EASE", "EASE", "EASE", "Pop", "ItemKNN", "BPR", "MultVAE", "MultVAE"]


@dataclass(frozen=True)
class Example:
    """What a user has: the files of a data set, by what follows its name, and the keys of a run."""

    model: str
    keys: dict[str, Any]
    files: dict[str, bytes]
    shape: Shape

    def __repr__(self) -> str:
        keys = {key: value for key, value in self.keys.items() if BASE.get(key) != value and key not in SMALL_MULTVAE}
        return f"{self.model} {keys} {self.shape}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis would print every field.

    @property
    def eval_args(self) -> dict[str, Any]:
        return self.keys["eval_args"]

    @property
    def benchmark(self) -> bool:
        return bool(self.keys.get("benchmark_filename"))


def _seldom(value: Any, share: int = 8) -> st.SearchStrategy[Any]:
    """None or False, or one time in ``share`` what another strategy draws."""
    return st.sampled_from(range(share)).flatmap(lambda n: value if n == share - 1 else st.just(None))


TOKENS = [
    "NA", "null", "nan", "None", "n/a", "NULL", "N/A", "<NA>", "-nan", "#N/A", "007", "7", "7.0", "1e5", "1_000", "inf",
    "True", " x", "x ", "é", "日本", "a\u2028b", "a\x0bb", "\x85x", "x\u00a0", "it's", "#", "\\N", "-", "PAD", "[pad]",
    "a,b", "a;b", "a b", "a|b", "a||b", "user_id:token", "$", "(", "a\tb",
]  # fmt: skip
MODES: list[Any] = ["full"] * 7 + ["uni5", "pop3", "labeled"]
MODES += [{"valid": "full", "test": "uni5"}, {"valid": "uni3", "test": "full"}]
RATIOS = [[0.8, 0.1, 0.1], [8, 1, 1], [6, 2, 2], [0.5, 0.25, 0.25], [7, 1, 2], [8, 2, 0], [8, 0, 2], [98, 1, 1]]
EXTRA = ["timestamp", "timestamp", "rating", "tag", "words", "label"]
QUOTING = ["no", "no", "no", "no", "all", "some", "start", "middle", "pair", "mixed"]
TIMES = ["days", "steps", "ties", "floats", "milliseconds", "zero", "nanoseconds", "forms", "negative", "missing"]
INTERVALS = ["[2,inf)", "[3,inf)", "(1,inf)", "[1,8]", "[2,9);[12,inf)"]


@st.composite
def shapes(draw: Any) -> Shape:
    """The form of a data set's files."""
    return Shape(
        users=draw(st.integers(5, 40)),
        items=draw(st.integers(6, 40)),
        rows=draw(st.integers(20, 300)),
        seed=draw(st.integers(0, 2**16)),
        separator=draw(st.sampled_from(["\t"] * 6 + [",", ",", ",", ";", ";", "|", " ", "||", "$$", "::"])),
        encoding=draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "latin-1", "utf-8-sig", "utf-16"])),
        line_end=draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])),
        ends_with_line_end=draw(st.sampled_from([True, True, False])),
        blank_lines=draw(st.sampled_from([0, 0, 0, 2])),
        extra=tuple(draw(st.lists(st.sampled_from(EXTRA), max_size=5, unique=True))),
        user_tokens=tuple(draw(_tokens())),
        item_tokens=tuple(draw(_tokens())),
        duplicates=draw(st.sampled_from([0, 0, 30])),
        quoting=draw(st.sampled_from(QUOTING)),
        times=draw(st.sampled_from(TIMES)),
        missing_ratings=draw(st.sampled_from([0, 0, 2])),
        item_file=draw(_seldom(st.sampled_from(["all", "cold", "few", "twice"]), 4)) or "",
        user_file=draw(_seldom(st.sampled_from(["all", "cold", "few", "twice"]), 8)) or "",
        defect=draw(_seldom(st.sampled_from(DEFECTS), 6)) or "",
        benchmark=draw(st.sampled_from([False] * 6 + [True])),
    )


DEFECTS = [
    "empty user", "empty item", "pad user", "pad item", "too many fields", "too few fields", "carriage return", "NUL",
    "byte order mark", "bad number", "bad type", "column twice", "no user column", "wrong bytes", "empty file", "no rows",
    "empty item in its file", "history lists", "labels of 0", "column in two files",
]  # fmt: skip


def _tokens() -> st.SearchStrategy[Any]:
    return st.sampled_from([0, 0, 1, 3]).flatmap(
        lambda n: st.lists(st.sampled_from(TOKENS), min_size=n, max_size=n, unique=True)
    )


@st.composite
def examples(draw: Any) -> Example:
    """A data set, a protocol and a model that go together, but for a few that must be refused."""
    shape = draw(shapes())
    model = draw(st.sampled_from(MODELS))
    eval_args = draw(protocols("timestamp" in shape.extra))
    keys = {**BASE, **(SMALL_MULTVAE if model == "MultVAE" else {}), "eval_args": eval_args}
    if shape.benchmark:
        keys["benchmark_filename"] = ["train", "valid", "test"]
    if not shape.benchmark or draw(st.sampled_from([False] * 6 + [True])):
        keys |= draw(filters(shape))
    if shape.separator != "\t":
        keys["field_separator"] = shape.separator
    if shape.encoding != "utf-8":
        keys["encoding"] = shape.encoding
    keys |= draw(columns(shape, {*keys.get("val_interval", {}), *(["timestamp"] if needs_time(keys) else [])}))
    keys |= draw(implicit(shape))
    return Example(model, keys, files(shape), shape)


def needs_time(keys: dict[str, Any]) -> bool:
    """Whether the order of time decides something."""
    args = keys["eval_args"]
    return not keys.get("benchmark_filename") and (args.get("order") == "TO" or "TS" in args.get("split", {}))


@st.composite
def protocols(draw: Any, timed: bool) -> dict[str, Any]:
    """``eval_args``: a key that is left out has RecBole's default."""
    splits: list[dict[str, Any]] = [{"RS": ratio} for ratio in RATIOS]
    splits += [{"LS": mode} for mode in ["valid_and_test", "valid_and_test", "valid_only", "test_only"] for _ in (0, 1)]
    if timed:
        splits += [{"TS": ratio} for ratio in ([8, 1, 1], [6, 2, 2], [7, 1, 2]) for _ in (0, 1)]
    args: dict[str, Any] = {"split": draw(st.sampled_from(splits))}
    args["mode"] = draw(st.sampled_from(MODES))
    group = draw(st.sampled_from([None, "user", "none"]))
    order = draw(st.sampled_from([None, "RO", "TO", "TO"] if timed else [None] * 4 + ["RO"] * 4 + ["TO"]))
    return args | ({"group_by": group} if group else {}) | ({"order": order} if order else {})


@st.composite
def filters(draw: Any, shape: Shape) -> dict[str, Any]:
    """The keys that leave rows out."""
    values: list[tuple[str, Any]] = [
        ("user_id", ["u1", "u2", "u3", "u4", "NA", "007"]),
        ("item_id", [f"i{n}" for n in range(20)]),
    ]
    if "rating" in shape.extra:
        values += [("rating", "[3,inf)"), ("rating", "(1,4];[5,5]")]
    if "timestamp" in shape.extra:
        values += [("timestamp", "[1,inf)")]
    if "tag" in shape.extra:
        values += [("tag", ["red", "NA"])]
    found = {
        "rm_dup_inter": draw(_seldom(st.sampled_from(["first", "last"]), 4)),
        "user_inter_num_interval": draw(_seldom(st.sampled_from(INTERVALS), 4)),
        "item_inter_num_interval": draw(_seldom(st.sampled_from(INTERVALS), 4)),
        "filter_inter_by_user_or_item": draw(_seldom(st.just(False), 12)),
        "val_interval": draw(_seldom(st.sampled_from(values).map(lambda pair: dict([pair])), 4)),
    }
    return {key: value for key, value in found.items() if value is not None}


@st.composite
def columns(draw: Any, shape: Shape, needed: set[str]) -> dict[str, Any]:
    """Which columns are loaded: all, some by name, or all but one; seldom without one that is needed."""
    way = draw(st.sampled_from(["default", "all", "named", "all but one"]))
    others = sorted(set(shape.extra) - needed)
    if way == "default":
        return {}
    if way == "all" or (way == "all but one" and not others):
        return {"load_col": None}
    if way == "all but one":
        return {"load_col": None, "unload_col": {"inter": [draw(st.sampled_from(others))]}}
    if draw(st.sampled_from([False] * 9 + [True])):
        needed = needed - {"timestamp"}
    named = {"user_id", "item_id", *needed & set(shape.extra)}
    if draw(st.sampled_from([False] * 19 + [True])):
        named.add("colour")
    kinds = [("item", shape.item_file), ("user", shape.user_file)]
    files_too = {kind: [f"{kind}_id"] for kind, there in kinds if there and draw(st.booleans())}
    return {"load_col": {"inter": sorted(named), **files_too}}


@st.composite
def implicit(draw: Any, shape: Shape) -> dict[str, Any]:
    """Seldom, a key that has no effect on rankings."""
    return {"threshold": {"rating": 3}} if "rating" in shape.extra and draw(_seldom(st.just(True), 20)) else {}
