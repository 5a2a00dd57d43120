"""How the weight beta of the KL term rises over the updates."""

from __future__ import annotations


def annealed_beta(step: int, cap: float, total_steps: int) -> float:
    """The weight of the KL term at an update (paper, section 2.2.2; dawenl/vae_cf, VAE_ML20M_WWW2018.ipynb at ad103c5).

    Args:
        step: updates made before this one, from 0.
        cap: the largest weight.
        total_steps: updates over which the weight would rise from 0 to 1; 0 means no annealing.
    """
    return min(cap, step / total_steps) if total_steps > 0 else cap
