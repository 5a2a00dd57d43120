"""The configuration keys of a run with any model, RecBole's models too."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recbole_multvae.config.settings import Settings, setting

#: A seed for NumPy.
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class RunSettings(Settings):
    """The configuration keys of the training command, for any model; ``refit`` is for general recommenders."""

    activity_quantiles: int = setting(
        0,
        "an integer, 0 or more",
        "groups of users by number of clicks, for which test metrics are shown too; 0: none",
        ge=0,
    )
    refit: bool = setting(
        False,
        "True or False",
        "after the training, train a new model on training and validation, for the updates that were best",
    )
    split_seed: Seed | None = setting(
        None, "an integer from 0 to 4294967295, or None", "draws the split, where it is random; None: `seed`, as in RecBole"
    )
