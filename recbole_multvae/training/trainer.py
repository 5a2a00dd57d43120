"""The trainer of the family. RecBole finds it by name, as ``<Model>Trainer`` (``recbole/utils/utils.py:get_trainer``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from recbole.utils import ModelType

from recbole_multvae.data.loaders import reads_top_k_only
from recbole_multvae.errors import CheckpointError, ConfigurationError, MultVAEError
from recbole_multvae.evaluation import ranking
from recbole_multvae.hardware import keep_freed_memory
from recbole_multvae.training.averaging import AveragedWeights
from recbole_multvae.training.checkpoints import AtomicCheckpoints
from recbole_multvae.training.choice_of_beta import Evaluation, train_twice
from recbole_multvae.training.optimizer import LazyAdam
from recbole_multvae.training.warm_start import WarmStart


class FamilyTrainer(AtomicCheckpoints, WarmStart):
    """RecBole's ``Trainer`` with exact resuming, fused Adam, and full ranking of many users at once.

    With ``ema_decay`` above 0, validation, checkpoints and the trained model have the average of the weights. There, items
    that are unseen in training have weights that follow from their fields (``cold_items``).

    Attributes:
        evaluations: all validations of the run so far; a checkpoint holds them.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        if model.type == ModelType.TRADITIONAL:
            self.epochs = 1  # The model has a closed form. RecBole's TraditionalTrainer does the same.
        self.evaluations: list[Evaluation] = []
        self._ranker: ranking.Ranker | None = None
        self._average: AveragedWeights | None = None
        self._filled_at: int | None = None
        if (decay := getattr(model.settings, "ema_decay", 0)) and not model.sparse_parameters():
            self._average = AveragedWeights(model, decay)
            self.optimizer.register_step_post_hook(self._average.update)

    def fit(
        self, train_data: Any, valid_data: Any = None, verbose: bool = True, saved: bool = True, *args: Any, **kwargs: Any
    ) -> Any:  # fmt: skip
        """Train. A resumed run visits the users in the same order as an unbroken one.

        With ``choose_beta`` there are two runs, and the result is that of the second.

        Raises:
            ConfigurationError: ``choose_beta`` without validation or without a checkpoint.
        """
        keep_freed_memory()

        def train() -> Any:
            self.model.attach_loader(train_data)
            return super(FamilyTrainer, self).fit(train_data, valid_data, verbose, saved, *args, **kwargs)

        if not self.config["choose_beta"]:
            return self._end_with_kept(train)
        if not (saved and valid_data and self.eval_step > 0):
            raise ConfigurationError(
                "choose_beta=True needs validation and a checkpoint: leave it out, or let eval_args hold out a validation "
                "part, and keep epochs, eval_step and saved on."
            )
        self.model.attach_loader(train_data)
        return self._end_with_kept(lambda: train_twice(self, train))

    def _end_with_kept(self, train: Callable[[], Any]) -> Any:
        """Train, then give the model the weights that are kept."""
        try:
            return train()
        finally:
            with self._kept():
                pass
            if self._average is not None:
                self._average.adopt()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """A context with the weights that are kept: their average, if there is one, with those of all items."""
        with nullcontext() if self._average is None else self._average.in_place():
            if self._filled_at != self.model.update:
                self.model.fill_cold_items()
                self._filled_at = self.model.update
            yield

    def _restart_average(self) -> None:
        if self._average is not None:
            self._average.load_state_dict(None)

    def _valid_epoch(self, *args: Any, **kwargs: Any) -> Any:
        with self._kept():
            score, result = super()._valid_epoch(*args, **kwargs)
        self.evaluations.append(Evaluation(self.model.update, float(score), self.model.beta))
        return score, result

    def _checkpoint(self, epoch: int) -> dict[str, Any]:
        with self._kept():
            averaging = {} if self._average is None else {"averaging": self._average.state_dict()}
            evaluations = [list(evaluation) for evaluation in self.evaluations]
            return {**super()._checkpoint(epoch), "evaluations": evaluations, "to_shrink": bool(self._initial), **averaging}

    def evaluate(
        self, eval_data: Any, load_best_model: bool = True, model_file: Any = None, *args: Any, **kwargs: Any
    ) -> Any:  # fmt: skip
        """Evaluate. Where the metrics read only top-k lists, users are ranked without whole rows of scores.

        A closed form has one state, so that its best one is not read again: that would take its memory twice.
        """
        if self.model.type == ModelType.TRADITIONAL and self.model.update and not model_file:
            load_best_model = False
        if reads_top_k_only(self.config):
            self._ranker = ranking.Ranker(self.model, max(self.config["topk"]))
        try:
            return super().evaluate(eval_data, load_best_model, model_file, *args, **kwargs)
        finally:
            self._ranker = None

    def _full_sort_batch_eval(self, batch: Any) -> Any:
        if self._ranker is None:
            return super()._full_sort_batch_eval(batch)
        interaction, seen, positive_u, positive_i = batch
        return interaction, self._ranker(interaction.to(self.device), seen), positive_u, positive_i

    def resume_checkpoint(self, resume_file: Any) -> None:
        """Continue a run.

        Raises:
            CheckpointError: the state of the optimiser is that of another learner.
            DataError: the run was trained on other data.
        """
        try:
            super().resume_checkpoint(resume_file)
        except MultVAEError:
            raise
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"Cannot resume {resume_file} with learner={self.learner}, as its optimiser's state does not fit: "
                "take the learner of the run that is to be resumed."
            ) from error

    def _resume(self, saved: dict[str, Any]) -> None:
        """Restore the values that :meth:`_checkpoint` adds to RecBole's. The model has compared the data already."""
        self._filled_at = None
        if not saved.get("to_shrink"):
            self._initial = []
        self.evaluations = [Evaluation(*row) for row in saved.get("evaluations", ())]
        self.train_loss_dict.clear()  # Epochs after the checkpoint are none of this run.
        if self._average is not None:
            self._average.load_state_dict(saved.get("averaging"))

    def _build_optimizer(self, **kwargs: Any) -> Any:
        """RecBole's optimiser in torch's fused form; for ``learner: sparse_adam``, one for dense parameters too.

        A closed form has no parameters, and torch's optimisers want one.
        """
        if self.model.type == ModelType.TRADITIONAL:
            kwargs["params"] = [torch.zeros((), requires_grad=True)]
        if sparse := self.model.sparse_parameters():
            return self._lazy_adam(sparse)
        optimizer = super()._build_optimizer(**kwargs)
        for group in optimizer.param_groups:
            if "fused" in group:
                group["fused"] = True
        return optimizer

    def _lazy_adam(self, sparse: list[Any]) -> LazyAdam:
        for key in ("weight_decay", "reg_weight", "clip_grad_norm"):
            if self.config[key]:
                raise ConfigurationError(f"{key}={self.config[key]!r} does not go with learner=sparse_adam: leave it out.")
        if not self.config["single_spec"]:
            raise ConfigurationError(
                "learner=sparse_adam trains in one process only: leave out --nproc, or take learner=adam."
            )
        tables = {id(parameter) for parameter in sparse}
        dense = [parameter for parameter in self.model.parameters() if id(parameter) not in tables]
        return LazyAdam(sparse, dense, self.config["learning_rate"])
