"""The figure of the choice of beta: validation and beta over the updates (Liang et al., WWW 2018, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from recbole_multvae.files import atomic_write

#: The styles of the first and of the second run. Where the two are the same, dashes of the first lie on the second's line.
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "tab:green", "linestyle": "--", "zorder": 3},
    {"color": "tab:red", "linestyle": "-"},
)


def draw(file: str, metric: str, runs: Sequence[Sequence[Any]]) -> None:
    """Draw one run or two into a PNG file.

    Args:
        file: its path; an older figure is replaced once the new one is complete.
        metric: the name of the validation metric.
        runs: the validations of each run (:class:`.choice_of_beta.Evaluation`), in the order of updates.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    scores = figure.add_subplot(xlabel="updates", ylabel=f"validation {metric}")
    betas = scores.twinx()
    betas.set(ylabel="beta (dotted)", ylim=(0, 1.05))
    for evaluations, style in zip(runs, _STYLES, strict=False):
        updates, validation, beta = zip(*evaluations, strict=True)
        scores.plot(updates, validation, **style, label=f"beta up to {beta[-1]:.3g}")
        betas.plot(updates, beta, **{**style, "linestyle": ":"})
    scores.legend(loc="lower right")
    scores.grid(alpha=0.3)
    with atomic_write(file) as part:
        figure.savefig(part, format="png", dpi=150)
