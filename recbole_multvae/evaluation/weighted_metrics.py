"""Metrics in which each found item counts by its inverse propensity, for ``metrics: [...]`` of any model.

With ``S_u`` the relevant items of user u in the test, ``w_ui`` the inverse propensity of a click (:mod:`.propensities`) and
``Z_ui`` the place of item i in the user's list:

* ``IPS...`` estimates a value over all items that users like, seen or not, where the propensities are probabilities: the
  mean over users of ``sum_{i in S_u} w_ui c(Z_ui)``. It may be above 1.
* ``SNIPS...`` divides by the weights themselves: ``sum_{i in S_u} w_ui c(Z_ui) / sum_{i in S_u} w_ui`` (Yang et al., RecSys
  2018, equation of the self-normalised estimator; Saito et al., WSDM 2020). The scale of the propensities does not matter,
  so that popularity will do.

``U`` users, ``k`` positions of the longest list.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from recbole.evaluator.base_metric import TopkMetric

from recbole_multvae.evaluation.collector import WEIGHTS


class _WeightedMetric(TopkMetric):
    """A metric of the weights of the hits."""

    metric_need: ClassVar[list[str]] = ["rec.items", "rec.topk", WEIGHTS]

    def used_info(self, dataobject: Any) -> tuple[np.ndarray, np.ndarray]:
        """The weights of the hits, 0 at other positions, float64 [U, k], and the sums over the relevant items, [U]."""
        weights = dataobject.get(WEIGHTS).numpy()
        return weights[:, :-1], weights[:, -1]

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """The values at each k of ``topk``, by names such as ``snipsrecall@20``."""
        return self.topk_result(type(self).__name__.lower(), self.metric_info(*self.used_info(dataobject)))


class IPSPrecision(_WeightedMetric):
    """An estimate of the precision: c(Z) = 1/k for Z up to k."""

    def metric_info(self, hits: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """The value of every user at 1, 2, ..., float64 [U, k]; see :meth:`used_info`."""
        return hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)


class IPSDCG(_WeightedMetric):
    """An estimate of the DCG: c(Z) = 1/log2(Z + 1) for Z up to k."""

    def metric_info(self, hits: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """The value of every user at 1, 2, ..., float64 [U, k]; see :meth:`used_info`."""
        return (hits / np.log2(np.arange(hits.shape[1]) + 2)).cumsum(axis=1)


class SNIPSRecall(_WeightedMetric):
    """An estimate of the recall: c(Z) = 1 for Z up to k, self-normalised."""

    def metric_info(self, hits: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """The value of every user at 1, 2, ..., float64 [U, k]; see :meth:`used_info`."""
        return hits.cumsum(axis=1) / sums[:, None]


class SNIPSDCG(IPSDCG):
    """The mean of 1/log2(Z + 1) over what the user likes, 0 for Z above k: self-normalised."""

    def metric_info(self, hits: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """The value of every user at 1, 2, ..., float64 [U, k]; see :meth:`used_info`."""
        return super().metric_info(hits, sums) / sums[:, None]


WEIGHTED_METRICS = (IPSPrecision, IPSDCG, SNIPSRecall, SNIPSDCG)
