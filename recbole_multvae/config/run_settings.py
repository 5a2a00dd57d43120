"""The configuration keys of a run with any model, RecBole's models too."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recbole_multvae.config.settings import Settings, setting

#: The value of ``propensity`` that estimates it from clicks.
POPULARITY = "popularity"
#: The value of ``diversity_of`` that compares the users who clicked two items.
CLICKS = "clicks"
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
    warm_start: str | None = setting(
        None,
        "the path of a checkpoint, or None",
        "go on from the weights of this checkpoint; the data set may have other items and users",
    )
    warm_start_member: str | None = setting(
        None,
        "the name of a member, or None",
        "with warm_start: the model is this member of the sum in the checkpoint; --model=MultVAE+EDLAE sets this key",
    )
    vanished_items: Literal["keep", "drop"] = setting(
        "keep",
        "keep or drop",
        "with warm_start: items of the checkpoint that are not in the data set; keep: they can still be recommended",
    )
    cold_items: Literal["drop", "features"] = setting(
        "drop",
        "drop or features",
        "with split GT: items that are unseen in training; features: they stay, with weights that follow from the fields of "
        "the .item file",
    )
    propensity: str = setting(
        POPULARITY,
        "popularity, or the name of a column of numbers",
        "the probability that a click is observed, for the metrics IPS... and SNIPS...; popularity: (clicks of the item in "
        "training / those of the most popular one) ^ propensity_exponent",
    )
    propensity_exponent: float = setting(0.5, "a number, 0 or more", "see propensity; 0: all alike", ge=0)
    propensity_clip: float = setting(
        0.0, "a number from 0 to 1", "the smallest propensity; smaller ones count as this one", ge=0, le=1
    )
    diversity_of: str = setting(
        CLICKS,
        "clicks, or the name of a column of the items",
        "what IntraListDiversity compares; clicks: the users who clicked the two items in training",
    )
