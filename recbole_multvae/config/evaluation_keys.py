"""The keys of an evaluation, checked before RecBole uses them: split, order, mode and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recbole.evaluator import metric_types
from recbole.evaluator.register import metric_information, metrics_dict
from recbole.utils import EvaluatorType

from recbole_multvae.config.keys import did_you_mean
from recbole_multvae.errors import ConfigurationError

_EVAL_ARGS = ("split", "order", "group_by", "mode")


def check_evaluation(keys: Mapping[str, Any], user_keys: Mapping[str, Any]) -> None:
    """Look for values that RecBole would fail on, or would ignore.

    Args:
        keys: all keys and values, whose types have been checked.
        user_keys: the user's keys and values, without defaults.

    Raises:
        ConfigurationError: names the key, its value and what is allowed.
    """
    _check_eval_args(keys["eval_args"])
    if not keys["benchmark_filename"]:
        _check_split(keys["eval_args"].get("split"))
        if "TS" in (keys["eval_args"].get("split") or {}):
            check_order_of_time("TS", user_keys)
    _check_metrics(keys)
    _check_mode(keys)


def _check_eval_args(args: dict[str, Any]) -> None:
    for name in args.keys() - {*_EVAL_ARGS}:
        if hint := did_you_mean(str(name), _EVAL_ARGS, ""):
            raise ConfigurationError(f"eval_args has the key {name!r}, which RecBole does not read{hint}")
    for mode in _modes(args):
        if str(mode)[:3] in ("uni", "pop") and not str(mode)[3:].isdigit():
            expected = "the number of sampled items after it, such as uni100"
            raise ConfigurationError.of_value("eval_args mode", mode, expected)


def _modes(args: dict[str, Any]) -> list[Any]:
    mode = args.get("mode")
    return list(mode.values()) if isinstance(mode, dict) else [mode]


def _check_split(split: Any) -> None:
    if not isinstance(split, dict):
        return
    if len(split) != 1:
        raise ConfigurationError.of_value("eval_args split", split, "one way to split, such as {'RS': [0.8, 0.1, 0.1]}")
    way, parts = next(iter(split.items()))
    if way in ("RS", "TS") and not _are_three_parts(parts):
        expected = "a list of three numbers for training, validation and testing, such as [8, 1, 1]"
        raise ConfigurationError.of_value(f"eval_args split {way}", parts, expected)
    if way == "TS" and not 0 < parts[2] < sum(parts):
        expected = "a share of the test above 0 and below that of all, such as [8, 1, 1]"
        raise ConfigurationError.of_value("eval_args split TS", parts, expected)


def _are_three_parts(value: Any) -> bool:
    numbers = isinstance(value, list) and all(isinstance(part, int | float) for part in value)
    return numbers and len(value) == 3 and value[0] > 0 and min(value) >= 0


def check_order_of_time(way: str, user_keys: Mapping[str, Any]) -> None:
    """Refuse another order than that of time, if the user set one.

    Args:
        way: the name of a split that cuts at a time.
        user_keys: the user's keys and values, without defaults.

    Raises:
        ConfigurationError: ``eval_args`` has another order.
    """
    order = (user_keys.get("eval_args") or {}).get("order")
    if order not in (None, "TO"):
        expected = f"TO with split {way}, which cuts at a time, or no order at all"
        raise ConfigurationError.of_value("eval_args order", order, expected)


def _check_mode(keys: Mapping[str, Any]) -> None:
    """The mode ``labeled`` compares predictions with labels, and has no rankings."""
    args, metrics = keys["eval_args"], keys["metrics"]
    ranking = [name for name in _as_list(metrics) if metric_types[name.lower()] == EvaluatorType.RANKING]
    if ranking and "labeled" in _modes(args):
        raise ConfigurationError(
            f"eval_args mode={args['mode']!r} compares predictions with labels and ranks nothing, and metrics={metrics!r} "
            f"has {ranking[0]}, which needs rankings: take metrics=['AUC'] and valid_metric=AUC, or mode full."
        )


def _as_list(metrics: str | list[str]) -> list[str]:
    return [metrics] if isinstance(metrics, str) else metrics


def _check_metrics(keys: Mapping[str, Any]) -> None:
    metrics = _as_list(keys["metrics"])
    for metric in metrics:
        if metric.lower() not in metric_types:
            names = [cls.__name__ for cls in metrics_dict.values()]
            hint = did_you_mean(metric, names, f": expected some of {', '.join(names)}.")
            raise ConfigurationError(f"metrics={keys['metrics']!r} names {metric!r}, which RecBole does not have{hint}")
    results = list(_result_names(metrics, keys["topk"]))
    if _validates(keys) and keys["valid_metric"].lower() not in results:
        raise ConfigurationError(
            f"valid_metric={keys['valid_metric']!r} is not among the metrics that are computed, {', '.join(results)}: "
            "name one of them, or change metrics and topk."
        )


def _result_names(metrics: Iterable[str], topk: int | list[int]) -> Iterable[str]:
    """The names of RecBole's results: those of metrics of the k best items end in @k."""
    for metric in map(str.lower, metrics):
        of_all_items = metric_types[metric] == EvaluatorType.VALUE or "rec.meanrank" in metric_information[metric]
        ks = [topk] if isinstance(topk, int) else topk
        yield from [metric] if of_all_items else [f"{metric}@{k}" for k in ks]


def _validates(keys: Mapping[str, Any]) -> bool:
    """Whether there is a validation: only then RecBole reads ``valid_metric``."""
    return "validation" not in empty_parts(keys) and keys["eval_step"] > 0 and keys["epochs"] > 0


def empty_parts(keys: Mapping[str, Any]) -> set[str]:
    """Which of ``validation`` and ``test`` the split leaves empty, whatever the data."""
    split = None if keys["benchmark_filename"] else keys["eval_args"].get("split")
    if not isinstance(split, dict):
        return set()
    by_leaving_one = {"test_only": {"validation"}, "valid_only": {"test"}}.get(str(split.get("LS")), set())
    shares = split.get("RS", [1, 1, 1])
    return by_leaving_one | {name for name, share in zip(("validation", "test"), shares[1:], strict=True) if share == 0}
