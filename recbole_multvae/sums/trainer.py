"""The trainer of a sum, whose members are trained already: it chooses their weights on validation."""

from __future__ import annotations

import copy
from logging import getLogger
from typing import Any

from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.evaluator.register import metric_information
from typing_extensions import override

from recbole_multvae.config.evaluation_keys import empty_parts
from recbole_multvae.data.loaders import reads_top_k_only
from recbole_multvae.errors import ConfigurationError
from recbole_multvae.evaluation.collector import WEIGHTS
from recbole_multvae.evaluation.per_user import of_each_user
from recbole_multvae.sums.model import named_weights
from recbole_multvae.sums.shortlists import Shortlists
from recbole_multvae.sums.warm_start import keeps_weights, what_was_done
from recbole_multvae.sums.weights import Quality, Weights, alone, choose_weights
from recbole_multvae.training.trainer import FamilyTrainer

#: Users of the validation by whom weights are chosen.
MOST_USERS = 30_000


class SumTrainer(FamilyTrainer):
    """Validates the members and their sum; with ``weights: None`` it chooses the weights first.

    Attributes:
        alone: the validation of each member, by name, in :meth:`fit` with a validation part.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.saved_model_file = self.saved_model_file.replace("Sum-", f"{model.title.replace(':', '_')}-", 1)
        self.alone: dict[str, float] = {}

    @override
    def fit(
        self, train_data: Any, valid_data: Any = None, verbose: bool = True, saved: bool = True, show_progress: bool = False,
        callback_fn: Any = None,
    ) -> Any:  # fmt: skip
        self.eval_collector.data_collect(train_data)
        self.model.attach_loader(train_data)
        if self.model.update == 0:  # Not a sum that is resumed.
            if self.model.settings.scales is None:
                self.model.set_scales()
            self._set_weights(valid_data)
            if self.config["warm_start"]:
                self._log_start()
            self.model.update = 1
        if valid_data:
            self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data, show_progress)
            self.wandblogger.log_metrics({**self.best_valid_result, "valid_step": 0}, head="valid")
            self._log_choice()
        if saved:
            self._save_checkpoint(0, verbose=verbose)
        return self.best_valid_score, self.best_valid_result

    def _set_weights(self, valid_data: Any) -> None:
        """The weights that the configuration names, or else those that are best on validation."""
        chosen = named_weights(self.model.settings.weights, self.model.names)
        if chosen is None:
            check_choice_of_weights(self.config, bool(valid_data))
        if valid_data and not _no_choice_because(self.config):
            judge = _Judge(self, valid_data)
            members = len(self.model.members)
            self.alone = {name: judge.score(alone(member, members)) for member, name in enumerate(self.model.names)}
            chosen = chosen or list(choose_weights(members, judge))
        self.model.weights = chosen

    def _log_start(self) -> None:
        weights = "are kept" if keeps_weights(self.config) else "are not kept, as the key weights is set"
        getLogger().info(
            f"The sum goes on from {self.config['warm_start']} (SHA-256 {self.config['warm_start_sha256']}); its weights "
            f"{weights}. The members:\n{what_was_done(self.model)}"
        )

    def _log_choice(self) -> None:
        how = "kept from warm_start" if keeps_weights(self.config) else "as configured"
        how = "chosen on validation" if self.model.settings.weights is None else how
        metric, places = self.config["valid_metric"], self.config["metric_decimal_place"] or 4
        lines = [f"{self.model.title}: {metric} on validation is {self.best_valid_score:.{places}f}. The weights, {how}:"]
        for name, weight in zip(self.model.names, self.model.weights, strict=True):
            line = f"    {name}: {weight:g}"
            if name in self.alone:
                score = self.alone[name]
                line += f"; alone {score:.{places}f}, the sum {self.best_valid_score - score:+.{places}f}"
            lines.append(f"{line}; it adds nothing and is left out" if not weight else line)
        getLogger().info("\n".join(lines))


class _Judge:
    """Ranks the users of the validation by weights, on their shortlists."""

    def __init__(self, trainer: SumTrainer, valid_data: Any) -> None:
        config = trainer.config
        metric, _, k = config["valid_metric"].partition("@")
        self._metric, self._k = config["valid_metric"].lower(), int(k)
        self._sign = 1 if config["valid_metric_bigger"] else -1
        # RecBole's metrics are rounded, and a search must see small differences.
        keys = {"metrics": [metric], "topk": [self._k], "metric_decimal_place": 15}
        own = copy.copy(config)
        own.final_config_dict = {**config.final_config_dict, **keys}
        self._evaluator = Evaluator(own)
        self._collected = trainer.eval_collector.data_struct
        self._everyone = Shortlists.of(trainer.model, valid_data, self._k)
        self._some = self._everyone.of_some_users(MOST_USERS)

    def score(self, weights: Weights) -> float:
        """The metric of all users, not rounded."""
        return self._sign * self._quality(weights, self._everyone).mean

    def __call__(self, weights: Weights) -> Quality:
        """The metric of at most :data:`MOST_USERS` users; times -1 if smaller is better."""
        return self._quality(weights, self._some)

    def _quality(self, weights: Weights, shortlists: Shortlists) -> Quality:
        items, hits = shortlists.ranked(weights, self._k)
        collected = DataStruct()
        for name, value in {**self._collected._data_dict, "rec.items": items, "rec.topk": hits}.items():
            collected.set(name, value)
        users = of_each_user(self._evaluator, collected).get(self._metric)
        if users is None:
            return Quality(self._sign * float(self._evaluator.evaluate(collected)[self._metric]), None)
        return Quality(self._sign * float(users.mean()), self._sign * users)


def check_choice_of_weights(config: Any, has_validation: bool = True) -> None:
    """Refuse to choose weights by other things than top-k lists of all items of a validation.

    Args:
        config: RecBole's.
        has_validation: False where the split turned out to leave nobody for the validation.

    Raises:
        ConfigurationError: says what the configuration has instead.
    """
    reason = _no_choice_because(config) if has_validation else "the split leaves nobody for it"
    if reason:
        raise ConfigurationError(
            f"The weights of a sum are chosen on validation, and {reason}: name them, such as weights=[0.6, 0.4]."
        )


def _no_choice_because(config: Any) -> str | None:
    mode = config["eval_args"]["mode"]
    if "validation" in empty_parts(config):
        return f"eval_args split={config['eval_args']['split']!r} leaves none"
    if (mode["valid"] if isinstance(mode, dict) else mode) != "full":
        return f"eval_args mode={mode!r} ranks only some items"
    reads = metric_information[config["valid_metric"].partition("@")[0].lower()]
    if not reads_top_k_only(config) or "@" not in config["valid_metric"] or WEIGHTS in reads:
        return f"metrics={config['metrics']!r} with valid_metric={config['valid_metric']} read more than top-k lists"
    return None
