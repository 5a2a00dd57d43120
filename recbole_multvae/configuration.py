"""The search for configuration keys that nothing reads: RecBole passes a misspelt key over in silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from logging import getLogger
from typing import Any

from recbole_multvae.errors import ConfigurationError

#: How alike an unknown key and a known one must be for it to be a misspelling (``difflib`` ratio): ``latent_dim`` and
#: ``latent_dimension`` are .77 alike.
MISSPELT = 0.7


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
