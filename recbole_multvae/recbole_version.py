"""Which RecBole this package works with."""

from __future__ import annotations

import recbole

from recbole_multvae.errors import UnsupportedVersionError

RECBOLE_VERSION = "1.2.1"


def check_recbole() -> None:
    """Refuse a RecBole whose internals :mod:`.registration` does not know.

    Raises:
        UnsupportedVersionError: another RecBole than 1.2.1 is installed.
    """
    if recbole.__version__ != RECBOLE_VERSION:
        raise UnsupportedVersionError(
            f"recbole-multvae works with RecBole {RECBOLE_VERSION}, but {recbole.__version__} is installed: "
            f"pip install recbole=={RECBOLE_VERSION}"
        )
