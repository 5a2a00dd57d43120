"""A training on training and validation: its data, its number of updates, its result and its checkpoint."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch
from multvae_export.exporter import export
from onnxruntime import InferenceSession
from recbole.model.general_recommender import BPR
from recbole.quick_start import load_data_and_model
from recbole.trainer import Trainer

from recbole_multvae import checkpoint
from recbole_multvae.commands.recommend import main as recommend
from recbole_multvae.commands.train import main
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.experiment import preparation
from recbole_multvae.experiment.configuration import make_config
from recbole_multvae.experiment.run import run
from recbole_multvae.training.fixed_updates import FixedUpdates
from recbole_multvae.training.trainer import FamilyTrainer
from tests.conftest import QUICK, QUIET, Experiment, uneven_pairs, write_inter
from tests.data.made import clicks, comings, write

HELD_OUT = {"eval_args": {"split": {"SG": {"valid_users": 12, "test_users": 12, "seed": 1}}, "mode": "full"}}
RECBOLE = {**QUIET, "data_path": ".", "topk": [5], "valid_metric": "NDCG@5", "metric_decimal_place": 9, "epochs": 4}
OURS = {**QUICK, **RECBOLE, "learning_rate": 0.01}


def refitted(model: str, dataset: str = "uneven", **keys: Any) -> tuple[dict[str, Any], Path, Path]:
    """Train with ``refit: True``. Returns the results, the chosen checkpoint and the refitted one."""
    defaults = OURS if model in ("MultVAE", "EDLAE", "MultDAE") else RECBOLE
    results = run(model, dataset, config_dict={**defaults, **keys, "refit": True}, command_line={})
    (file,) = Path("saved").glob("*-refit.pth")
    return results, file.with_name(file.name.replace("-refit", "")), file


def updates_of(file: Path) -> int:
    return checkpoint.load(file)["other_parameter"]["update"]


@pytest.mark.parametrize("keys", [{}, {"train_batch_size": 7}, HELD_OUT, {"ema_decay": 0.0}], ids=str)
def test_updates_are_those_of_the_best_validation(uneven: str, keys: dict[str, Any]) -> None:
    _, chosen, refit = refitted("MultVAE", **keys)
    saved = checkpoint.load(chosen)
    best = max(saved["evaluations"], key=lambda evaluation: evaluation[1])
    assert updates_of(refit) == updates_of(chosen) == best[0] > 0
    config = checkpoint.load(refit)["config"]
    assert (config["refit"], saved["config"]["refit"]) == (True, False)
    assert config["epochs"] == -(-best[0] // len(load_data_and_model(str(refit))[3]))


def test_recbole_s_models_get_as_many_updates_too(uneven: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[str] = []
    loss = BPR.calculate_loss
    monkeypatch.setattr(BPR, "calculate_loss", lambda model, batch: batches.append(model.phase) or loss(model, batch))
    monkeypatch.setattr(BPR, "phase", "first", raising=False)
    fit = FixedUpdates.fit

    def counted(trainer: Trainer, *args: Any, **keys: Any) -> Any:
        trainer.model.phase = "refit"
        return fit(trainer, *args, **keys)

    monkeypatch.setattr(FixedUpdates, "fit", counted)
    _, chosen, refit = refitted("BPR", train_batch_size=64)
    best, epoch = checkpoint.load(chosen)["epoch"] + 1, batches.count("first") // 4
    assert batches.count("refit") == best * epoch > 0
    train = load_data_and_model(str(refit))[3]
    assert batches.count("refit") % len(train) > 0  # The last epoch is a part of one.


def test_weights_are_those_of_a_training_on_both_parts(uneven: str) -> None:
    _, chosen, refit = refitted("MultVAE")
    epochs = checkpoint.load(chosen)["epoch"] + 1
    alone = Experiment("MultVAE", "uneven", OURS, epochs=epochs, refit=True)
    alone.fit()
    weights = checkpoint.load(refit)["state_dict"]
    assert weights.keys() == alone.model.state_dict().keys()
    for name, values in alone.model.state_dict().items():  # The averages of both.
        torch.testing.assert_close(weights[name], values, rtol=0, atol=0)


def test_the_first_training_is_as_without_refit(uneven: str) -> None:
    plain = run("MultVAE", "uneven", config_dict=dict(OURS), command_line={})
    results, *_ = refitted("MultVAE")
    after = results.pop("refit_test_result")
    assert results == plain
    assert after.keys() == plain["test_result"].keys() and after != plain["test_result"]


@pytest.mark.parametrize(("model", "dropout"), [("EASE", 0.0), ("EDLAE", 0.5)])
def test_a_closed_form_is_that_of_both_parts_in_numpy(uneven: str, model: str, dropout: float) -> None:
    *_, refit = refitted(model, reg_weight=10.0)
    plain = Experiment("EASE", "uneven", RECBOLE)
    parts = (loader.dataset.inter_matrix(form="csr").toarray() for loader in (plain.train_data, plain.valid_data))
    both = sum(parts)[:, 1:].astype(np.float64)
    gram = both.T @ both
    inverse = np.linalg.inv(gram + np.diag(dropout / (1 - dropout) * np.diag(gram) + 10.0))
    expected = inverse / -np.diag(inverse)
    np.fill_diagonal(expected, 0)
    saved = checkpoint.load(refit)
    found = saved["other_parameter"]["item_similarity"][1:, 1:] if model == "EASE" else saved["state_dict"]["similarity"]
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-5)


@pytest.mark.parametrize("model", ["MultVAE", "EASE", "BPR"])
def test_load_data_and_model_gives_the_data_and_the_result_again(uneven: str, model: str) -> None:
    results, chosen, refit = refitted(model)
    for file, result in ((chosen, "test_result"), (refit, "refit_test_result")):
        config, loaded, _, train_data, _, test_data = load_data_and_model(str(file))
        evaluation = Experiment.__new__(Experiment)  # A trainer for a model that is there already.
        evaluation.trainer = FamilyTrainer(config, loaded) if model == "MultVAE" else Trainer(config, loaded)
        evaluation.trainer.eval_collector.data_collect(train_data)
        assert evaluation.trainer.evaluate(test_data, load_best_model=False) == pytest.approx(results[result])


@pytest.mark.parametrize("keys", [{}, HELD_OUT], ids=["RS", "SG"])
def test_export_proves_the_data_and_ranks_alike(uneven: str, keys: dict[str, Any]) -> None:
    *_, refit = refitted("MultVAE", **keys)
    model, *_, test_data = load_data_and_model(str(refit))[1:]
    told: list[str] = []
    export(str(refit), "model.onnx", dataset_path=".", progress=told.append, check=False)
    session = InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    histories = getattr(test_data.dataset, "fold_in", None)
    user = int(test_data.uid_list[0])
    history = model.training_clicks(torch.tensor([user])).columns + 1 if histories is None else histories[user].indices
    ids = history.tolist()
    tokens = np.array([[model.item_tokens[item] for item in ids]], dtype=object)
    _, scores = session.run(None, {"history": tokens, "k": np.array([5])})
    expected = model.score_histories([ids])[0]
    expected[[0, *ids]] = -np.inf
    np.testing.assert_allclose(scores[0], expected.topk(5).values.numpy(), rtol=1e-4)


def test_recommend_takes_the_refitted_model(uneven: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, chosen, refit = refitted("MultVAE")
    assert recommend([str(chosen), str(refit), "--user=u4", "-k", "2"]) == 0
    out = capsys.readouterr().out
    assert refit.name in out
    dataset = load_data_and_model(str(refit))[5].dataset
    to_find = int((dataset.inter_feat["user_id"] == dataset.token2id("user_id", "u4")).sum())
    assert f"liked {sum(user == 'u4' for user, _ in uneven_pairs()) - to_find} items" in out


def test_a_refitted_checkpoint_is_resumed_with_its_data(uneven: str) -> None:
    _, chosen, refit = refitted("MultVAE")
    more = Experiment("MultVAE", "uneven", OURS, epochs=9, refit=True, eval_step=0)
    more.trainer.resume_checkpoint(refit)
    more.fit()
    assert updates_of(refit) == 9 * len(more.train_data)
    with pytest.raises(DataError, match="is not the one that the checkpoint was trained on, as it has the same users and"):
        Experiment("MultVAE", "uneven", OURS, refit=True).trainer.resume_checkpoint(chosen)


def test_the_schedule_of_beta_is_in_updates(uneven: str) -> None:
    _, chosen, refit = refitted("MultVAE", anneal_epochs=2, train_batch_size=7, **HELD_OUT)
    first = Experiment("MultVAE", "uneven", OURS, train_batch_size=7, **HELD_OUT)
    config = checkpoint.load(refit)["config"]
    assert (config["anneal_epochs"], config["total_anneal_steps"]) == (None, 2 * len(first.train_data))
    assert checkpoint.load(chosen)["config"]["anneal_epochs"] == 2


def test_the_chosen_beta_is_kept(uneven: str) -> None:
    _, chosen, refit = refitted("MultVAE", choose_beta=True, total_anneal_steps=20, epochs=6)
    keys = ("anneal_cap", "total_anneal_steps", "choose_beta")
    before, after = ([checkpoint.load(file)["config"][key] for key in keys] for file in (chosen, refit))
    assert before == after and after[2] is False
    assert updates_of(refit) == updates_of(chosen)


def test_keys_at_auto_keep_their_values(uneven: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        keys = ("learning_rate", "train_batch_size", "mlp_hidden_size", "eval_step")
        _, chosen, refit = refitted("MultVAE", **dict.fromkeys(keys, "auto"), state="INFO")
    before, after = ([checkpoint.load(file)["config"][key] for key in keys] for file in (chosen, refit))
    assert before == after
    assert caplog.text.count("Left at auto") == 1 and "Refit: a new model learns from the" in caplog.text


def test_saved_loaders_and_activity(uneven: str) -> None:
    plain, *_ = refitted("MultVAE")
    shutil.rmtree("saved")
    for _ in range(2):
        again, chosen, refit = refitted("MultVAE", save_dataloaders=True, activity_quantiles=2)
        assert again == plain
        assert all(file.with_name(f"{file.stem}-activity.png").is_file() for file in (chosen, refit))
        for file in Path("saved").glob("MultVAE-*"):
            file.unlink()


def test_files_that_are_split_already(tmp_path: Path) -> None:
    pairs = uneven_pairs()
    for part, some in (("a", pairs[::2]), ("b", pairs[1::4]), ("c", pairs[3::4])):
        write_inter(tmp_path, "files", some)
        Path("files/files.inter").rename(f"files/files.{part}.inter")
    results, _, refit = refitted("MultVAE", "files", benchmark_filename=["a", "b", "c"])
    assert checkpoint.load(refit)["other_parameter"]["training_clicks"] == len({*pairs[::2], *pairs[1::4]})
    assert results["refit_test_result"]["ndcg@5"] > 0


@pytest.mark.parametrize("mode", ["uni20", "labeled"])
def test_other_modes_of_evaluation(uneven: str, mode: str) -> None:
    keys: dict[str, Any] = {"eval_args": {"mode": mode}}
    if mode == "labeled":
        rows = Path("uneven/uneven.inter").read_text().splitlines()
        labelled = [f"{row}\t{n % 3 > 0:d}" for n, row in enumerate(rows[1:])]
        Path("uneven/uneven.inter").write_text("\n".join([rows[0] + "\tlabel:float", *labelled]) + "\n")
        keys |= {"metrics": ["AUC"], "valid_metric": "AUC", "load_col": {"inter": ["user_id", "item_id", "label"]}}
        keys |= {"train_neg_sample_args": None}
    results, *_ = refitted("NeuMF" if mode == "labeled" else "BPR", **keys)
    assert results["refit_test_result"].keys() == results["test_result"].keys()


def test_a_split_without_a_test(uneven: str) -> None:
    results, _, refit = refitted("MultVAE", eval_args={"split": {"RS": [8, 2, 0]}})
    assert results["refit_test_result"] is None and refit.is_file()


FLAGS = ["--dataset=uneven", "--data_path=.", "--show_progress=False", "--state=ERROR", "--use_gpu=False", "--epochs=3"]
LAST_ONE_OUT = "--eval_args={'split': {'LS': 'test_only'}, 'order': 'RO', 'mode': 'full'}"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--eval_args={'split': {'RS': [8, 0, 2]}}"], "eval_args split={'RS': [8, 0, 2]} leaves none: hold some out"),
        ([LAST_ONE_OUT], "eval_args split={'LS': 'test_only'} leaves none: hold some out"),
        (["--eval_step=0"], "and with eval_step=0 there is no validation: take eval_step=1 or more."),
        (["--epochs=0"], "and with epochs=0 there is no validation: take epochs=1 or more."),
        (["--model=SASRec", "--train_neg_sample_args=None"], "and SASRec is one of RecBole's sequential models: leave it"),
        (["--model=FM"], "refit=True is for general recommenders, and FM is one of RecBole's context models"),
        (["--model=RaCT", "--train_neg_sample_args=None", "--train_stage=actor_pretrain"], "train_stage=actor_pretrain has"),
        (["--refit=perhaps"], "refit='perhaps' is not allowed: expected True or False."),
        (["--refti=True"], "refti=True is not a configuration key: did you mean refit?"),
    ],
)
def test_mistakes_are_one_sentence(uneven: str, capfd: Any, monkeypatch: Any, flags: list[str], message: str) -> None:
    given = {flag.partition("=")[0] for flag in flags}
    flags = [*(flag for flag in FLAGS if flag.partition("=")[0] not in given), *flags]
    flags += [] if "--refit" in given else ["--refit"]
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
    assert main(flags) == 1
    error = capfd.readouterr().err
    assert error.startswith("error: ") and message in error.splitlines()[-1] and len(error.splitlines()) == 1
    assert not list(Path().glob("saved/*"))


def test_a_run_that_saves_nothing(uneven: str) -> None:
    with pytest.raises(ConfigurationError, match="refit=True needs the checkpoint of the best validation: leave out saved="):
        run("MultVAE", "uneven", config_dict={**OURS, "refit": True}, saved=False, command_line={})


@pytest.mark.parametrize("model", ["MultVAE", "BPR"])
def test_the_first_model_is_gone_when_the_second_is_trained(uneven: str, monkeypatch: Any, model: str) -> None:
    models: list[Any] = []
    make, fit = preparation.make_model, FixedUpdates.fit

    def made(*args: Any) -> Any:
        models.append(ref(made := make(*args)))
        return made

    def fitted(trainer: Trainer, *args: Any, **keys: Any) -> Any:
        assert [model() is None for model in models] == [True]
        models.append(None)
        return fit(trainer, *args, **keys)

    monkeypatch.setattr(preparation, "make_model", made)
    monkeypatch.setattr(FixedUpdates, "fit", fitted)
    refitted(model)
    assert len(models) == 2


def test_several_processes() -> None:
    with pytest.raises(ConfigurationError, match="refit=True trains in one process only: leave out --nproc"):
        make_config("MultVAE", "ml-100k", keys={"refit": True, "local_rank": 0, "nproc": 2}, command_line={})


def test_a_validation_that_is_empty() -> None:
    write("base", clicks())
    keys = {"eval_args": {"split": {"TS": [8, 0, 2]}}, "refit": True}
    with pytest.raises(DataError, match="no interaction for the validation, which refit=True needs: hold some out"):
        run("EASE", "base", config_dict={**RECBOLE, **keys}, command_line={})
    assert not list(Path("saved").iterdir())


def test_a_user_with_all_items_where_negatives_are_popular() -> None:
    full = [("u0", f"i{item}") for item in range(6)]
    others = [(f"u{user}", f"i{item}") for user in (1, 2, 3) for item in range(user, 6)]
    for part, pairs in (("a", [*full[:4], *others[::2]]), ("b", full[4:]), ("c", others[1::2])):
        write("full", pairs, ("user_id:token", "item_id:token"), part=f".{part}")
    Path("full/full.item").write_text("item_id:token\n" + "".join(f"i{item}\n" for item in range(7)))  # Nobody has i6.
    keys = {"benchmark_filename": ["a", "b", "c"], "load_col": {"inter": ["user_id", "item_id"], "item": ["item_id"]}}
    keys |= {"train_neg_sample_args": {"distribution": "popularity", "sample_num": 1, "alpha": 1.0}, "epochs": 1}
    run("BPR", "full", config_dict={**RECBOLE, **keys}, command_line={})
    shutil.rmtree("saved")
    with pytest.raises(DataError, match="draws items that a user lacks by their popularity, and a user of full has all 6"):
        run("BPR", "full", config_dict={**RECBOLE, **keys, "refit": True}, command_line={})
    assert not list(Path("saved").iterdir())


@pytest.mark.parametrize("model", ["MultVAE", "BPR"])
def test_ctrl_c_in_the_second_training_keeps_the_first(uneven: str, capfd: Any, monkeypatch: Any, model: str) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FixedUpdates, "_train_epoch", interrupted)
    flags = [*FLAGS, f"--model={model}", "--refit"]
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *flags])
    assert main(flags) == 130
    (file,) = Path("saved").glob("*.pth")
    assert capfd.readouterr().err == f"Interrupted: the best state so far is in {file}.\n"
    assert checkpoint.load(file)["config"]["refit"] is False


ONE_CLOCK = {"eval_args": {"split": {"GT": {}}}}
BY_USER = {"eval_args": {"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": "user", "mode": "full"}}


@pytest.mark.parametrize(
    ("model", "keys"),
    [("MultVAE", ONE_CLOCK), ("EASE", ONE_CLOCK), ("BPR", ONE_CLOCK), ("MultVAE", {**ONE_CLOCK, "target": "later"}),
     ("MultDAE", {**BY_USER, "target": "last"})],
    ids=str,
)  # fmt: skip
def test_what_depends_on_times_is_split_again(model: str, keys: dict[str, Any]) -> None:
    write("made", comings(), ("user_id:token", "item_id:token", "timestamp:float"))
    results, chosen, file = refitted(model, "made", **keys)
    loaded = {name: load_data_and_model(str(path)) for name, path in (("chosen", chosen), ("refit", file))}
    items, refitted_items = (set(data.field2id_token["item_id"]) for _, _, data, *_ in loaded.values())
    assert items < refitted_items if keys["eval_args"] is ONE_CLOCK["eval_args"] else items == refitted_items
    config, network, _, _, _, test_data = loaded["refit"]
    assert len(test_data.dataset) >= len(loaded["chosen"][5].dataset)
    trainer = preparation.trainer_class(config)(config, network)
    assert trainer.evaluate(test_data, load_best_model=False) == results["refit_test_result"]
