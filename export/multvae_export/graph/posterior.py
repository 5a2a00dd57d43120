"""``--posterior``: z = mu + sigma * noise (Liang et al., WWW 2018, equation 6), with the noise of the caller.

Zeros give the ranking of a file without the option to the last bit. Standard normal numbers are a sample of the posterior,
smaller ones a gentler exploration. A row with noise that is not finite has NaN for all scores, and thus no items.

``B`` histories, ``K`` units of z.
"""

from __future__ import annotations

from string import Template
from typing import Any

import numpy as np

#: The mean and the logarithm of the variance, [B, K] each, to a sample.
SAMPLE = Template("""
    half_log_variance = Mul($log_variance, half)
    deviation = Exp(half_log_variance)
    moved = Mul(deviation, noise)
    sample = Add($mean, moved)
""")
#: Whether a row of noise is finite: 0 times what is not is NaN. Layers that round their input would lose it on the way.
FINITE = """
    no_noise = Mul(noise, nought)
    flaws = ReduceSum <keepdims: int = 1> (no_noise, axis1)
    is_flawed = IsNaN(flaws)
"""
#: What is not a number is not recommended.
RANKED = Template("""
    is_nan = IsNaN($scores)
    is_nothing = Or(is_flawed, is_nan)
    $output = Where(is_nothing, lowest, $scores)
""")
DENSE = Template("""
    $output = Where(is_flawed, flaws, $scores)
""")


def guarded(scores: str, output: str, ranks: bool) -> str:
    """The nodes from scores [B, C] to those that are returned or, of a file that ranks, ranked."""
    return FINITE + (RANKED if ranks else DENSE).substitute(scores=scores, output=output)


def constants(units: int) -> dict[str, Any]:
    """What the nodes of the options name of the noise, for a z of so many units."""
    return {
        "half": np.float32(0.5),
        "axis1": np.array([1]),
        "first_unit": np.array([0]),
        "latent_units": np.array([units]),
        "noise_flat": np.array([-1, units]),
    }
