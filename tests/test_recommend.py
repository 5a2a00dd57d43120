from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recbole_multvae.commands.recommend import item_titles, load_model, main, recommend
from tests.conftest import Experiment


@pytest.fixture
def trained(blocks: str) -> Experiment:
    titles = "".join(f"i{i}\t{'Left' if i < 10 else 'Right'} {i}\n" for i in range(20))
    Path("blocks/blocks.item").write_text("item_id:token\ttitle:token_seq\n" + titles)
    experiment = Experiment("MultVAE", epochs=60, learning_rate=0.02, anneal_cap=0.1, total_anneal_steps=100)
    experiment.fit()
    return experiment


def test_prints_titles_of_the_user_s_block(trained: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([trained.trainer.saved_model_file, "--user=u3", "-k", "2"]) == 0
    liked, recommended = capsys.readouterr().out.split("MultVAE recommends")
    assert "User u3 of blocks liked" in liked
    assert len(recommended.strip().splitlines()) == 2
    assert "Left" not in liked + recommended


def test_recommendations_are_the_best_unseen_items(trained: Experiment) -> None:
    model, dataset = load_model(trained.trainer.saved_model_file)
    history = [1, 5, 7]
    everything = recommend(model, history, 1000)
    assert sorted(item for item, _ in everything) == sorted(set(range(1, 21)) - set(history))
    scores = [score for _, score in everything]
    assert scores == sorted(scores, reverse=True)
    assert recommend(model, history, 3) == everything[:3]
    assert dataset.dataset_name == "blocks"


def test_without_an_item_file_tokens_are_shown(trained: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    Path("blocks/blocks.item").unlink()
    assert item_titles(trained.dataset) == {}
    assert main([trained.trainer.saved_model_file, "--user=u3"]) == 0
    assert "i1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("user", "content", "message"),
    [
        ("nobody", None, "error: User 'nobody' is not in blocks: expected a user token such as"),
        ("u3", b"rubbish", "is damaged or is not one of RecBole's"),
        ("u3", {"state_dict": {}}, "is not a checkpoint of this family: expected one of MultVAE or MultDAE."),
    ],
)
def test_mistakes_are_one_sentence(
    trained: Experiment, capsys: pytest.CaptureFixture[str], user: str, content: object, message: str
) -> None:
    path = trained.trainer.saved_model_file
    if isinstance(content, bytes):
        Path(path).write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    assert main([path, f"--user={user}"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
