"""Mult-VAE and its family as RecBole recommenders. Importing this package registers them:

>>> import recbole_multvae
>>> from recbole.utils import get_model
>>> get_model("MultVAE")
<class 'recbole_multvae.models.multvae.MultVAE'>
"""

from recbole_multvae.threads import wait_briefly

wait_briefly()  # Before anything that imports torch.

from recbole_multvae.compatibility import check_recbole, import_quick_start, restore_removed_names  # noqa: E402

check_recbole()  # Before anything that another RecBole may not have.
restore_removed_names()  # Before anything of RecBole that needs it.

from recbole_multvae.models import FAMILY  # noqa: E402
from recbole_multvae.registration import register  # noqa: E402

__version__ = "0.1.0"
globals().update({model.__name__: model for model in FAMILY})
__all__ = ["register", *(model.__name__ for model in FAMILY)]

register()
import_quick_start()
