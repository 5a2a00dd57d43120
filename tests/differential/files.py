"""The bytes of a made data set, from its shape alone: the same shape gives the same bytes."""

from __future__ import annotations

import random
from dataclasses import dataclass

Row = dict[str, str]

TYPES = {
    "user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float", "tag": "token", "user_group": "token",
    "item_group": "token", "group": "token", "words": "token_seq", "label": "float",
    "item_id_list": "token_seq",
}  # fmt: skip
FORMS = ["{:_}", "+{}", "{}.0", "{:e}", "{}.123456789012345678", "0{}", " {}"]
PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Shape:
    """Every field but the first four is an oddity; the first of its values in :mod:`.made` is the ordinary one."""

    users: int
    items: int
    rows: int
    seed: int
    separator: str = "\t"
    encoding: str = "utf-8"
    line_end: str = "\n"
    ends_with_line_end: bool = True
    blank_lines: int = 0
    extra: tuple[str, ...] = ()
    user_tokens: tuple[str, ...] = ()
    item_tokens: tuple[str, ...] = ()
    duplicates: int = 0
    quoting: str = "no"
    times: str = "days"
    missing_ratings: int = 0
    item_file: str = ""
    user_file: str = ""
    defect: str = ""
    benchmark: bool = False

    def __repr__(self) -> str:
        oddities = {name: value for name, value in vars(self).items() if value != Shape.__dict__.get(name)}
        return f"Shape({', '.join(f'{name}={value!r}' for name, value in oddities.items())})"


