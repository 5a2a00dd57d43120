"""Typed settings: the name, type, default, bounds and meaning of a configuration key in one place.

RecBole gives a model whatever the configuration says: a missing key reads as None, and a number may be a string. Here both
are errors that name the key, its value and what is allowed. Tests compare the YAML files of ``properties/model`` and the
tables in ``properties/README.md`` with these settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from recbole_multvae.errors import ConfigurationError

#: The number of units of a layer.
Size = Annotated[int, Field(gt=0)]


def setting(default: Any, allowed: str, about: str, **bounds: Any) -> Any:
    """A configuration key.

    Args:
        default: its value where the configuration does not set it.
        allowed: its type and bounds in words, for the error message and the table of keys.
        about: what it does, one sentence.
        bounds: those of ``pydantic.Field``: ``gt``, ``ge``, ``lt``, ``le``.
    """
    return Field(default, description=about, json_schema_extra={"allowed": allowed}, validate_default=True, **bounds)


class Settings(BaseModel):
    """A group of configuration keys, as fields made by :func:`setting`."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)
    #: Pairs of keys that say the same thing in two ways: a configuration sets one of them at most.
    alternatives: ClassVar[tuple[tuple[str, str], ...]] = ()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the settings from a RecBole Config.

        Raises:
            ConfigurationError: a key is of the wrong type or out of range.
        """
        try:
            return cls(**{key: config[key] for key in cls.model_fields if key in config})
        except ValidationError as error:
            key = str(error.errors()[0]["loc"][0])
        raise ConfigurationError.of_value(key, config[key], cls.allowed(key))

    @classmethod
    def check_alternatives(cls, user_keys: Mapping[str, Any]) -> None:
        """Look for two keys that say the same thing in two ways.

        Args:
            user_keys: the user's keys and values, without defaults.

        Raises:
            ConfigurationError: both are set.
        """
        for key, other in cls.alternatives:
            if user_keys.get(key) is not None and user_keys.get(other) is not None:
                raise ConfigurationError(
                    f"{key}={user_keys[key]!r} and {other}={user_keys[other]!r} say the same thing: leave one of them out."
                )

    @classmethod
    def with_default(cls, key: str, default: Any) -> Any:
        """A key of this group with another default, for a group that derives from it."""
        field = cls.model_fields[key]
        return setting(default, cls.allowed(key), str(field.description))

    @classmethod
    def allowed(cls, key: str) -> str:
        """The type and the bounds of a key in words."""
        extra: Any = cls.model_fields[key].json_schema_extra
        return extra["allowed"]


class RecommenderSettings(Settings):
    """The settings that every model has."""

    eval_memory: int = setting(
        512, "a positive integer (MiB)", "memory of an evaluation batch; decides how many users are ranked at once", gt=0
    )


class ModelSettings(RecommenderSettings):
    """The settings of the auto-encoders that are trained with a likelihood."""

    mlp_hidden_size: list[Size] | Literal["auto"] = setting(
        "auto",
        "a list of positive integers such as [600], or auto",
        "hidden layers of the encoder; auto: chosen from the size of the data",
    )
    decoder_hidden_size: list[Size] | Literal["mirrored"] = setting(
        [],
        "a list of positive integers, or mirrored",
        "hidden layers of the decoder; mirrored: the encoder's sizes reversed",
    )
    latent_dimension: int = setting(
        200, "a positive integer", "the dimension K of z (RecBole's MultiVAE takes half of the number)", gt=0
    )
    hid_activation: Literal["tanh", "relu", "sigmoid", "none"] = setting(
        "tanh",
        "tanh, relu, sigmoid or none",
        "activation of the hidden layers; not of the output or MultVAE's z",
    )
    dropout_prob: float = setting(
        0.5, "a number from 0 up to, but not including, 1", "the probability of dropping a click of the input", ge=0, lt=1
    )
    popularity_dropout: bool = setting(
        False,
        "True or False",
        "drop clicks of popular items more often than others; dropout_prob is then the mean over all clicks",
    )
    target: Literal["all", "later", "last"] = setting(
        "all",
        "all, later or last",
        "what is predicted in training; all: the clicks that are given; later: the clicks after a random time, from those "
        "before; last: the last click, from all others",
    )
    likelihood: str = setting(
        "multinomial", "the name of a likelihood", "the distribution of the clicks, given the decoder's outputs"
    )
    ema_decay: float = setting(
        0.995,
        "a number from 0 up to, but not including, 1",
        "decay of the moving average of the weights; the average is saved; 0 or sparse_adam disables it",
        ge=0,
        lt=1,
    )

    def decoder_sizes(self) -> list[int]:
        """The units of the hidden layers of the decoder, the one after z first."""
        sizes: Any = self.mlp_hidden_size[::-1] if self.decoder_hidden_size == "mirrored" else self.decoder_hidden_size
        return list(sizes)


def yaml_lines(settings: type[Settings]) -> list[str]:
    """The lines of a model's default YAML: ``key: default  # (what is allowed) What it does.``"""
    lines = []
    for key, field in settings.model_fields.items():
        entry = f"{key}: {yaml.safe_dump(field.default, default_flow_style=True).splitlines()[0]}"
        lines.append(f"{entry:<31} # ({settings.allowed(key)}) {_sentence(field.description)}")
    return lines


def _sentence(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
