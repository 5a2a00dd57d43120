"""Draws the results of time_to_accuracy.py: validation over the seconds since the start of the process."""

from __future__ import annotations

from typing import Any

from figures import save
from matplotlib.figure import Figure


def draw(runs: list[dict[str, Any]], metric: str, file: str) -> None:
    """One line for each run, one colour for each contestant, and a point where validation was best."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="seconds since the start of the process", ylabel=f"validation {metric}")
    names = list(dict.fromkeys(run["name"] for run in runs))
    for run in runs:
        seconds, scores = zip(*((point["seconds"], point["score"]) for point in run["validations"]), strict=True)
        best = scores.index((max if run["bigger"] else min)(scores))
        colour = f"C{names.index(run['name'])}"
        first = next(other for other in runs if other["name"] == run["name"]) is run
        axes.plot(seconds, scores, color=colour, linewidth=1, label=run["name"] if first else None)
        axes.plot(seconds[best], scores[best], "o", color=colour, markersize=4)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    save(figure, file)
