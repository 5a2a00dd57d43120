"""Draws the results of growth.py, which runs this with the Python of the other libraries, where matplotlib is.

python benchmarks/growth_plot.py growth.json growth.svg
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from figures import save
from matplotlib.ticker import LogLocator, NullLocator

STYLES = {"MultVAE": "o-", "MultiVAE (RecBole)": "s--"}


def main() -> None:
    """One panel for each quantity: over the users in the upper row, over the items in the lower row."""
    results = {tuple(map(int, size.split())): by_name for size, by_name in json.loads(Path(sys.argv[1]).read_text()).items()}
    smallest = min(results)
    quantities = list(results[smallest]["MultVAE"])
    figure, panels = plt.subplots(2, len(quantities), figsize=(12, 5.5), sharey="col", layout="constrained")
    for row, (axis, other) in enumerate((("users", "items"), ("items", "users"))):
        sizes = sorted(size for size in results if size[1 - row] == smallest[1 - row])
        for panel, quantity in zip(panels[row], quantities, strict=True):
            for name, style in STYLES.items():
                medians = [statistics.median(results[size][name][quantity]) for size in sizes]
                panel.loglog([size[row] for size in sizes], medians, style, label=name)
            panel.set(xlabel=axis, xticks=[size[row] for size in sizes], ylabel=quantity)
            panel.set_xticklabels([f"{size[row]:,}" for size in sizes])
            panel.xaxis.set_minor_locator(NullLocator())
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_minor_locator(NullLocator())
            panel.yaxis.set_major_formatter("{x:,g}")
            panel.grid(alpha=0.3)
        panels[row][0].set_title(f"{smallest[1 - row]:,} {other}", loc="left")
    panels[0][0].legend()
    save(figure, sys.argv[2])


if __name__ == "__main__":
    main()
