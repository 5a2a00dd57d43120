"""SVG files that are the same for the same figures: no date, no random names, and text that stays text."""

from __future__ import annotations

from typing import Any

import matplotlib

matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "recbole-multvae", "font.size": 9})


def save(figure: Any, file: str) -> None:
    """Write a figure as the ending of the file says: SVG, PNG."""
    figure.savefig(file, metadata={"Date": None} if file.endswith("svg") else None)
