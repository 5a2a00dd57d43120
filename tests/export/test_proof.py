"""A data file that has changed since the training gives no file of other users or items: it is refused, in one sentence."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from multvae_export.benchmark import command as benchmark
from multvae_export.cli import main
from multvae_export.errors import OptionError, TokensError
from multvae_export.exporter import export
from recbole.utils import get_trainer

from recbole_multvae.training.checkpoints import AtomicCheckpoints
from tests.archive import changed
from tests.conftest import QUIET, Experiment, uneven_pairs, write_inter
from tests.export.conftest import blocks_folder, checkpoint_of

Pairs = list[tuple[str, str]]
PAIRS: Pairs = sorted({pair for pair in uneven_pairs(40, 30) if "own" not in pair[1]}, key=lambda pair: pair[::-1])
ITEMS, USERS = (sorted({pair[place] for pair in PAIRS}) for place in (1, 0))
BY_USER: dict[str, Any] = {"train_neg_sample_args": None}
#: Models that keep something of their training that this package compares, and models that keep only weights.
KEEPING: dict[str, dict[str, Any]] = {"EASE": {}, "SLIMElastic": {"alpha": 1.0}, "ItemKNN": {}, "LightGCN": {}, "NGCF": {}}
FORGETFUL: dict[str, dict[str, Any]] = {
    "ADMMSLIM": {"k": 3},
    "MultiVAE": BY_USER,
    "BPR": {},
    "Pop": {"train_batch_size": 50},
}
NAMED: dict[str, dict[str, Any]] = {"BPR": {}, "LightGCN": {}, "EASE": {}, "ADMMSLIM": {"k": 3}, "MultiVAE": BY_USER}


#: RecBole without this package.
SCRIPT = """
import sys
import recbole.data, recbole.trainer
from recbole.config import Config
from recbole.utils import get_model, get_trainer, init_seed

