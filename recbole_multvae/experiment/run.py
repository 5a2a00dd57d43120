"""One training from its configuration to its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from typing import Any

import torch
from recbole.config import Config
from recbole.utils import get_environment, set_color

from recbole_multvae.config.run_settings import RunSettings
from recbole_multvae.config.values import check_output_file
from recbole_multvae.evaluation import activity, cold_items
from recbole_multvae.evaluation.activity import ActivityEvaluator
from recbole_multvae.evaluation.per_user import PerUserEvaluator, write_per_user
from recbole_multvae.experiment import refit
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.following import Outcome, follow
from recbole_multvae.experiment.preparation import Experiment, prepare
from recbole_multvae.experiment.recbole_errors import explain_recbole_errors
from recbole_multvae.tracking.telling import Telling


def run(
    model: str | None = None, dataset: str | None = None, config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None, saved: bool = True, command_line: Mapping[str, str] | None = None,
    announce: Callable[[str], None] = lambda file: None, per_user: str | None = None,
    track: str | None = None,
) -> dict[str, Any]:  # fmt: skip
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
        per_user: a CSV file for the test's metrics of each user; after a refit they are those of the refitted model.
        track: the name of a tracker that is told of the run, see :mod:`..tracking`.

    Returns:
        ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and ``test_result``, as RecBole returns them;
        with ``refit: True`` also ``refit_test_result``, the test of the model of training and validation.

    Raises:
        ConfigurationError: a key is misspelt or out of range, or RecBole refuses the configuration.
        DataError: RecBole cannot read the data set, or it does not fit the configuration.
        TrainingError: the loss became NaN, or there is not enough memory.
        TrackingError: all is done, but the tracker was not told everything.
        TrainingInterrupted: Ctrl-C; it is a ``KeyboardInterrupt``.
    """
    if per_user:
        check_output_file("--per_user", per_user)
    with explain_recbole_errors():
        config = make_config(model, dataset, config_file_list, config_dict, command_line)
        refits = refit.take(config, saved)
        telling = Telling(None if config["local_rank"] or config["offset"] else track, config)  # Of several, one process.
        experiment = prepare(config)
        if refits:
            refit.check(experiment)
        test = _Test(experiment, per_user)
        announce(experiment.trainer.saved_model_file)
        with follow(telling, experiment) as outcome:
            results = _train(experiment, test, saved, outcome)
            if refits:
                plan = refit.plan(experiment)
                del experiment, test
                results["refit_test_result"] = _refit(plan, per_user, outcome)
        if not config["single_spec"]:
            torch.distributed.destroy_process_group()
        telling.close(f"the training is complete, and its model is in {outcome.checkpoint}.")
    return results


def _train(experiment: Experiment, test: _Test, saved: bool, outcome: Outcome) -> dict[str, Any]:
    """Train, test, and log. Returns the results."""
    best_score, best_result = experiment.fit(saved)
    outcome.add("best_valid", best_result)
    test_result = test.run(saved)
    outcome.add("test", test_result)
    _log_results(experiment.config, best_result, test_result)
    test.report()
    return {
        "best_valid_score": best_score,
        "valid_score_bigger": experiment.config["valid_metric_bigger"],
        "best_valid_result": best_result,
        "test_result": test_result,
    }


def _refit(plan: refit.Refit, per_user: str | None, outcome: Outcome) -> dict[str, float] | None:
    """Train on training and validation, and log the test. Returns its result."""
    experiment = plan.fit()
    test = _Test(experiment, per_user)
    result = test.run(saved=True)
    outcome.checkpoint = experiment.trainer.saved_model_file
    outcome.add("refit_test", result)
    getLogger().info(
        set_color("test result of the refit", "yellow") + f": {result}\nTrained on training and validation, and saved in "
        f"{experiment.trainer.saved_model_file}; {plan.chosen} is the model of the training part alone."
    )
    test.report()
    return result


class _Test:
    """The test of an experiment, with what the user asks for besides the metrics. It is made before the training.

    Args:
        experiment: whose test it is.
        per_user: the file for the metrics of each user; None: nobody asks for them.
    """

    def __init__(self, experiment: Experiment, per_user: str | None) -> None:
        trainer, loaders = experiment.trainer, (experiment.train_data, experiment.test_data)
        quantiles = RunSettings.from_config(experiment.config).activity_quantiles
        for asked, reader in ((quantiles, f"activity_quantiles={quantiles}"), (per_user, f"--per_user={per_user}")):
            if asked:
                experiment.check_part("test", reader)
        self._experiment, self._file = experiment, per_user
        self._by_activity = ActivityEvaluator(trainer.evaluator, quantiles, *loaders) if quantiles else None
        self._users = PerUserEvaluator(trainer.evaluator, self._by_activity, *loaders) if per_user else None

    def run(self, saved: bool) -> dict[str, float]:
        """The metrics by name; ``saved``: of the best model rather than the last."""
        trainer = self._experiment.trainer
        trainer.evaluator = self._users or self._by_activity or trainer.evaluator
        result = self._experiment.test(saved)
        if saved:
            self._experiment.save_test_result(result)
        self._of_cold_items = cold_items.test(self._experiment) if result else []
        return result

    def report(self) -> None:
        """Log and write what the user asks for."""
        if self._experiment.config["local_rank"]:
            return
        if self._of_cold_items:
            getLogger().info(cold_items.describe(self._of_cold_items))
        if self._by_activity:
            groups = self._by_activity.groups
            file = activity.draw(groups, self._experiment.trainer.saved_model_file)
            getLogger().info(f"The test by activity of the users, drawn in {file}:\n{activity.table(groups)}")
        if self._users:
            write_per_user(str(self._file), [self._users.table])
            getLogger().info(f"The test's metrics of each user are in {self._file}.")


def _log_results(config: Config, best_result: dict[str, float], test_result: dict[str, float] | None) -> None:
    logger = getLogger()
    logger.info(f"The running environment of this training is as follows:\n{get_environment(config).draw()}")
    logger.info(set_color("best valid ", "yellow") + f": {best_result}")
    logger.info(set_color("test result", "yellow") + f": {test_result}")
    if test_result is None:
        logger.warning("There is no test result, as the split leaves no interaction for the test.")
