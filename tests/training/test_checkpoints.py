"""A checkpoint of any model is complete at every moment, and is resumed only with the learner that wrote it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from multvae_export.checkpoint.contents import load

from recbole_multvae import checkpoint
from recbole_multvae.errors import CheckpointError
from recbole_multvae.files import atomic_write
from tests.conftest import Experiment

#: The training command, but the second time it saves, the process is killed in the middle of the file.
KILLED = """
import os, signal, sys, torch
from recbole_multvae.commands.train import main

save, calls = torch.save, []

def half(state, file, **keys):
    calls.append(file)
    save(state, file, **keys)
    if len(calls) == 2:
        os.truncate(file, os.path.getsize(file) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

torch.save = half
sys.exit(main())
"""


@pytest.mark.parametrize("model", ["MultVAE", "BPR"])
def test_kill_during_a_save_leaves_the_file_before(model: str, blocks: str) -> None:
    flags = [f"--model={model}", "--dataset=blocks", "--data_path=.", "--show_progress=False", "--eval_step=0", "--epochs=3"]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", KILLED, *flags], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (file,) = Path("saved").glob("*.pth")
    assert checkpoint.load(file)["epoch"] == 0


def test_a_save_that_fails_leaves_nothing_and_keeps_what_was_there() -> None:
    Path("file").write_text("before")
    with pytest.raises(OSError, match="disk full"), atomic_write("file") as part:
        Path(part).write_text("half")
        raise OSError("disk full")
    assert [path.read_text() for path in Path().iterdir()] == ["before"]


def test_recbole_s_own_models_are_saved_with_their_item_tokens(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from recbole_multvae.commands.train import main

    flags = ["--model=BPR", "--dataset=blocks", "--data_path=.", "--show_progress=False", "--epochs=1", "--state=ERROR"]
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
    assert main(flags) == 0
    (file,) = Path("saved").glob("BPR-*.pth")
    saved = checkpoint.load(file)
    extra, identity = saved["recbole_multvae"], load(file).identity
    assert file.stat().st_mtime - 60 < saved["saved_at"] == identity.saved_at <= file.stat().st_mtime
    assert set(identity.test_metrics) >= {"recall@10", "mrr@10"} and identity.seed == 2020
    assert torch.load(file, weights_only=False, mmap=True).keys() == saved.keys()
    assert extra["dataset"] == "blocks" and extra["format_version"] == 2
    assert extra["item_tokens"][0] == "[PAD]" and set(extra["item_tokens"][1:]) == {f"i{n}" for n in range(20)}
    Experiment("BPR", latent_dimension=None).trainer.resume_checkpoint(file)


def test_a_pre_trained_model_of_recbole_s_is_tested(blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from recbole_multvae.commands.train import main

    flags = ["--model=RaCT", "--dataset=blocks", "--data_path=.", "--show_progress=False", "--pretrain_epochs=2",
             "--save_step=2", "--train_neg_sample_args=None", "--state=ERROR"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
    assert main(flags) == 0
    assert [file.name for file in Path("saved").iterdir()] == ["RaCT-blocks-2.pth"]


@pytest.mark.parametrize(("first", "then"), [("adam", "sparse_adam"), ("sparse_adam", "adam")])
def test_resuming_with_another_learner_is_one_sentence(first: str, then: str, blocks: str) -> None:
    keys: dict[str, Any] = {"sampled_softmax": 6}
    experiment = Experiment("MultVAE", learner=first, **keys)
    experiment.fit()
    other = Experiment("MultVAE", learner=then, **keys)
    message = rf"Cannot resume .* with learner={then}, as .* take the learner of the run that is to be resumed"
    with pytest.raises(CheckpointError, match=message):
        other.trainer.resume_checkpoint(experiment.trainer.saved_model_file)


def test_a_newer_format_is_refused(blocks: str) -> None:
    model = Experiment("MultVAE").model
    with pytest.raises(CheckpointError, match=r"is of format 99, and this version knows up to 2: update recbole-multvae"):
        model.load_other_parameter({**model.other_parameter(), "format_version": 99})
