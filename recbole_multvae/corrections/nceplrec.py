"""RecBole's ``NCEPLRec``, a closed form, which is computed once.

RecBole 1.2.1 does not mark it as one (recbole/model/general_recommender/nceplrec.py:26): it goes through at least
eleven epochs in which nothing changes, on ml-1m for more than ten minutes.
"""

from __future__ import annotations

from recbole.model.general_recommender.nceplrec import NCEPLRec
from recbole.utils import ModelType

OWNER, REPLACED = NCEPLRec, {"type": ModelType.TRADITIONAL}
