"""``--posterior``: z = mu + sigma * noise (Liang et al., WWW 2018, equation 6), with the noise of the caller.

Zeros give the ranking of a file without the option to the last bit. Standard normal numbers give a sample of the posterior,
smaller ones a gentler exploration. A row of noise that is not finite gets NaN for all scores, and thus no items.

``B`` histories, ``K`` units of z.
"""

from __future__ import annotations

import numpy as np

from multvae_export.nodes.nodes import Nodes
from multvae_export.target import Target


def sample(mean: str, log_variance: str) -> Nodes:
    """The nodes from the mean and the logarithm of the variance, [B, K] each, to ``sample``."""
    return Nodes(f"""
    half_log_variance = Mul({log_variance}, half)
    deviation = Exp(half_log_variance)
    scaled_noise = Mul(deviation, noise)
    sample = Add({mean}, scaled_noise)
""")


def noise_without(units: int) -> Nodes:
    """The nodes to ``without_noise`` [B * L, K]: the noise of a history for the history without each of its items."""
    text = """
    noise_row = Unsqueeze(noise, axis1)
    noise_shape = Concat <axis: int = 0> (batch_shape, length_shape, latent_units)
    noise_rows = Expand(noise_row, noise_shape)
    without_noise = Reshape(noise_rows, noise_rows_shape)
"""
    return Nodes(text, {"latent_units": np.array([units]), "noise_rows_shape": np.array([-1, units])})


def guarded(nodes: Nodes, target: Target, output: str) -> Nodes:
    """Nodes that give scores [B, C] as ``output``. Rows whose noise is not finite then get -inf, in the form dense NaN.

    0 times such a number is NaN. Layers that round their input would lose the NaN. NaN scores are never ranked.
    """
    flaw = """
    noise_times_zero = Mul(noise, zero_float)
    noise_flaw = ReduceSum <keepdims: int = 1> (noise_times_zero, axis1)
    is_flawed = IsNaN(noise_flaw)
"""
    nodes = nodes.renamed("", {output: "sampled_scores"}) + flaw
    if target.dense:
        return nodes + f"    {output} = Where(is_flawed, noise_flaw, sampled_scores)\n"
    return nodes + Nodes(f"""
    is_nan = IsNaN(sampled_scores)
    is_unranked = Or(is_flawed, is_nan)
    {output} = Where(is_unranked, minus_infinity, sampled_scores)
""")
