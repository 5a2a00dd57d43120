"""Mult-VAE and its family as RecBole recommenders. Importing this package registers them:

>>> import recbole_multvae
>>> from recbole.utils import get_model
>>> get_model("MultVAE")
<class 'recbole_multvae.models.multvae.MultVAE'>
"""

from recbole_multvae.recbole_version import check_recbole

check_recbole()  # Before anything that another RecBole may not have.

from recbole_multvae.models import MultDAE, MultVAE  # noqa: E402
from recbole_multvae.registration import register  # noqa: E402

__version__ = "0.1.0"
__all__ = ["MultDAE", "MultVAE", "register"]

register()
