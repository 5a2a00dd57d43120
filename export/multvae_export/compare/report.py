"""The report of a comparison: its tables, as text, as JSON and as one page of HTML that loads no other file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from html import escape
from string import Template
from typing import NamedTuple

from multvae_export.compare.clicks import BY_ROW, BY_TIME
from multvae_export.compare.comparison import Comparison, Side, Some
from multvae_export.compare.measure import Paired
from multvae_export.compare.model_file import IDENTITY

#: So many digits of a digest are shown, and so many characters of a note in a line of the text.
SHORT, WIDTH = 12, 100


class Table(NamedTuple):
    """A table with a title, a heading for each column, and a note below it."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str


def tables(result: Comparison) -> Iterator[Table]:
    """The tables of the report."""
    yield _ranking(result)
    yield _overlap(result)
    yield _files(result.old, result.new)
    yield Table("Items", ("", "items", "examples"), [
        ("kept", f"{result.kept:,}", ""), _items("added", result.added), _items("removed", result.removed),
    ], "Items are RecBole's ids." if result.ids else "")  # fmt: skip
    yield _movers(result)


def _ranking(result: Comparison) -> Table:
    metrics = {f"NDCG@{result.k}": result.ndcg, f"Recall@{result.k}": result.recall}
    rows = [_paired(name, metric) for name, metric in metrics.items() if metric]
    header = ("", "old", "new", "change", "95 % interval")
    return Table("Accuracy", header, rows, _relevant(result))


def _paired(name: str, metric: Paired) -> tuple[str, ...]:
    interval = "" if metric.low is None or metric.high is None else f"{metric.low:+.4f} to {metric.high:+.4f}"
    return name, f"{metric.old:.4f}", f"{metric.new:.4f}", f"{metric.difference:+.4f}", interval


def _relevant(result: Comparison) -> str:
    """Which items were to be found, and which were left out."""
    relevant = result.relevant
    how = {
        BY_TIME: "The later fifth of each user's items, by timestamp, is to be found from the earlier ones.",
        BY_ROW: "The later fifth of each user's items, in the order of the file, is to be found from the earlier ones.",
    }.get(relevant.order, "The items of the targets are to be found from the histories.")
    notes = [f"{how} Users with an item to find: {relevant.users:,}; items to find: {relevant.items:,}."]
    for count, text in (
        (relevant.only_old, "Of these, known to the old file only, which counts against the new one: {}."),
        (relevant.only_new, "Of these, known to the new file only, which counts against the old one: {}."),
        (relevant.left_out, "Left out, as neither file knows them: {}."),
        (relevant.repeated, "Targets left out, as they are in the user's history, which is never recommended: {}."),
        (relevant.new_users, "Users of the targets left out, as they have no history: {}."),
    ):
        notes += [text.format(f"{count:,}")] if count else []
    return " ".join(notes)


def _overlap(result: Comparison) -> Table:
    k, overlap = result.k, result.overlap
    rows = [("mean", f"{overlap.mean:.4f}"), ("a tenth of the histories has at most", f"{overlap.lowest_tenth:.4f}")]
    note = f"|A and B| / {k} for the two lists of a history; where fewer items remain, over the longer list."
    return Table(f"Overlap of the top {k}", ("", "overlap"), rows, note)


def _files(old: Side, new: Side) -> Table:
    names = [name for name in IDENTITY if name in old.identity or name in new.identity]
    rows = [(name.replace("_", " "), _entry(old, name), _entry(new, name)) for name in names]
    rows += [
        ("items", f"{old.items:,}", f"{new.items:,}"),
        ("clicks on unknown items", _share(old.unknown_clicks), _share(new.unknown_clicks)),
        ("catalogue coverage", _share(old.coverage), _share(new.coverage)),
    ]
    return Table("Files", ("", "old", "new"), rows, "")


def _entry(side: Side, name: str) -> str:
    value = side.identity.get(name, "\N{EN DASH}")
    if name == "options" and name in side.identity:
        return ", ".join(json.loads(value))
    return value[:SHORT] if name.endswith("sha256") else value


def _movers(result: Comparison) -> Table:
    rows = [(each.item, _share(each.old), _share(each.new), f"{100 * (each.new - each.old):+.2f}") for each in result.movers]
    note = f"The share of the histories whose top {result.k} has the item, and the change in percentage points."
    return Table("Largest movers", ("item", "old", "new", "change"), rows, note if rows else "No item's share changed.")


def _items(name: str, some: Some) -> tuple[str, ...]:
    return name, f"{some.count:,}", ", ".join(some.examples)


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def title(result: Comparison) -> str:
    """The title of the report."""
    return f"{result.old.file} and {result.new.file}: {result.histories:,} histories, top {result.k}"


def as_text(result: Comparison) -> str:
    """The tables, one below the other."""
    parts = [title(result)]
    for table in tables(result):
        rows = _columns([table.header, *table.rows]) if table.rows else []
        parts.append("\n".join([table.title, *rows, *textwrap.wrap(table.note, WIDTH)]))
    return "\n\n".join(parts)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows as lines whose columns begin at the same place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def as_json(result: Comparison, failed: Sequence[str]) -> str:
    """The comparison, and the sentences of the gates that failed."""
    return json.dumps({**asdict(result), "failed": list(failed)}, indent=1, ensure_ascii=False) + "\n"


def as_html(result: Comparison, failed: Sequence[str]) -> str:
    """The page."""
    verdict = "".join(f'<p class="failed">{escape(sentence)}</p>' for sentence in failed)
    return PAGE.substitute(title=escape(title(result)), verdict=verdict, tables="".join(map(_section, tables(result))))


def _section(table: Table) -> str:
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for first, *cells in table.rows
    )
    body = f'<div class="scroll"><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"<section><h2>{escape(table.title)}</h2>{body if rows else ''}<p>{escape(table.note)}</p></section>\n"


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1a202c; --soft: #5b6577; --line: #d0d5dd; --failed: #b42318; --paper: #fff;
        --shade: #f5f7fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3adbd; --line: #343d4f; --failed: #ff9b8e;
        --paper: #11151c; --shade: #1b212c; } }
body { margin: 0 auto; max-width: 56rem; padding: 1rem; background: var(--paper); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.4rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
p { margin: .25rem 0; } section p { color: var(--soft); } .failed { color: var(--failed); font-weight: 600; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .55rem; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--line);
         max-width: 16rem; overflow-wrap: break-word; }
tbody tr:last-child > * { border-bottom: 0; } thead th { background: var(--shade); } tbody th { font-weight: 600; }
@media (max-width: 30rem) { table { font-size: .9em; } th, td { padding: .3rem .35rem; } }
</style>
</head>
<body>
<h1>$title</h1>
$verdict
$tables</body>
</html>
""")
