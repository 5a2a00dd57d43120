"""How long the test takes one user at a time, as RecBole does it by default, and whether the lists are the same."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from recbole.evaluator import Collector
from recbole.trainer import Trainer

from recbole_multvae.data.loaders import BatchedFullSortEvalDataLoader

#: It is measured on so many users, or on as many as take so many seconds.
USERS, SECONDS = 200, 5.0


@torch.no_grad()
def one_by_one(trainer: Any, test_data: Any, rows: np.ndarray) -> dict[str, Any] | None:
    """Test some of the users one at a time, by RecBole's own collector.

    Args:
        trainer: RecBole's, with the model that was tested.
        test_data: the loader of the test.
        rows: what was collected of all users at once: hits by place and number of items to be found, int [users, k + 1].

    Returns:
        ``users`` that were tested, ``seconds`` that all would take, and the number of users with other hits, ``different``;
        None where the test was one user at a time.
    """
    if not len(rows) or not isinstance(test_data, BatchedFullSortEvalDataLoader):
        return None
    collector = Collector(trainer.config)
    chosen = np.unique(np.linspace(0, len(rows) - 1, USERS).astype(int))
    trainer.model.eval()
    started = time.perf_counter()
    for user in chosen:
        users, scores, *positives = Trainer._full_sort_batch_eval(trainer, test_data.collate_fn([int(user)]))
        collector.eval_batch_collect(scores, users, *positives)
        if (seconds := time.perf_counter() - started) > SECONDS:
            break
    theirs = collector.get_data_struct().get("rec.topk").numpy()
    different = int((theirs != rows[chosen[: len(theirs)]]).any(axis=1).sum())
    return {"users": len(theirs), "seconds": seconds / len(theirs) * len(rows), "different": different}
