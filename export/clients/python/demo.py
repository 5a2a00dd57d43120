"""What someone of a RecBole data set liked and should see next, by title, from an exported model alone.

python demo.py MODEL.onnx FOLDER --user 1

FOLDER holds the data set's atomic files: NAME.inter with the columns user_id, item_id and rating, NAME.item with titles.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from recommend import because, load_model, recommend


def read(folder: str, suffix: str) -> list[dict[str, str]]:
    """The rows of an atomic file, by column name without its type."""
    path = next(Path(folder).glob(f"*.{suffix}"), None)
    if path is None:
        raise ValueError(f"{folder} has no .{suffix} file: expected the folder of a data set of RecBole.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        columns = [column.split(":")[0] for column in next(rows)]
        return [dict(zip(columns, row, strict=True)) for row in rows]


def show(model: str, folder: str, user: str, k: int) -> None:
    """Print the films a user rated 4 or better, and the k that the model recommends."""
    titles = {row["item_id"]: row["movie_title"] for row in read(folder, "item")}
    liked = [row["item_id"] for row in read(folder, "inter") if row["user_id"] == user and float(row["rating"]) >= 4]
    if not liked:
        raise ValueError(f"user {user} rated nothing 4 or better in {folder}: expected another user.")
    items, scores, reasons = recommend(load_model(model), [liked], k)
    print(f"\nUser {user} of {Path(folder).name} liked {len(liked)} films, among them")
    for item in liked[:k]:
        print(f"       {titles[item]}")
    print(f"\n{model} recommends")
    for rank, (item, score) in enumerate(zip(items[0], scores[0], strict=True)):
        reason = because(liked, reasons[0][rank]) if reasons is not None else None
        print(f"  {rank + 1:>3}  {titles[item]:<60} {score:7.3f}" + (f"  because of {titles[reason]}" if reason else ""))


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
