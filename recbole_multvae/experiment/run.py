"""One training from its configuration to its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from typing import Any

import torch
from recbole.config import Config
from recbole.utils import get_environment, set_color

from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.evaluation import activity
from recbole_multvae.evaluation.activity import ActivityEvaluator
from recbole_multvae.experiment import refit
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.preparation import Experiment, prepare
from recbole_multvae.experiment.recbole_errors import explain_recbole_errors


def run(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    command_line: Mapping[str, str] | None = None,
    announce: Callable[[str], None] = lambda file: None,
) -> dict[str, Any]:
    """Train and evaluate a model in this process.

    Args:
        model: the name of a model, RecBole's or ours; None reads it from the configuration.
        dataset: the name of a data set; None reads it from the configuration.
        config_file_list: paths of YAML files, or names of shipped ones.
        config_dict: further configuration keys.
        saved: whether to save the best model and to test it rather than the last.
        command_line: configuration keys that win over all others, their values as text; None reads ``sys.argv``, as
            RecBole does.
        announce: called with the path of the checkpoint before training.

    Returns:
        ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and ``test_result``, as RecBole returns them;
        with ``refit: True`` also ``refit_test_result``, the test of the model of training and validation.

    Raises:
        ConfigurationError: a key is misspelt or out of range, or RecBole refuses the configuration.
        DataError: RecBole cannot read the data set, or it does not fit the configuration.
        TrainingError: the loss became NaN, or there is not enough memory.
        TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
    """
    with explain_recbole_errors():
        config = make_config(model, dataset, config_file_list, config_dict, command_line)
        refits = refit.take(config, saved)
        experiment = prepare(config)
        if refits:
            refit.check(experiment)
        by_activity = _activity_evaluator(experiment)
        announce(experiment.trainer.saved_model_file)
        best_score, best_result = experiment.fit(saved)
        test_result = _test(experiment, by_activity, saved)
        _log_results(config, best_result, test_result)
        _log_activity(experiment, by_activity)
        results = {
            "best_valid_score": best_score,
            "valid_score_bigger": config["valid_metric_bigger"],
            "best_valid_result": best_result,
            "test_result": test_result,
        }
        if refits:
            plan = refit.plan(experiment)
            del experiment, by_activity
            results["refit_test_result"] = _refit(plan)
        if not config["single_spec"]:
            torch.distributed.destroy_process_group()
    return results


def _refit(plan: refit.Refit) -> dict[str, float] | None:
    """Train on training and validation, and log the test. Returns its result."""
    experiment = plan.fit()
    by_activity = _activity_evaluator(experiment)
    result = _test(experiment, by_activity, saved=True)
    getLogger().info(
        set_color("test result of the refit", "yellow") + f": {result}\nTrained on training and validation, and saved in "
        f"{experiment.trainer.saved_model_file}; {plan.chosen} is the model of the training part alone."
    )
    _log_activity(experiment, by_activity)
    return result


def _test(experiment: Experiment, by_activity: ActivityEvaluator | None, saved: bool) -> dict[str, float]:
    if by_activity:
        experiment.trainer.evaluator = by_activity
    return experiment.test(saved)


def _activity_evaluator(experiment: Experiment) -> ActivityEvaluator | None:
    """An evaluator of the test by activity of the users, if the configuration asks for it."""
    quantiles = RunSettings.from_config(experiment.config).activity_quantiles
    if not quantiles:
        return None
    experiment.check_part("test", f"activity_quantiles={quantiles}")
    return ActivityEvaluator(experiment.trainer.evaluator, quantiles, experiment.train_data, experiment.test_data)


def _log_results(config: Config, best_result: dict[str, float], test_result: dict[str, float] | None) -> None:
    logger = getLogger()
    logger.info(f"The running environment of this training is as follows:\n{get_environment(config).draw()}")
    logger.info(set_color("best valid ", "yellow") + f": {best_result}")
    logger.info(set_color("test result", "yellow") + f": {test_result}")
    if test_result is None:
        logger.warning("There is no test result, as the split leaves no interaction for the test.")


def _log_activity(experiment: Experiment, by_activity: ActivityEvaluator | None) -> None:
    if by_activity and experiment.config["local_rank"] == 0:
        file = activity.draw(by_activity.groups, experiment.trainer.saved_model_file)
        getLogger().info(f"The test by activity of the users, drawn in {file}:\n{activity.table(by_activity.groups)}")
