"""The values of RecBole's own keys, checked before RecBole uses them.

RecBole takes most values as they are. A wrong one ends in a traceback, often after the first epoch, or changes the run
silently. Values that RecBole refuses with a sentence of its own are not checked here.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from recbole_multvae.config.automatic import AUTO
from recbole_multvae.config.evaluation_keys import check_evaluation
from recbole_multvae.errors import ConfigurationError


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError as error:
        raise ValueError(name) from error
    return name


def is_interval(value: Any) -> bool:
    """Whether a value is one interval of numbers, or several with semicolons between, as RecBole reads its text."""
    parts = [re.fullmatch(r"\s*[\[(]([^,]+),([^,]+)[\])]\s*", part) for part in str(value).split(";")]
    return all(part is not None and _is_number(part[1]) and _is_number(part[2]) for part in parts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _interval(value: Any) -> Any:
    # RecBole reads str(value): the command line makes a list of [5,10], and leaves [5,inf) as text.
    if value is not None and not is_interval(value):
        raise ValueError(value)
    return value


def _value_interval(value: dict[str, Any]) -> dict[str, Any]:
    for interval in value.values():
        if isinstance(interval, str):  # A column of tokens has a list of those allowed instead.
            _interval(interval)
    return value


_Folder = Annotated[str, Field(min_length=1, description="the path of a folder")]
_Switch = Annotated[bool | int, Field(description="True or False")]
_Text = Annotated[str, Field(min_length=1, description="a text of one character or more")]
_Columns = Annotated[
    dict[str, Any] | None, Field(description="a dictionary by file or by column, such as {'inter': ['user_id', 'item_id']}")
]
_Loaded = Annotated[
    dict[str, list[str] | Literal["*"]] | None,
    Field(description="a dictionary by file of lists of columns, or '*' for all, such as {'inter': ['user_id', 'item_id']}"),
]
_Names = Annotated[list[str] | None, Field(description="a list of names of columns")]
_Interval = Annotated[Any, AfterValidator(_interval), Field(description="an interval of numbers, such as '[5,inf)'")]


class _ClipGradNorm(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    max_norm: float
    norm_type: Any = 2
    error_if_nonfinite: Any = False
    foreach: Any = None


class RecBoleValues(BaseModel):
    """The keys of RecBole that every run reads. A field's description says what is allowed, for the error."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    data_path: _Folder
    checkpoint_dir: _Folder
    use_gpu: _Switch
    reproducibility: _Switch
    show_progress: _Switch
    shuffle: _Switch
    save_dataset: _Switch
    save_dataloaders: _Switch
    log_wandb: _Switch
    repeatable: _Switch
    enable_amp: _Switch
    state: Annotated[str, Field(pattern="(?i)^(debug|info|warning|error|critical)$")] | None = Field(
        description="one of DEBUG, INFO, WARNING, ERROR and CRITICAL"
    )
    seed: int = Field(ge=0, lt=2**32, description="an integer from 0 to 4294967295")
    worker: int = Field(ge=0, description="an integer, 0 or more")

    epochs: int = Field(ge=0, description="an integer, 0 or more")
    train_batch_size: int = Field(gt=0, description="a positive integer")
    learner: str = Field(
        pattern="(?i)^(adam|adamw|sgd|adagrad|rmsprop|sparse_adam)$",
        description="one of adam, adamw, sgd, adagrad, rmsprop and sparse_adam",
    )
    learning_rate: float = Field(ge=0, description="a number, 0 or more")
    weight_decay: float = Field(ge=0, description="a number, 0 or more")
    clip_grad_norm: _ClipGradNorm | None = Field(description="a dictionary such as {'max_norm': 5}")
    eval_step: int = Field(description="an integer: the epochs from one validation to the next, 0 for no validation")
    stopping_step: int = Field(ge=0, description="an integer, 0 or more")
    loss_decimal_place: int | None = Field(ge=0, description="an integer, 0 or more")

    metrics: str | Annotated[list[str], Field(min_length=1)] = Field(description="a list such as ['Recall', 'NDCG']")
    topk: PositiveInt | Annotated[list[PositiveInt], Field(min_length=1)] = Field(
        description="a positive integer, or a list of them such as [10, 20]"
    )
    valid_metric: str = Field(description="the name of a metric, such as NDCG@10")
    eval_batch_size: int = Field(gt=0, description="a positive integer")
    metric_decimal_place: int = Field(ge=0, description="an integer, 0 or more")
    eval_args: dict[str, Any] = Field(description="a dictionary such as {'split': {'RS': [0.8, 0.1, 0.1]}}")

    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = Field(
        description="an encoding that Python knows, such as utf-8 or ISO-8859-1"
    )
    field_separator: _Text
    seq_separator: _Text
    load_col: _Loaded
    unload_col: _Loaded
    unused_col: _Columns
    threshold: _Columns
    discretization: _Columns
    alias_of_user_id: _Names
    alias_of_item_id: _Names
    normalize_field: _Names
    additional_feat_suffix: str | list[str] | None = Field(description="a list of suffixes of files")
    val_interval: Annotated[dict[str, Any], AfterValidator(_value_interval)] | None = Field(
        description="a dictionary of intervals by column, such as {'rating': '[4,inf)'}"
    )
    user_inter_num_interval: _Interval
    item_inter_num_interval: _Interval
    benchmark_filename: Annotated[list[str], Field(min_length=3, max_length=3)] | None = Field(
        description="a list of three names: of the files for training, validation and testing"
    )


def check_values(user_keys: Mapping[str, Any], defaults: Mapping[str, Any], model_keys: Iterable[str] = ()) -> None:
    """Look for values that RecBole would fail on, or would misread.

    Args:
        user_keys: the user's keys and values.
        defaults: RecBole's and the model's.
        model_keys: the keys that the model checks itself.

    Raises:
        ConfigurationError: names the key, its value and what is allowed.
    """
    automatic = {key for key, default in defaults.items() if default == AUTO}
    # A key that may be left at auto is a number: 1 stands for the one that will be chosen.
    keys = {key: 1 if value == AUTO and key in automatic else value for key, value in {**defaults, **user_keys}.items()}
    try:
        RecBoleValues.model_validate({key: keys.get(key) for key in RecBoleValues.model_fields})
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        expected = f"{RecBoleValues.model_fields[key].description}{', or auto' if key in automatic else ''}"
        raise ConfigurationError.of_value(key, keys.get(key), expected) from None
    for key in user_keys.keys() & defaults.keys() - RecBoleValues.model_fields.keys() - set(model_keys):
        _check_against_default(key, user_keys[key], defaults[key])
    if "local_rank" in user_keys and "nproc" not in user_keys:
        raise ConfigurationError("local_rank is set for each process of several: leave it out, and start them with --nproc.")
    check_evaluation(keys, user_keys)


def _check_against_default(key: str, value: Any, default: Any) -> None:
    """Refuse a text for a key of a RecBole model whose default is a number or a list. These keys have no description."""
    if isinstance(value, str) and isinstance(default, int | float | list) and not isinstance(default, bool):
        kind = "a list" if isinstance(default, list) else "a number"
        raise ConfigurationError.of_value(key, value, f"{kind} such as {default!r}, the default")


def check_output_file(option: str, file: str) -> None:
    """Look for a mistake in the name of a file to write, before hours of training.

    Args:
        option: of the command line.
        file: its value.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if Path(file).is_dir() or not Path(file).absolute().parent.is_dir():
        raise ConfigurationError(f"{option}={file} cannot be written: expected a file in an existing folder.")
