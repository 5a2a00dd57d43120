"""The values of RecBole's own keys, checked before RecBole uses them.

RecBole takes most values as they are: a wrong one ends in a traceback, often after the first epoch, or changes the run
without a word. What RecBole refuses with a sentence of its own is not repeated here.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from recbole.evaluator import metric_types
from recbole.evaluator.register import metric_information, metrics_dict
from recbole.utils import EvaluatorType

from recbole_multvae.config.automatic import AUTO
from recbole_multvae.config.keys import did_you_mean, is_interval
from recbole_multvae.errors import ConfigurationError


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError as error:
        raise ValueError(name) from error
    return name


def _interval(value: Any) -> Any:
    # RecBole reads str(value): the command line makes a list of [5,10], and leaves [5,inf) as text.
    if value is not None and not is_interval(value):
        raise ValueError(value)
    return value


def _value_interval(value: dict[str, Any]) -> dict[str, Any]:
    for interval in value.values():
        if isinstance(interval, str):  # Of a column of tokens, the allowed ones are given as a list.
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


def check_values(given: Mapping[str, Any], defaults: Mapping[str, Any], own: Iterable[str] = ()) -> None:
    """Look for values that RecBole would fail on, or would use other than they are meant.

    Args:
        given: the user's keys and values.
        defaults: RecBole's and the model's.
        own: the keys that the model checks itself.

    Raises:
        ConfigurationError: names the key, its value and what is allowed.
    """
    automatic = {key for key, default in defaults.items() if default == AUTO}
    # A key that may be left at auto is a number: 1 stands for the one that will be chosen.
    keys = {key: 1 if value == AUTO and key in automatic else value for key, value in {**defaults, **given}.items()}
    try:
        RecBoleValues.model_validate({key: keys.get(key) for key in RecBoleValues.model_fields})
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        expected = f"{RecBoleValues.model_fields[key].description}{', or auto' if key in automatic else ''}"
        raise _not_allowed(key, keys.get(key), expected) from None
    for key in given.keys() & defaults.keys() - RecBoleValues.model_fields.keys() - set(own):
        _check_against_default(key, given[key], defaults[key])
    if "local_rank" in given and "nproc" not in given:
        raise ConfigurationError("local_rank is set for each process of several: leave it out, and start them with --nproc.")
    _check_eval_args(keys)
    if not keys["benchmark_filename"]:
        _check_order(keys["eval_args"], given)
    _check_metrics(keys)
    _check_mode(keys)


def _not_allowed(key: str, value: Any, expected: str) -> ConfigurationError:
    return ConfigurationError(f"{key}={value!r} is not allowed: expected {expected}.")


def _check_against_default(key: str, value: Any, default: Any) -> None:
    """The keys of RecBole's own models have no description. Their default tells where text is not what is meant."""
    if isinstance(value, str) and isinstance(default, int | float | list) and not isinstance(default, bool):
        kind = "a list" if isinstance(default, list) else "a number"
        raise _not_allowed(key, value, f"{kind} such as {default!r}, the default")


def _check_eval_args(keys: Mapping[str, Any]) -> None:
    args = keys["eval_args"]
    for name in args.keys() - {"split", "order", "group_by", "mode"}:
        if hint := did_you_mean(str(name), ("split", "order", "group_by", "mode"), ""):
            raise ConfigurationError(f"eval_args has the key {name!r}, which RecBole does not read{hint}")
    mode = args.get("mode")
    for value in mode.values() if isinstance(mode, dict) else [mode]:
        if str(value)[:3] in ("uni", "pop") and not str(value)[3:].isdigit():
            raise _not_allowed("eval_args mode", value, "the number of sampled items after it, such as uni100")
    split = args.get("split")
    if isinstance(split, dict) and not keys["benchmark_filename"]:
        _check_split(split)


