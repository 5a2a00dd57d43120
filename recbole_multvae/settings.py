"""Typed settings with bounds, read from a RecBole Config, and the search for misspelt keys.

RecBole hands a model whatever the configuration says: a missing key reads as None and a misspelt one is passed over in
silence. Here both are errors that name the key, its value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from logging import getLogger
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from recbole_multvae.errors import ConfigurationError

#: How alike an unknown key and a known one must be for it to be a misspelling (``difflib`` ratio): ``latent_dim`` and
#: ``latent_dimension`` are .77 alike.
MISSPELT = 0.7


class Settings(BaseModel):
    """The settings that every model of the family has. A field's description says what is allowed, for the error."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    mlp_hidden_size: list[Annotated[int, Field(gt=0)]] = Field(description="a list of positive integers such as [600]")
    latent_dimension: int = Field(gt=0, description="a positive integer")
    dropout_prob: float = Field(ge=0, lt=1, description="a number from 0 up to, but not including, 1")
    precision: Literal["fp32", "bf16", "auto"] = Field(description="fp32, bf16 or auto")
    sampled_softmax: int = Field(ge=0, description="an integer, 0 or more")
    train_memory: int = Field(gt=0, description="a positive integer (MiB)")
    eval_memory: int = Field(gt=0, description="a positive integer (MiB)")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the settings from a RecBole Config.

        Raises:
            ConfigurationError: a key is missing, of the wrong type or out of range.
        """
        try:
            return cls(**{key: config[key] for key in cls.model_fields})
        except ValidationError as error:
            key = str(error.errors()[0]["loc"][0])
        raise ConfigurationError(f"{key}={config[key]!r} is not allowed: expected {cls.model_fields[key].description}.")


def check_keys(given: Mapping[str, Any], own: Iterable[str], recbole: Iterable[str], other_models: Iterable[str]) -> None:
    """Look for configuration keys that nothing will read.

    A key that nobody knows but that resembles a known one is misspelt: an error. Any other unread key may be the user's
    own or meant for another model that shares the configuration file: a warning, where it resembles one of ours or is
    unknown to RecBole too.

    Args:
        given: the user's keys and values.
        own: the keys of the model.
        recbole: the keys that RecBole reads whatever the model.
        other_models: the keys of RecBole's own models.

    Raises:
        ConfigurationError: a key is misspelt.
    """
    own, recbole, other_models = set(own), set(recbole), set(other_models)
    for key in sorted(given.keys() - own - recbole):
        alike = get_close_matches(key, sorted(own if key in other_models else own | recbole), n=1, cutoff=MISSPELT)
        if alike and key not in other_models:
            raise ConfigurationError(
                f"{key}={given[key]!r} is not a configuration key: did you mean {alike[0]}? "
                f"The keys of this model are {', '.join(sorted(own))}."
            )
        if alike or key not in other_models:
            hint = f": did you mean {alike[0]}?" if alike else "."
            getLogger().warning(f"The configuration key {key}={given[key]!r} has no effect on this model{hint}")