TIMES = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
BY_TIME = {**TIMES, "eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}, "mode": "full", "group_by": "user"}}
COMMON = {"data_path": ".", "use_gpu": False, "epochs": 3, "show_progress": False}
for name, data, keys in (("EASE", "day", {}), ("BPR", "day", {}), ("MultiVAE", "day", {"train_neg_sample_args": None}),
                         ("Pop", "day", {"train_batch_size": 50}), ("EASE", "times", BY_TIME), ("BPR", "times", BY_TIME)):
    config = Config(name, data, config_dict={**COMMON, **keys, "checkpoint_dir": f"{data}-{name}"})
    init_seed(config["seed"], True)
    loaders = recbole.data.data_preparation(config, recbole.data.create_dataset(config))
    model = get_model(name)(config, loaders[0]._dataset)
    get_trainer(config["MODEL_TYPE"], name)(config, model).fit(*loaders[:2], verbose=False)
assert "recbole_multvae" not in sys.modules
"""


def swapped(pairs: Pairs, place: int, one: str, other: str) -> Pairs:
    """The same rows with two tokens in each other's place: only names change, and no ids."""
    names = {one: other, other: one}
    rows = [list(pair) for pair in pairs]
    return [(row[0], row[1]) for row in rows if not row.__setitem__(place, names.get(row[place], row[place]))]


def shuffled(pairs: Pairs) -> Pairs:
    return random.Random(7).sample(pairs, len(pairs))


#: Changes of the data file: those that move users or items to other ids, and those that only rename them.
MOVED: dict[str, Callable[[Pairs], Pairs]] = {
    "the first row is lost": lambda pairs: pairs[1:],
    "the last row is lost": lambda pairs: pairs[:-1],
    "a click is added": lambda pairs: [*pairs, next((u, i) for u in USERS for i in ITEMS if (u, i) not in set(pairs))],
    "a user is added": lambda pairs: [*pairs, ("new", ITEMS[0])],
    "an item is added": lambda pairs: [*pairs, (USERS[0], "new")],
    "rows are shuffled": shuffled,
    "rows are sorted by user": sorted,
    "it is another data set": lambda pairs: sorted((user, ITEMS[-1 - ITEMS.index(item)]) for user, item in pairs),
}
RENAMED: dict[str, Callable[[Pairs], Pairs]] = {
    "two users are swapped": lambda pairs: swapped(pairs, 0, "u3", "u4"),
    "a user is renamed": lambda pairs: swapped(pairs, 0, "u3", "new"),
    "two items are swapped": lambda pairs: swapped(pairs, 1, "i3", "i4"),
    "an item is renamed": lambda pairs: swapped(pairs, 1, "i3", "new"),
}


def keys(model: str, further: dict[str, Any]) -> dict[str, Any]:
    common = {**QUIET, "epochs": 3, "data_path": ".", "topk": [5], "valid_metric": "NDCG@5", "learning_rate": 0.01}
    return {**common, "checkpoint_dir": model, **further}


def ours(experiment: Experiment) -> Experiment:
    """The same with the trainer that the training command takes."""
    config = experiment.config
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])
    experiment.trainer = type(trainer.__name__, (AtomicCheckpoints, trainer), {})(config, experiment.model)
    return experiment


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints that RecBole's own trainer wrote, which hold no names, by model."""
    with blocks_folder(tmp_path_factory, "unnamed") as folder:
        write_inter(folder, "day", PAIRS)
        models = KEEPING | FORGETFUL | {"NoValidation": {"model": "BPR", "eval_step": 0}, "Sampled": {"model": "BPR"}}
        models["Sampled"]["eval_args"] = {"mode": "uni10", "order": "RO", "split": {"RS": [8, 1, 1]}, "group_by": "user"}
        return {
            name: checkpoint_of(Experiment(further.get("model", name), "day", keys(name, further)), name)
            for name, further in models.items()
        }


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints as the training command writes them, by model."""
    with blocks_folder(tmp_path_factory, "named") as folder:
        write_inter(folder, "day", PAIRS)
        return {
            name: checkpoint_of(ours(Experiment(name, "day", keys(name, further))), name) for name, further in NAMED.items()
        }


def refusal(checkpoint: Path) -> str:
    """The sentence of an export from the data set of the working folder."""
    with pytest.raises(TokensError) as caught:
        export(checkpoint, "model.onnx", dataset_path=".", check=False)
    assert not Path("model.onnx").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def answers(path: str, of_users: bool) -> list[list[str]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    asked = {"user": np.array(USERS, object)} if of_users else {"history": np.array(ITEMS, object)[:, None]}
    items: list[list[str]] = session.run(None, {**asked, "k": np.array([5])})[0].tolist()
    return items


@pytest.mark.parametrize("model", NAMED)
def test_a_checkpoint_with_names_goes_with_its_data_only(model: str, named: dict[str, Path]) -> None:
    for name, change in (MOVED | RENAMED).items():
        write_inter(Path(), "day", change(PAIRS))
        message = refusal(named[model])
        assert message.startswith("the data set day in day is not the one that the checkpoint was trained on, as it"), name
        assert message.endswith(": name the folder of the data it was trained on."), name
    write_inter(Path(), "day", PAIRS)
    exported = export(named[model], "model.onnx", dataset_path=".")
    assert exported.data and exported.data.reason.startswith("has the users, the items and the training clicks that")


@pytest.mark.parametrize("model", [*KEEPING, *FORGETFUL])
def test_a_checkpoint_of_recbole_s_own_script_is_compared_by_what_it_keeps(model: str, unnamed: dict[str, Path]) -> None:
    write_inter(Path(), "day", PAIRS)
    exported = export(unnamed[model], "right.onnx", dataset_path=".")
    assert exported.data and not exported.data.trusted
    assert "which has no names: a token that was renamed since then is not noticed" in exported.data.reason
    assert ("gives NDCG@5" in exported.data.reason) == (model in FORGETFUL)
    for name, change in MOVED.items():
        write_inter(Path(), "day", change(PAIRS))
        assert "day is not the one that the checkpoint was trained on, as " in refusal(unnamed[model]), name


@pytest.mark.parametrize("model", ["EASE", "ItemKNN", "LightGCN"])
def test_whatever_changes_the_answers_are_right_or_there_are_none(
    model: str, unnamed: dict[str, Path], named: dict[str, Path]
) -> None:
    """Small changes, of which some leave everything that was learned as it was: two rows of training that trade places."""
    checkpoints = [source[model] for source in (unnamed, named) if model in source]
    write_inter(Path(), "day", PAIRS)
    expected = [_answers_of(checkpoint) for checkpoint in checkpoints]
    random.seed(3)
    outcomes = []
    for _ in range(12):
        pairs, (one, other) = list(PAIRS), random.sample(range(len(PAIRS)), 2)
        pairs[one], pairs[other] = random.choice([(PAIRS[other], PAIRS[one]), (PAIRS[one], PAIRS[one])])
        write_inter(Path(), "day", pairs)
        for checkpoint, right in zip(checkpoints, expected, strict=True):
            items = _answers_of(checkpoint)
            assert items in (None, right), (one, other)
            outcomes.append(items is None)
    assert any(outcomes)


def _answers_of(checkpoint: Path) -> list[list[str]] | None:
    """The answers of an export from the data set of the working folder; None where it is refused."""
    try:
        exported = export(checkpoint, "model.onnx", dataset_path=".", check=False)
    except TokensError:
        return None
    return answers("model.onnx", exported.io == "users")


@pytest.mark.skipif(np.__version__ >= "2", reason="RecBole alone does not run with NumPy 2")
def test_recbole_alone_wrote_it() -> None:
    write_inter(Path(), "day", PAIRS)
    write_times(PAIRS)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = sorted(Path().glob("*/*.pth"))
    assert len(files) == 6
    for file in files:
        exported = export(file, "model.onnx", dataset_path=".")
        # Seconds apart after years: in RecBole's float32 they are equal, and another click than the latest is held out.
        by_time = file.parent.name.startswith("times")
        assert exported.data and exported.data.reason.endswith("split by times in float32, as RecBole does") == by_time
    Path("model.onnx").unlink()
    for name in ("the last row is lost", "rows are sorted by user"):
        write_inter(Path(), "day", MOVED[name](PAIRS))
        write_times(MOVED[name](PAIRS))
        for file in files:
            assert "is not the one that the checkpoint was trained on, as " in refusal(file), (name, file)


def write_times(pairs: Pairs) -> None:
    """A data set whose users click every second, in a time of their own within twenty years."""
    Path("times").mkdir(exist_ok=True)
    rows = [f"{user}\t{item}\t{10**9 + 15 * 10**6 * int(user[1:]) + 7 * int(item[1:]) % 31}\n" for user, item in pairs]
    Path("times/times.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(rows))


def test_what_differs_is_named(named: dict[str, Path], unnamed: dict[str, Path]) -> None:
    """The same users and items in the same order, and one click less in training."""
    write_inter(Path(), "day", PAIRS[:-1])
    assert "it has the same users and items, and other clicks in its training part, " in refusal(named["BPR"])
    for model, difference in (
        ("EASE", r" of its training clicks are others \(it has "),
        ("ItemKNN", r" of its scores are others \(it has "),
        ("LightGCN", r" its clicks give \d+ of 40 users other vectors: "),
        ("Pop", r" of its \d+ items are clicked more or less often: "),
        (
            "BPR",
            r" NDCG@5 of its validation part, as it is read and split now, is 0\.\d+ and not 0\.\d+: .*--trust-dataset\.$",
        ),
    ):
        with pytest.raises(TokensError, match=difference):
            export(unnamed[model], "model.onnx", dataset_path=".")
    write_inter(Path(), "day", [*PAIRS, ("u0", "new")])
    assert "as it has 40 users and 31 items, and the checkpoint 40 users and 30 items: " in refusal(unnamed["EASE"])
    assert "as it has 31 items, and the checkpoint 30 items: " in refusal(unnamed["ItemKNN"])


def test_without_a_comparison_trust_dataset_is_needed(unnamed: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_inter(Path(), "day", PAIRS)
    for model in ("NoValidation", "Sampled"):
        message = refusal(unnamed[model])
        assert message.startswith(
            "nothing in the checkpoint tells whether the data set day in day is the one that it was"
        ), model
        assert message.endswith("saves the tokens, or, if you are sure that it is, say so with --trust-dataset."), model
        assert main([str(unnamed[model]), "model.onnx", "--dataset-path=.", "--trust-dataset"]) == 0
        assert "  ! data set: is not proved to be the one of the training" in capsys.readouterr().out
        entries = {entry.key: entry.value for entry in onnx.load("model.onnx").metadata_props}
        assert entries["dataset_trusted"] == "true"
        Path("model.onnx").unlink()
    # A proved data set needs no trust.
    assert main([str(unnamed["EASE"]), "model.onnx", "--dataset-path=.", "--trust-dataset", "--no-verify"]) == 0
    out = capsys.readouterr().out
    assert "  \N{CHECK MARK} data set: gives the interaction_matrix that the checkpoint holds" in out
    assert "  ! not verified" in out
    assert not [entry for entry in onnx.load("model.onnx").metadata_props if entry.key == "dataset_trusted"]
    with pytest.raises(OptionError, match="--trust-dataset is about the data set of --dataset-path: name its folder"):
        export(unnamed["BPR"], "model.onnx", trust_dataset=True)


def test_trust_dataset_does_not_help_against_a_difference(unnamed: dict[str, Path], named: dict[str, Path]) -> None:
    write_inter(Path(), "day", shuffled(PAIRS))
    for checkpoint in (unnamed["EASE"], unnamed["LightGCN"], named["BPR"]):
        with pytest.raises(TokensError, match="is not the one that the checkpoint was trained on"):
            export(checkpoint, "model.onnx", dataset_path=".", trust_dataset=True)


def test_the_benchmark_reads_the_same_data(unnamed: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_inter(Path(), "day", PAIRS)
    export(unnamed["LightGCN"], "model.onnx", dataset_path=".", check=False)
    write_inter(Path(), "day", sorted(PAIRS))
    flags = ["model.onnx", "--requests=1", "--batch-size=1", f"--checkpoint={unnamed['LightGCN']}", "--dataset-path=."]
    assert benchmark.main([*flags, "--provider", benchmark.CPU]) == 1
    assert "error: the data set day in day is not the one" in capsys.readouterr().err


def _of_an_older_version(contents: dict[str, Any]) -> None:
    for name in ("user_tokens", "training_clicks", "training_sha256"):
        del contents["recbole_multvae"][name]


def test_an_older_checkpoint_has_the_names_of_its_items(named: dict[str, Path]) -> None:
    write_inter(Path(), "day", PAIRS)
    old = {model: changed(named[model], Path(f"{model}.pth"), _of_an_older_version) for model in ("MultiVAE", "BPR")}
    exported = export(old["MultiVAE"], "model.onnx", dataset_path=".")
    assert exported.data and exported.data.reason == "has the items that the checkpoint names"
    exported = export(old["BPR"], "model.onnx", dataset_path=".")  # It also needs the users and their training history.
    assert exported.data and exported.data.reason.startswith("gives NDCG@5")
    Path("model.onnx").unlink()
    for change in (sorted, RENAMED["an item is renamed"]):
        write_inter(Path(), "day", change(PAIRS))
        assert "as its item number " in refusal(old["MultiVAE"])
        assert "as its item number " in refusal(old["BPR"])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"user_tokens": 7}, "the checkpoint has no list of user tokens"),
        ({"user_tokens": ["[PAD]", {}]}, "it has 40 users and not 1"),
        ({"user_tokens": ["[PAD]", *[["x"]] * 40]}, r"its user number 1 is 'u\d+' and not \['x'\]"),
        ({"item_tokens": "text"}, "the checkpoint has no list of item tokens"),
        ({"user_tokens": ["x" * 10**6] * 41}, r"its user number 0 is '\[PAD\]' and not 'x{60}\.\.\.'"),
        ({"training_sha256": [], "training_clicks": "many"}, "other clicks in its training part: name"),
    ],
)
def test_wrong_names_of_an_untrusted_checkpoint(entries: dict[str, Any], message: str, named: dict[str, Path]) -> None:
    write_inter(Path(), "day", PAIRS)
    path = changed(named["BPR"], Path("x.pth"), lambda contents: contents["recbole_multvae"].update(entries))
    with pytest.raises(TokensError, match=message):
        export(path, "model.onnx", dataset_path=".")


def test_a_file_for_histories_does_not_name_the_users(named: dict[str, Path]) -> None:
    write_inter(Path(), "day", PAIRS)
    assert b"u37" in named["EASE"].read_bytes()
    export(named["EASE"], "model.onnx", dataset_path=".")
    assert b"u37" not in Path("model.onnx").read_bytes()


@pytest.mark.parametrize("model", ["EASE", "BPR"])
def test_renamed_tokens_are_those_of_the_data_set(model: str, unnamed: dict[str, Path]) -> None:
    """What RecBole's own script saved has no names. Those of the data set are taken, as the command says."""
    write_inter(Path(), "day", PAIRS)
    export(unnamed[model], "before.onnx", dataset_path=".", check=False)
    write_inter(Path(), "day", swapped(PAIRS, 1, "i3", "i4"))
    export(unnamed[model], "after.onnx", dataset_path=".", check=False)
    before, after = (answers(path, model == "BPR") for path in ("before.onnx", "after.onnx"))
    names = {"i3": "i4", "i4": "i3"}
    renamed = [[names.get(item, item) for item in row] for row in before]
    if model == "EASE":  # The items of the requests were renamed too.
        one, other = ITEMS.index("i3"), ITEMS.index("i4")
        renamed[one], renamed[other] = renamed[other], renamed[one]
    assert after == renamed
