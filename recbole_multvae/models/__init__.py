"""The models of the family, one file each. Classes in this folder that derive from a base are found automatically."""

from importlib import import_module
from pkgutil import iter_modules

from recbole_multvae.models.auto_encoder import ClickAutoEncoder
from recbole_multvae.models.base import ClickRecommender
from recbole_multvae.models.linear import LinearRecommender

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)


def family(base: type[ClickRecommender] = ClickRecommender) -> list[type[ClickRecommender]]:
    """Every model that derives from ``base``, directly or not."""
    models = [model for cls in base.__subclasses__() for model in (cls, *family(cls))]
    return [model for model in models if model not in (ClickAutoEncoder, LinearRecommender)]


#: Every model of this folder: they are registered with RecBole.
FAMILY = tuple(model for model in family() if model.__module__.startswith(f"{__name__}."))

__all__ = ["FAMILY", "ClickAutoEncoder", "ClickRecommender", "family"]
