"""Typed settings with bounds, read from a RecBole Config.

RecBole hands a model whatever the configuration says: a missing key reads as None, and a number may be a string. Here both
are errors that name the key, its value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from recbole_multvae.errors import ConfigurationError


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
