"""The configuration keys that RecBole knows, and the search for keys that nothing reads.

RecBole ignores a misspelt key silently, and has no complete list of its keys. The list here is gathered from RecBole's lists
of arguments, from its YAML files, and from :data:`KEYS_IN_NO_LIST`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from logging import getLogger
from pathlib import Path
from typing import Any

import recbole
from recbole.utils import argument_list

from recbole_multvae.errors import ConfigurationError

#: An unknown key at least this similar to a known one is a misspelling of it (``difflib`` ratio). ``latent_dim`` and
#: ``latent_dimension`` are .77 similar.
MISSPELT = 0.7

#: Keys that RecBole reads, but that are in none of its lists and in none of its YAML files. A test finds them in its source.
KEYS_IN_NO_LIST = frozenset({
    "model", "dataset", "config_files", "config_file_list", "device", "eval_type", "single_spec", "verbose",
    "nproc", "world_size", "ip", "port", "offset", "group_offset", "local_rank", "MODEL_TYPE", "MODEL_INPUT_TYPE",
    "neg_sampling", "training_neg_sample_num", "valid_neg_sample_args", "test_neg_sample_args",
    "encoding", "tail_ratio", "eta", "token_num_threshold", "xgb_early_stopping_rounds",
})  # fmt: skip

#: Keys of RecBole's first versions, which it ignores today, and what to write instead.
FORMER_KEYS = {
    "min_user_inter_num": "user_inter_num_interval='[5,inf)'",
    "max_user_inter_num": "user_inter_num_interval='[0,100]'",
    "min_item_inter_num": "item_inter_num_interval='[5,inf)'",
    "max_item_inter_num": "item_inter_num_interval='[0,100]'",
    "lowest_val": "val_interval={'rating': '[4,inf)'}",
    "highest_val": "val_interval={'rating': '[0,3]'}",
    "equal_val": "val_interval={'rating': '[5,5]'}",
    "not_equal_val": "val_interval={'rating': '[0,3);(3,5]'}",
    "fields_in_same_space": "alias_of_item_id=['other_id']",
    "eval_setting": "eval_args={'split': {'RS': [8, 1, 1]}, 'order': 'RO', 'mode': 'full'}",
    "split_ratio": "eval_args={'split': {'RS': [8, 1, 1]}}",
    "leave_one_num": "eval_args={'split': {'LS': 'valid_and_test'}}",
    "group_by_user": "eval_args={'group_by': 'user'}",
    "split": "eval_args={'split': {'RS': [8, 1, 1]}}",
    "order": "eval_args={'order': 'TO'}",
    "group_by": "eval_args={'group_by': 'user'}",
    "mode": "eval_args={'mode': 'full'}",
    "neg_sampling": "train_neg_sample_args={'distribution': 'uniform', 'sample_num': 1}",
    "training_neg_sample_num": "train_neg_sample_args={'sample_num': 1}",
    "training_neg_sample_distribution": "train_neg_sample_args={'distribution': 'uniform'}",
}

_PROPERTIES = Path(recbole.__file__).parent / "properties"


def recbole_keys() -> set[str]:
    """The keys that RecBole reads for every model."""
    arguments = (
        argument_list.general_arguments + argument_list.training_arguments
        + argument_list.evaluation_arguments + argument_list.dataset_arguments
    )  # fmt: skip
    return {*arguments, *KEYS_IN_NO_LIST} | _keys_in_yaml("overall.yaml") | _keys_in_yaml("dataset/[ms]*.yaml")


def recbole_model_keys() -> frozenset[str]:
    """The keys of RecBole's own models."""
    return _keys_in_yaml("model/*.yaml")


@functools.cache
def _keys_in_yaml(pattern: str) -> frozenset[str]:
    files = _PROPERTIES.glob(pattern)
    return frozenset(key for file in files for key in re.findall(r"^(\w+)\s*:", file.read_text("utf-8"), re.MULTILINE))


def did_you_mean(word: str, known: Iterable[str], otherwise: str = ".", cutoff: float = 0.6) -> str:
    """The end of a sentence about an unknown word: the most similar known one; ``otherwise`` if none is similar."""
    folded = {name.lower(): name for name in sorted(known)}
    similar = get_close_matches(word.lower(), folded, n=1, cutoff=cutoff)
    return f": did you mean {folded[similar[0]]}?" if similar else otherwise


def check_former_keys(user_keys: Mapping[str, Any], model_keys: Iterable[str]) -> None:
    """Refuse keys that RecBole's first versions read, or that it reads only inside another key.

    Args:
        user_keys: the user's keys and values.
        model_keys: the keys of the model.

    Raises:
        ConfigurationError: names the key to use today.
    """
    for key in sorted(user_keys.keys() & FORMER_KEYS.keys() - set(model_keys)):
        raise ConfigurationError(
            f"{key}={user_keys[key]!r} has no effect in RecBole 1.2: write {FORMER_KEYS[key]}, for example."
        )


def check_keys(user_keys: Mapping[str, Any], model_keys: Iterable[str]) -> None:
    """Look for configuration keys that nothing will read.

    A key that nobody knows, but that is similar to a known one, is misspelt: an error. Any other key that nothing reads may
    be the user's own, or be meant for another model that shares the configuration file. It is a warning if it is similar
    to a key of the model, or if RecBole does not know it either.

    Args:
        user_keys: the user's keys and values.
        model_keys: the keys of the model.

    Raises:
        ConfigurationError: a key is misspelt.
    """
    model_keys, general_keys, other_models = set(model_keys), recbole_keys(), recbole_model_keys()
    for key in sorted(user_keys.keys() - model_keys - general_keys):
        hint = did_you_mean(key, model_keys if key in other_models else model_keys | general_keys, cutoff=MISSPELT)
        similar = hint != "."
        if similar and key not in other_models:
            keys = ", ".join(sorted(model_keys))
            raise ConfigurationError(
                f"{key}={user_keys[key]!r} is not a configuration key{hint} The keys of this model are {keys}."
            )
        if similar or key not in other_models:
            getLogger().warning(f"The configuration key {key}={user_keys[key]!r} has no effect on this model{hint}")
