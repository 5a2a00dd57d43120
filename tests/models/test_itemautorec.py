from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from multvae_export.errors import UnsupportedModelError
from multvae_export.exporter import export
from recbole.data.interaction import Interaction

from recbole_multvae.errors import DataError, NotApplicableError
from recbole_multvae.models.itemautorec import ClickItemDataLoader, ItemAutoRec
from tests import reference
from tests.conftest import Experiment, block_pairs
from tests.models.parity import compare_gradients, layers_of

RATED = {"targets": "ratings", "load_col": {"inter": ["user_id", "item_id", "rating"]}}


def vectors(experiment: Experiment, field: str | None = None) -> np.ndarray:
    """Every item's vector over the users, [I, U], from RecBole's own matrix."""
    return experiment.train_data._dataset.inter_matrix(form="csr", value_field=field).toarray()[1:, 1:].T


@pytest.fixture
def rated(blocks: str) -> str:
    """The blocks with ratings from 1 to 5."""
    rows = [f"{user}\t{item}\t{1 + int(user[1:]) % 5}\n" for user, item in block_pairs()]
    Path("blocks/blocks.inter").write_text("user_id:token\titem_id:token\trating:float\n" + "".join(rows))
    return blocks


@pytest.mark.parametrize("targets", ["clicks", "ratings"])
def test_loss_gradients_and_scores_are_the_reference_s(rated: str, targets: str) -> None:
    experiment = Experiment("ItemAutoRec", reg_weight=0.8, **{**RATED, "targets": targets})
    network, items = experiment.model.train(), torch.tensor([3, 1, 17, 5, 6, 7, 8, 20])
    R = vectors(experiment, "rating" if targets == "ratings" else None)
    observed = R[items - 1] > 0 if targets == "ratings" else np.ones_like(R[items - 1], bool)
    (encoder,), (decoder,) = layers_of(network)
    loss, _, d_encoder, d_decoder = reference.autorec(R[items - 1], observed, encoder, decoder, 0.8)

    ours = network.calculate_loss(Interaction({"item_id": items}))
    ours.backward()
    assert ours.item() == pytest.approx(loss, rel=1e-5)
    compare_gradients(network, [d_encoder], [d_decoder])

    users = torch.arange(1, network.n_users)
    scores = network.full_sort_predict(Interaction({"user_id": users})).view(len(users), -1)
    _, predicted, *_ = reference.autorec(R, R > 0, encoder, decoder, 0)
    np.testing.assert_allclose(scores[:, 1:].detach(), predicted.T, rtol=1e-4, atol=1e-5)
    pairs = [part.flatten() for part in torch.meshgrid(users, torch.arange(network.n_items), indexing="ij")]
    of_pairs = network.predict(Interaction({"user_id": pairs[0], "item_id": pairs[1]}))
    torch.testing.assert_close(of_pairs.view_as(scores), scores, rtol=1e-5, atol=1e-6)


def test_batches_are_of_items(blocks: str) -> None:
    experiment = Experiment("ItemAutoRec")
    assert type(experiment.train_data) is ClickItemDataLoader
    seen = torch.cat([batch["item_id"] for batch in experiment.train_data])
    assert sorted(seen.tolist()) == list(range(1, 21))


def test_learns_the_blocks_and_resumes(blocks: str) -> None:
    keys = {"learning_rate": 0.02, "stopping_step": 1000}
    whole = Experiment("ItemAutoRec", epochs=60, **keys)
    whole.fit()
    assert whole.trainer.evaluate(whole.test_data, show_progress=False)["recall@10"] > 0.9
    loaded = Experiment("ItemAutoRec")
    expected = whole.trainer.evaluate(whole.test_data, show_progress=False)
    file = whole.trainer.saved_model_file
    assert loaded.trainer.evaluate(loaded.test_data, model_file=file, show_progress=False) == expected


def test_users_out_of_training_are_refused(blocks: str) -> None:
    experiment = Experiment("ItemAutoRec", epochs=1)
    assert isinstance(experiment.model, ItemAutoRec)
    with pytest.raises(NotApplicableError, match="ItemAutoRec scores the users of its training data only"):
        Experiment("ItemAutoRec", eval_args={"split": {"SG": {"valid_users": 5, "test_users": 5}}})
    with pytest.raises(DataError, match="a history alone does not say who asks: take AutoRec"):
        experiment.model.score_histories([[1]])
    experiment.fit()
    with pytest.raises(UnsupportedModelError, match="ItemAutoRec cannot be exported, because it has weights for every user"):
        export(experiment.trainer.saved_model_file, "model.onnx")
