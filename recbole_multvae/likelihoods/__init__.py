"""The likelihoods, one file each. A class of a file of this folder that derives from ``Likelihood`` is found by itself."""

from importlib import import_module
from pkgutil import iter_modules

from recbole_multvae.likelihoods.base import Likelihood

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)


def likelihoods() -> dict[str, type[Likelihood]]:
    """The likelihoods by their names for ``--likelihood``."""
    return {cls.__name__.lower(): cls for cls in Likelihood.__subclasses__()}
