"""Ctrl-C while two processes train."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The command line. After the first epoch, rank 0 sends Ctrl-C as a terminal does: to all processes.
SCRIPT = """
import os, signal, sys, time, recbole_multvae
from recbole.trainer import Trainer
from recbole_multvae.commands.train import main

train = Trainer._train_epoch

def interrupted(trainer, data, epoch, *args, **keys):
    if epoch == 1:
        if trainer.config["local_rank"] == 0:
            os.killpg(os.getpgid(0), signal.SIGINT)
        time.sleep(60)
    return train(trainer, data, epoch, *args, **keys)

Trainer._train_epoch = interrupted
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
"""


def test_one_sentence_that_names_the_checkpoint(blocks: str) -> None:
    Path("script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    flags = ["--dataset=blocks", "--data_path=.", "--show_progress=False", "--use_gpu=False", "--state=ERROR", "--nproc=2"]
    done = subprocess.run(
        [sys.executable, "script.py", *flags, "--epochs=3"],
        capture_output=True, text=True, timeout=50, env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip
    (file,) = Path("saved").iterdir()
    assert (done.returncode, done.stderr) == (130, f"Interrupted: the best state so far is in {file}.\n")