def _check_split(split: dict[str, Any]) -> None:
    if len(split) != 1:
        raise _not_allowed("eval_args split", split, "one way to split, such as {'RS': [0.8, 0.1, 0.1]}")
    way, parts = next(iter(split.items()))
    if way in ("RS", "TS") and not _three_parts(parts):
        raise _not_allowed(
            f"eval_args split {way}",
            parts,
            "a list of three numbers for training, validation and testing, such as [8, 1, 1]",
        )
    if way == "TS" and not 0 < parts[2] < sum(parts):
        raise _not_allowed(
            "eval_args split TS", parts, "a share of the test above 0 and below that of all, such as [8, 1, 1]"
        )


def _check_order(args: Any, given: Mapping[str, Any]) -> None:
    """Only the records before a time may be in training: an order that the user names has to be that of time."""
    split, order = args.get("split"), (given.get("eval_args") or {}).get("order")
    if isinstance(split, dict) and "TS" in split and order not in (None, "TO"):
        raise _not_allowed("eval_args order", order, "TO with split TS, which cuts at a time, or no order at all")


def _check_mode(keys: Mapping[str, Any]) -> None:
    """Labels are predicted, and items are ranked: no metric is of both."""
    mode, metrics = keys["eval_args"].get("mode"), keys["metrics"]
    ranking = [name for name in _listed(metrics) if metric_types[name.lower()] == EvaluatorType.RANKING]
    if ranking and "labeled" in (mode.values() if isinstance(mode, dict) else [mode]):
        raise ConfigurationError(
            f"eval_args mode={mode!r} compares predictions with labels and ranks nothing, and metrics={metrics!r} has "
            f"{ranking[0]}, which is of rankings: take metrics=['AUC'] and valid_metric=AUC, or mode full."
        )


def _listed(metrics: str | list[str]) -> list[str]:
    return [metrics] if isinstance(metrics, str) else metrics


def _three_parts(value: Any) -> bool:
    numbers = isinstance(value, list) and all(isinstance(part, int | float) for part in value)
    return numbers and len(value) == 3 and value[0] > 0 and min(value) >= 0


def _check_metrics(keys: Mapping[str, Any]) -> None:
    metrics = _listed(keys["metrics"])
    for metric in metrics:
        if metric.lower() not in metric_types:
            names = [cls.__name__ for cls in metrics_dict.values()]
            hint = did_you_mean(metric, names, f": expected some of {', '.join(names)}.")
            raise ConfigurationError(f"metrics={keys['metrics']!r} names {metric!r}, which RecBole does not have{hint}")
    computed = list(_results(metrics, keys["topk"]))
    if _validates(keys) and keys["valid_metric"].lower() not in computed:
        raise ConfigurationError(
            f"valid_metric={keys['valid_metric']!r} is not among the metrics that are computed, {', '.join(computed)}: "
            "name one of them, or change metrics and topk."
        )


def _results(metrics: Iterable[str], topk: int | list[int]) -> Iterable[str]:
    """The names of RecBole's results: those of metrics of the k best items end in @k."""
    for metric in map(str.lower, metrics):
        of_all_items = metric_types[metric] == EvaluatorType.VALUE or "rec.meanrank" in metric_information[metric]
        ks = [topk] if isinstance(topk, int) else topk
        yield from [metric] if of_all_items else [f"{metric}@{k}" for k in ks]


def _validates(keys: Mapping[str, Any]) -> bool:
    """Whether there is a validation: RecBole reads ``valid_metric`` for nothing else."""
    return "validation" not in empty_parts(keys) and keys["eval_step"] > 0 and keys["epochs"] > 0


def empty_parts(keys: Mapping[str, Any]) -> set[str]:
    """Which of ``validation`` and ``test`` the split leaves empty, whatever the data."""
    split = None if keys["benchmark_filename"] else keys["eval_args"].get("split")
    if not isinstance(split, dict):
        return set()
    by_leaving_one = {"test_only": {"validation"}, "valid_only": {"test"}}.get(str(split.get("LS")), set())
    shares = split.get("RS", [1, 1, 1])
    return by_leaving_one | {name for name, share in zip(("validation", "test"), shares[1:], strict=True) if share == 0}
