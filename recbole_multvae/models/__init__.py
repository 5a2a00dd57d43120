"""The family: one file a model."""

from recbole_multvae.models.base import ClickAutoEncoder
from recbole_multvae.models.multdae import MultDAE
from recbole_multvae.models.multvae import MultVAE

#: Every model that is registered with RecBole.
FAMILY: tuple[type[ClickAutoEncoder], ...] = (MultVAE, MultDAE)

__all__ = ["FAMILY", "ClickAutoEncoder", "MultDAE", "MultVAE"]
