"""Training and validation as one training part, for the training that follows the choice of the number of updates.

The test stays as it is. Its users are scored from the clicks of training and validation together, none of which is
recommended to them. With RecBole's own splits this follows from the clicks of the training part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole.data.interaction import cat_interactions

from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.data.protocols.base import mask


def merge(parts: Sequence[Any]) -> list[Any]:
    """Training and validation as one part, an empty validation, and the same test.

    Args:
        parts: RecBole's data sets for training, validation and test; they are not changed.

    Returns:
        The three data sets. Held-out users of the validation are users of the training with all of their clicks.
    """
    train, valid, test = parts
    held_out = getattr(valid, "whole", valid)
    merged = train.copy(cat_interactions([train.inter_feat, held_out.inter_feat]))
    test = test.copy(test.inter_feat)
    if hasattr(test, "masked") and not hasattr(test, "fold_in"):
        mask(test, distinct_clicks(merged))
    return [merged, train.copy(train.inter_feat[:0]), test]
