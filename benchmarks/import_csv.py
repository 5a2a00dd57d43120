"""multvae-import on a made file of ML-20M's kind: half-star ratings and times in seconds, 10 million rows.

python benchmarks/import_csv.py [--rows 10000000] [--format csv] [--folder dataset/import]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from machine import describe

USERS, ITEMS = 138_000, 27_000
COMMAND = "import sys; from recbole_multvae.commands.import_data import main; sys.exit(main())"
#: Rows that are made at once.
BLOCK = 1_000_000


def rows(count: int, seed: int) -> pd.DataFrame:
    """Some ratings, sorted by user within themselves."""
    rng = np.random.default_rng(seed)
    users = np.sort(rng.integers(1, USERS + 1, count))
    items = np.minimum((ITEMS * rng.random(count) ** 3).astype(np.int64), ITEMS - 1) + 1
    ratings, times = rng.integers(1, 11, count) / 2, rng.integers(789_652_009, 1_427_784_002, count)
    return pd.DataFrame({"userId": users, "movieId": items, "rating": ratings, "timestamp": times})


def make(path: Path, count: int, kind: str) -> None:
    """Write the file, unless it is there. ``dates`` is CSV with ISO dates, ``quoted`` with every value in quotes."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [rows(min(BLOCK, count - start), start) for start in range(0, count, BLOCK)]
    if kind == "parquet":
        pd.concat(parts).to_parquet(path)
        return
    with path.open("w", encoding="utf-8") as file:
        for number, part in enumerate(parts):
            if kind == "dates":
                part["timestamp"] = pd.to_datetime(part["timestamp"], unit="s").astype(str)
            if kind == "jsonl":
                part.to_json(file, orient="records", lines=True)
            else:
                part.to_csv(file, index=False, header=number == 0, quoting=int(kind == "quoted"))


def main() -> None:
    """Print a row of a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--format", choices=("csv", "quoted", "dates", "jsonl", "parquet"), default="csv")
    parser.add_argument("--folder", type=Path, default=Path("dataset/import"), help="where the made file is kept")
    args = parser.parse_args()
    ending = args.format if args.format in ("jsonl", "parquet") else "csv"
    path = args.folder / f"{args.format}-{args.rows}.{ending}"
    make(path, args.rows, args.format)
    target = f"--dataset-path={args.folder}"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", COMMAND, path, "made", target, "--overwrite"], check=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"\n{describe()}\n\n| format | rows | MB | seconds | peak GiB | rows a second |\n|---|---|---|---|---|---|")
    size = path.stat().st_size / 1e6
    print(f"| {args.format} | {args.rows:,} | {size:.0f} | {seconds:.1f} | {peak:.2f} | {args.rows / seconds:,.0f} |")


if __name__ == "__main__":
    main()
