"""A run goes on, and a model is loaded, with the data that it was trained on, and with no others under the same name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recbole.quick_start import load_data_and_model
from recbole.utils import get_trainer

from recbole_multvae import checkpoint
from recbole_multvae.data.trained_on import TrainedOn
from recbole_multvae.errors import DataError
from recbole_multvae.training.checkpoints import AtomicCheckpoints
from tests.conftest import Experiment, block_pairs

MODELS = ("MultVAE", "ItemAutoRec", "BPR", "LightGCN", "EASE")
PAIRS = block_pairs()
CHANGES: dict[str, tuple[list[tuple[str, str]], str]] = {
    "the first row is lost": (PAIRS[1:], "its item number 1 is 'i2' and not 'i1'"),
    "the last row is lost": (PAIRS[:-1], "it has the same users and items, and other clicks in its training part, "),
    "a user is renamed": (
        [("new" if user == "u3" else user, item) for user, item in PAIRS],
        "its user number 4 is 'new' and not 'u3'",
    ),
    "a user is added": ([*PAIRS, ("new", "i1")], "it has 41 users and not 40"),
    "an item is added": ([*PAIRS, ("u1", "new")], "it has 21 items and not 20"),
    "rows are moved": ([*PAIRS[30:], *PAIRS[:30]], "its item number 1 is "),
    "two rows are swapped": ([*PAIRS[:100], *PAIRS[104:108], *PAIRS[100:104], *PAIRS[108:]], "other clicks in its training"),
}


def experiment(model: str, **keys: Any) -> Experiment:
    """An experiment with the trainer that the training command takes."""
    made = Experiment(model, latent_dimension=4 if "Mult" in model or "Auto" in model else None, **keys)
    trainer_class = get_trainer(made.config["MODEL_TYPE"], model)
    if not issubclass(trainer_class, AtomicCheckpoints):
        made.trainer = type(trainer_class.__name__, (AtomicCheckpoints, trainer_class), {})(made.config, made.model)
    return made


def resumed(model: str, file: str, **keys: Any) -> Experiment:
    again = experiment(model, epochs=4, **keys)
    again.trainer.resume_checkpoint(file)
    return again


@pytest.mark.parametrize("model", MODELS)
def test_a_run_is_resumed_with_its_own_data_only(
    model: str, blocks: str, write_dataset: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    first = experiment(model)
    first.fit()
    file = first.trainer.saved_model_file
    content = Path(file).read_bytes()
    for what, (pairs, difference) in CHANGES.items():
        write_dataset("blocks", pairs)
        with pytest.raises((DataError, RuntimeError), match=f"{difference}|size mismatch") as caught:
            resumed(model, file).fit()
        assert "size mismatch" not in str(caught.value) or what.endswith("added")
    assert Path(file).read_bytes() == content
    write_dataset("blocks", PAIRS)
    resumed(model, file).fit()
    assert "does not say which users" not in caplog.text


def test_another_split_of_the_same_data_is_not_resumed(blocks: str) -> None:
    first = experiment("BPR")
    first.fit()
    with pytest.raises(DataError, match="other clicks in its training part; take the data of that training, split as they"):
        resumed("BPR", first.trainer.saved_model_file, seed=7).fit()


def test_a_resumed_run_is_not_evaluated_on_other_users(blocks: str, write_dataset: Callable[..., None]) -> None:
    first = experiment("BPR")
    first.fit()
    write_dataset("blocks", CHANGES["a user is renamed"][0])
    again = resumed("BPR", first.trainer.saved_model_file)
    with pytest.raises(DataError, match="its user number 4 is 'new' and not 'u3'"):
        again.trainer.evaluate(again.test_data)
    write_dataset("blocks", PAIRS)
    again = resumed("BPR", first.trainer.saved_model_file)
    expected = first.trainer.evaluate(first.test_data, load_best_model=False)
    assert again.trainer.evaluate(again.test_data, load_best_model=False) == expected


def test_what_recbole_s_own_script_saved_is_resumed_with_a_warning(blocks: str, caplog: pytest.LogCaptureFixture) -> None:
    bpr = Experiment("BPR", latent_dimension=None)
    bpr.fit()
    resumed("BPR", bpr.trainer.saved_model_file).fit()
    assert "The checkpoint does not say which users and clicks it was trained on" in caplog.text


def test_recbole_loads_a_model_of_the_family_with_its_own_data_only(blocks: str, write_dataset: Callable[..., None]) -> None:
    first = experiment("MultVAE")
    first.fit()
    load_data_and_model(first.trainer.saved_model_file)
    write_dataset("blocks", PAIRS[:-1])
    with pytest.raises(DataError, match="it has the same users and items, and other clicks in its training part"):
        load_data_and_model(first.trainer.saved_model_file)


def test_other_ratings_are_other_data_for_a_model_that_reads_them(blocks: str) -> None:
    def write(rating: int) -> None:
        rows = "".join(f"{user}\t{item}\t{rating if user == 'u3' else 2}\n" for user, item in PAIRS)
        Path("blocks/blocks.inter").write_text("user_id:token\titem_id:token\trating:float\n" + rows)

    keys: dict[str, Any] = {"load_col": {"inter": ["user_id", "item_id", "rating"]}}
    write(3)
    saved = {what: experiment("AutoRec", targets=what, **keys).model.other_parameter() for what in ("ratings", "clicks")}
    write(5)
    experiment("AutoRec", targets="clicks", **keys).model.load_other_parameter(saved["clicks"])
    with pytest.raises(DataError, match="other clicks or ratings in its training part"):
        experiment("AutoRec", targets="ratings", **keys).model.load_other_parameter(saved["ratings"])


def test_the_digest_is_of_the_clicks_and_not_of_their_order(blocks: str, write_dataset: Callable[..., None]) -> None:
    dataset = Experiment("MultVAE").train_data.dataset
    once = TrainedOn.of(dataset)
    order = list(range(len(dataset)))[::-1]
    assert TrainedOn.of(dataset.copy(dataset.inter_feat[order])) == once
    assert TrainedOn.of(dataset.copy(dataset.inter_feat[[*order, 0, 0, 1]])) == once  # A pair counts once.
    assert TrainedOn.of(dataset.copy(dataset.inter_feat[order[1:]])).digest != once.digest
    assert once == Experiment("MultVAE").model.trained_on


def test_a_checkpoint_holds_what_it_was_trained_on(blocks: str) -> None:
    for model in ("MultVAE", "BPR"):
        first = experiment(model)
        first.fit()
        saved = checkpoint.load(first.trainer.saved_model_file)
        holds = saved["recbole_multvae"] if model == "BPR" else saved["other_parameter"]
        assert set(holds["user_tokens"]) == {"[PAD]", *(f"u{n}" for n in range(40))}
        assert holds["training_clicks"] == len(first.train_data.dataset)
        assert len(holds["training_sha256"]) == 64
