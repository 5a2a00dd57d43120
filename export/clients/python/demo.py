"""Recommend films by title to a user of a RecBole data set, with only an exported model.

python demo.py MODEL.onnx FOLDER --user 1

FOLDER holds the data set's atomic files: NAME.inter with the columns user_id, item_id and rating, NAME.item with titles.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from recommend import because, load_model, recommend

QUOTED = re.compile(r'"(?:[^"]|"")*"')
VALUE = re.compile(rf"(?:{QUOTED.pattern}|[^\t]*)(?=\t|\Z)")


def read(folder: str, suffix: str, *wanted: str) -> list[dict[str, str]]:
    """The rows of the folder's atomic file, by column name without its type.

    Each line is a row; it ends with a line feed, or a carriage return and a line feed.

    Raises:
        ValueError: there is no such file, it lacks a wanted column, or a line has another number of values.
    """
    path = next(Path(folder).glob(f"*.{suffix}"), None)
    if path is None:
        raise ValueError(f"{folder} has no .{suffix} file: expected the folder of a data set of RecBole.")
    text = path.read_bytes().decode("utf-8-sig")
    header, *lines = text.replace("\r\n", "\n").split("\n") if "\n" in text else text.split("\r")
    columns = [column.split(":")[0] for column in header.split("\t")]
    for column in wanted:
        if column not in columns:
            raise ValueError(f"{path} has no column {column}: it has {', '.join(columns)}.")
    rows = []
    for number, line in enumerate(lines, 2):
        if line.strip(" "):
            values = fields(line, len(columns))
            if len(values) != len(columns) or "\r" in line or "\0" in line:
                raise ValueError(f"line {number} of {path} is no row of {len(columns)} values: correct the line.")
            rows.append(dict(zip(columns, values, strict=True)))
    return rows


def fields(line: str, width: int) -> list[str]:
    """The values of a line, without the quotes around them.

    A value in quotes may hold a tab, if the line has ``width`` values when read so; else every tab separates.
    """
    values, place = [], 0
    while place <= len(line) and (value := VALUE.match(line, place)):
        values.append(value[0])
        place = value.end() + 1
    if len(values) != width:
        values = line.split("\t")
    return [value[1:-1].replace('""', '"') if QUOTED.fullmatch(value) else value for value in values]


def show(model: str, folder: str, user: str, k: int) -> None:
    """Print films that the user rated 4 or better, and the k films that the model recommends."""
    titles = {row["item_id"]: row["movie_title"] for row in read(folder, "item", "item_id", "movie_title")}
    ratings = read(folder, "inter", "user_id", "item_id", "rating")
    liked = [row["item_id"] for row in ratings if row["user_id"] == user and float(row["rating"]) >= 4]
    if not liked:
        raise ValueError(f"user {user} rated nothing 4 or better in {folder}: name another user.")
    items, scores, reasons = recommend(load_model(model), [liked], k)
    print(f"\nUser {user} of {Path(folder).name} liked {len(liked)} films, among them")
    for item in liked[:k]:
        print(f"       {titles.get(item, item)}")
    print(f"\n{model} recommends")
    for rank, (item, score) in enumerate(zip(items[0], scores[0], strict=True)):
        if not item:  # No more remain.
            break
        reason = because(liked, reasons[0][rank]) if reasons is not None else None
        cause = f"  because of {titles.get(reason, reason)}" if reason else ""
        print(f"  {rank + 1:>3}  {titles.get(item, item):<60} {score:7.3f}{cause}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--user", required=True)
    parser.add_argument("-k", type=int, default=10)
    args = parser.parse_args()
    try:
        show(args.model, args.folder, args.user, args.k)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