def files(shape: Shape) -> dict[str, bytes]:
    """The files of a data set, by what follows its name."""
    draw = random.Random(shape.seed)
    names = ["user_id", "item_id", *shape.extra]
    names += ["item_id_list"] if shape.defect == "history lists" else []
    draw.shuffle(names)
    rows = _rows(shape, draw)
    made = {}
    if shape.benchmark:
        cuts = [0, len(rows) * 7 // 10, len(rows) * 17 // 20, len(rows)]
        for part, start, end in zip(PARTS, cuts, cuts[1:], strict=False):
            made[f".{part}.inter"] = _content(shape, names, rows[start:end], draw, part == "valid" and shape.defect)
    else:
        made[".inter"] = _content(shape, names, rows, draw, shape.defect)
    twice = shape.defect == "column in two files"
    for kind, how in (("item", shape.item_file or "all" * twice), ("user", shape.user_file or "all" * twice)):
        if how:
            defect = "empty token" if shape.defect == f"empty {kind} in its file" else ""
            column = f"{kind}_group" if not twice else "tag" if "tag" in names else "group"
            features = _features(kind, column, how, rows, draw)
            made[f".{kind}"] = _content(shape, [f"{kind}_id", column], features, draw, defect)
    return made


def _rows(shape: Shape, draw: random.Random) -> list[Row]:
    users = _vocabulary("u", shape.users, shape.user_tokens, shape, draw)
    items = _vocabulary("i", shape.items, shape.item_tokens, shape, draw)
    starts = {user: draw.randint(788_918_400, 1_427_760_000) for user in users}
    rows: list[Row] = []
    owned: dict[str, set[str]] = {user: set() for user in users}
    for _ in range(9 * shape.rows):
        if len(rows) == shape.rows:
            break
        if rows and draw.randrange(100) < shape.duplicates:
            pair = {name: value for name, value in draw.choice(rows).items() if name.endswith("_id")}
        else:
            pair = {"user_id": _skewed(users, 1.5, draw), "item_id": _skewed(items, 2, draw)}
        owned[pair["user_id"]].add(pair["item_id"])
        if len(owned[pair["user_id"]]) > shape.items - 2:  # RecBole cannot sample for who has everything.
            owned[pair["user_id"]].remove(pair["item_id"])
            continue
        starts[pair["user_id"]] += draw.randint(5, 20)
        rows.append(pair | _values(shape, starts[pair["user_id"]], draw))
    return rows


def _skewed(tokens: list[str], exponent: float, draw: random.Random) -> str:
    return tokens[int(len(tokens) * draw.random() ** exponent)]


def _vocabulary(letter: str, size: int, odd: tuple[str, ...], shape: Shape, draw: random.Random) -> list[str]:
    kept = [token for token in odd if _writable(token, shape)]
    tokens = [f"{letter}{n}" for n in range(size - len(kept))] + kept
    draw.shuffle(tokens)
    return tokens


def _writable(token: str, shape: Shape) -> bool:
    """Whether a token can be written: in the encoding, and without the separator where it is not quoted."""
    try:
        token.encode(shape.encoding)
    except UnicodeEncodeError:
        return False
    return shape.quoting == "all" or shape.separator not in token


def _values(shape: Shape, second: int, draw: random.Random) -> Row:
    rating = str(draw.choice([1, 2, 3, 4, 5, 3.5]))
    if draw.randrange(20) < shape.missing_ratings:
        rating = draw.choice(["", "NaN", "nan"])
    return {
        "rating": rating,
        "timestamp": _time(shape.times, second, draw),
        "label": str(draw.choice([0, 1])) if shape.defect == "labels of 0" else "1",
        "item_id_list": "i1",
        "tag": draw.choice(["red", "blue", "NA", ""]),
        "words": draw.choice(["one", "one two", "null", ""]) if shape.separator != " " else draw.choice(["one", ""]),
    }


def _time(how: str, second: int, draw: random.Random) -> str:
    odd = {
        "days": str(86400 * draw.randrange(100)),
        "ties": str(draw.randrange(4)),
        "floats": f"{draw.random() * 1e9:.3f}",
        "milliseconds": str(1_600_000_000_000 + draw.randrange(1_000_000)),
        "zero": "0" if draw.randrange(40) == 0 else str(second),
        "negative": str(draw.randrange(-9, 9)),
        "nanoseconds": str(1_600_000_000_000_000_000 + second),
        "missing": draw.choice(["", "NaN"]) if draw.randrange(30) == 0 else str(second),
        "forms": draw.choice(FORMS).format(second),
    }
    return odd.get(how, str(second))


def _features(kind: str, column: str, how: str, rows: list[Row], draw: random.Random) -> list[Row]:
    tokens = list(dict.fromkeys(row[f"{kind}_id"] for row in rows))
    draw.shuffle(tokens)
    tokens = {
        "all": tokens,
        "cold": [*tokens, f"{kind}-cold-1", f"{kind}-cold-2"],
        "few": tokens[: max(1, len(tokens) * 4 // 5)],
        "twice": [*tokens, *tokens[:3]],
    }[how]
    return [{f"{kind}_id": token, column: draw.choice(["red", "NA"])} for token in tokens]


def _content(shape: Shape, names: list[str], rows: list[Row], draw: random.Random, defect: str | bool) -> bytes:
    header = [f"{name}:{TYPES[name]}" for name in names]
    table = [[_quoted(row[name], name, shape, draw) for name in names] for row in rows]
    _spoil(defect, header, names, table, draw, shape.separator)
    lines = [shape.separator.join(fields) for fields in [header, *table]]
    if defect == "empty file":
        lines = []
    for _ in range(shape.blank_lines * bool(lines)):
        lines.insert(draw.randint(1, len(lines)), draw.choice(["", "  "]) if shape.separator != " " else "")
    text = shape.line_end.join(lines) + shape.line_end * (shape.ends_with_line_end and bool(lines))
    content = text.encode(shape.encoding)
    if defect == "byte order mark" and shape.encoding == "utf-8":
        return "\ufeff".encode() + content
    if defect == "wrong bytes" and shape.encoding == "utf-8":
        return content.rstrip(b"\r\n") + b"\xff" + shape.line_end.encode()
    return content


def _quoted(text: str, name: str, shape: Shape, draw: random.Random) -> str:
    if shape.quoting == "all" or (shape.quoting in ("some", "mixed") and draw.randrange(3) == 0):
        return '"' + text.replace('"', '""') + '"'
    if not name.endswith("_id") or draw.randrange(30):
        return text
    start, end = f'"{text}', f'{text}"'
    odd = {"start": start, "mixed": start, "middle": end + text, "pair": draw.choice([start, end])}
    return odd.get(shape.quoting, text)


def _spoil(
    defect: str | bool, header: list[str], names: list[str], table: list[list[str]], draw: random.Random, separator: str
) -> None:
    """Make a mistake that must end in a sentence."""
    row = draw.choice(table)
    cells = {
        "empty user": ("user_id", ""), "empty item": ("item_id", ""), "empty token": (names[0], ""),
        "pad user": ("user_id", "[PAD]"), "pad item": ("item_id", "[PAD]"),
        "too many fields": ("item_id", f"i1{separator}i2"), "carriage return": ("item_id", "i\r1"),
        "NUL": ("user_id", "u\0"), "bad number": ("timestamp", "12:30"),
    }  # fmt: skip
    name, value = cells.get(str(defect), ("", ""))
    if name in names:
        row[names.index(name)] = value
    if defect == "too few fields":
        row.pop()
    if defect == "bad type":
        header[-1] = f"{names[-1]}:text"
    if defect == "column twice":
        header[-1] = header[0]
    if defect == "no user column":
        header[names.index("user_id")] = "person:token"
    if defect == "no rows":
        table.clear()
