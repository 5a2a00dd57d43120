"""Which RecBole this package works with."""

from __future__ import annotations

from recbole_multvae.errors import UnsupportedVersionError

RECBOLE_VERSION = "1.2.1"


def check_recbole() -> None:
    """Refuse a RecBole whose internals :mod:`.registration` does not know.

    Raises:
        UnsupportedVersionError: RecBole is missing, or another than 1.2.1.
    """
    # From Python 3.12 on no resolver installs it, as it asks for a ray that has no wheel there.
    remedy = f"pip install --no-deps recbole=={RECBOLE_VERSION}"
    try:
        import recbole
    except ModuleNotFoundError:
        raise UnsupportedVersionError(f"recbole-multvae needs RecBole, which is not installed: {remedy}") from None
    if recbole.__version__ != RECBOLE_VERSION:
        raise UnsupportedVersionError(
            f"recbole-multvae works with RecBole {RECBOLE_VERSION}, but {recbole.__version__} is installed: {remedy}"
        )
