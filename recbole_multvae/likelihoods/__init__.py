"""The likelihoods, one file each. Classes in this folder that derive from ``Likelihood`` are found automatically."""

from importlib import import_module
from pkgutil import iter_modules

from recbole_multvae.likelihoods.base import Likelihood

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)


def likelihoods() -> dict[str, type[Likelihood]]:
    """The likelihoods by their names for ``--likelihood``."""
    return {cls.__name__.lower(): cls for cls in Likelihood.__subclasses__()}
