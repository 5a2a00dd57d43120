"""A checkpoint's data set and RecBole's model, made again, with the proof that it is the data set of the training.

``multvae-export`` finds :func:`rebuild` through the entry point ``multvae_export.datasets``.
"""

from recbole_multvae.rebuild.rebuilt import Rebuilt, rebuild

__all__ = ["Rebuilt", "rebuild"]
