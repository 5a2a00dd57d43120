"""A likelihood, a model and a protocol of evaluation are one new file each, found by where it lies."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from multvae_export.checkpoint.records import read
from recbole.config import Config
from recbole.trainer import Trainer

from recbole_multvae.errors import ConfigurationError
from recbole_multvae.models.multvae import MultVAE
from recbole_multvae.training.trainer import FamilyTrainer
from tests.conftest import QUICK, Experiment, block_pairs

ROOT = Path(__file__).parent.parent

LIKELIHOOD = '''
"""Half the squared error of every item."""
from recbole_multvae.config.settings import setting
from recbole_multvae.likelihoods.base import Likelihood, LikelihoodSettings
from recbole_multvae.likelihoods.output_layer import itemwise


class SquareSettings(LikelihoodSettings):
    confidence: float = setting(1.0, "a number above 0", "the weight of a click", gt=0)


class Square(Likelihood):
    settings_class = SquareSettings

    def add_part(self, part):
        c = self.settings.confidence
        return itemwise(part, lambda f: f.square().sum() / 2, lambda f: (c / 2 * (f - 1)**2 - f**2 / 2, c * (f - 1) - f))
'''
MODEL = '''
"""A Mult-VAE without hidden layers whose KL term has the weight 1."""
from recbole_multvae.models.multvae import MultVAE, MultVAESettings
from recbole_multvae.config.settings import setting


class ShallowSettings(MultVAESettings):
    anneal_cap: float = setting(1.0, "a number from 0 to 1", "the largest weight of the KL term", ge=0, le=1)


class ShallowVAE(MultVAE):
    settings_class = ShallowSettings
'''
PROTOCOL = '''
"""Every third user is not in training: half of the items are given to the model, the others are to be found."""
import numpy as np
from recbole_multvae.data.csr import distinct_clicks
from recbole_multvae.data.protocols.base import Protocol, fold_in, part


class EveryThird(Protocol):
    name = "every_third"

    def split(self, dataset, arguments):
        users = dataset.inter_feat[dataset.uid_field].numpy()
        given = np.arange(len(users)) % 2 == arguments["given"]
        third = users % 3 == 0
        train, whole, seen, held = (part(dataset, np.flatnonzero(rows))
                                    for rows in (~third, third, third & given, third & ~given))
        return [train, *(fold_in(dataset.copy(held.inter_feat), distinct_clicks(seen), whole) for _ in range(2))]
'''


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare clone with one new file of each kind, and nothing else changed."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copy(ROOT / "run_recbole.py", folder)
    for name in ("recbole_multvae", "properties", "export/multvae_export"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "recbole_multvae/likelihoods/square.py").write_text(LIKELIHOOD)
    (folder / "recbole_multvae/models/shallowvae.py").write_text(MODEL)
    (folder / "recbole_multvae/data/protocols/every_third.py").write_text(PROTOCOL)
    (folder / "blocks").mkdir()
    rows = "".join(f"{user}\t{item}\n" for user, item in block_pairs())
    (folder / "blocks/blocks.inter").write_text("user_id:token\titem_id:token\n" + rows)
    return folder


def run(clone: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    common = ("--dataset=blocks", "--data_path=.", "--show_progress=False", "--latent_dimension=4", "--epochs=40")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(clone), str(clone / "export")])}
    command = [sys.executable, "run_recbole.py", *common, *flags]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, env=environment)


def test_one_new_file_each(clone: Path) -> None:
    split = "--eval_args={'split': {'every_third': {'given': 0}}, 'mode': 'full'}"
    flags = ("--likelihood=square", "--confidence=3.0", "--mlp_hidden_size=[]", "--learning_rate=0.02", split)
    done = run(clone, "--model=ShallowVAE", *flags)
    assert done.returncode == 0, done.stderr
    (result,) = re.findall(r"test result.*'recall@10'[,:] ([\d.]+)", done.stderr)
    assert float(result) > 0.8  # Users who are not in training are recommended their own block.
    (file,) = (clone / "saved").glob("ShallowVAE-*.pth")
    assert read(file)["other_parameter"]["spec"]["model"] == "ShallowVAE"


def test_sampled_softmax_is_for_a_softmax(clone: Path) -> None:
    done = run(clone, "--model=MultVAE", "--likelihood=square", "--sampled_softmax=5")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: sampled_softmax=5 is a setting of likelihood=multinomial, and this run has likelihood=square: leave it out."
    )


def test_unknown_likelihood(blocks: str) -> None:
    with pytest.raises(ConfigurationError, match=r"likelihood=.poisson. is not allowed: expected gaussian or logistic"):
        Config("MultVAE", blocks, config_dict={**QUICK, "likelihood": "poisson"})


def test_a_trainer_made_by_hand_is_ours(blocks: str) -> None:
    experiment = Experiment("MultVAE")
    assert type(Trainer(experiment.config, experiment.model)) is FamilyTrainer
    other = Experiment("BPR", latent_dimension=None)
    assert type(Trainer(other.config, other.model)) is Trainer


def test_a_class_of_the_user_s_own_gets_trainer_and_data_set(blocks: str) -> None:
    from recbole.data import create_dataset
    from recbole.utils import get_trainer

    class OwnVAE(MultVAE):
        pass

    config = Config(OwnVAE, blocks, config_dict=QUICK)
    assert get_trainer(config["MODEL_TYPE"], config["model"]) is FamilyTrainer
    assert type(create_dataset(config)).__name__ == "FamilyDataset"
