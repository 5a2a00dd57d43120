"""Full-ranking evaluation: MultVAE beside RecBole's MultiVAE and beside the plain product of the last layer.

    python benchmarks/evaluation.py                 # 1,000 of 20,000 users x 20,108 items, 600-200-600
    python benchmarks/evaluation.py --preparation   # what comes before it, on 1, 4 and 10 million clicks

Each contestant has a process of its own, which prepares the data and then evaluates when told to; they take turns. Weights
are random: a product does not depend on them.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import describe
from made_data import write

HIDDEN, LATENT = 600, 200
KEYS = {
    "mlp_hidden_size": [HIDDEN],
    "train_neg_sample_args": None,
    "data_path": "dataset",
    "show_progress": False,
    "state": "ERROR",
    "use_gpu": False,
}
OURS, THEIRS, THEIRS_MANY, FLOOR = "MultVAE", "MultiVAE (RecBole)", "the same, 500 users at once", "product alone"
CONTESTANTS: dict[str, dict[str, Any]] = {
    OURS: {"latent_dimension": LATENT},
    THEIRS: {"latent_dimension": 2 * LATENT},
    THEIRS_MANY: {"latent_dimension": 2 * LATENT, "eval_batch_size": 500 * 20_109},
    FLOOR: {},
}


def configuration(contestant: str, dataset: str) -> Any:
    """The configuration of a contestant."""
    sys.argv = sys.argv[:1]
    from recbole.config import Config
    from recbole.utils import init_seed

    import recbole_multvae  # noqa: F401

    logging.disable(logging.WARNING)
    model = OURS if contestant == OURS else "MultiVAE"
    config = Config(model, dataset, config_dict={**KEYS, **CONTESTANTS[contestant]})
    init_seed(config["seed"], config["reproducibility"])
    return config


def evaluation(contestant: str, dataset: str, users: int) -> Callable[[], object]:
    """What is timed: one evaluation of every tenth, or so, test user."""
    import torch
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model

    if contestant == FLOOR:
        items = int(dataset.split("-")[-1])
        hidden, weight, out = torch.randn(users, HIDDEN), torch.randn(items, HIDDEN), torch.empty(users, items)
        return lambda: torch.mm(hidden, weight.t(), out=out)
    config = configuration(contestant, dataset)
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    clicks = test_data._dataset.inter_feat
    everyone = clicks["user_id"].unique()
    chosen = everyone[torch.linspace(0, len(everyone) - 1, users).long()]
    some = test_data._dataset.copy(clicks[torch.isin(clicks["user_id"], chosen).nonzero()[:, 0]])
    loader = type(test_data)(config, some, test_data._sampler)
    trainer = Trainer(config, get_model(config["model"])(config, train_data._dataset))
    return lambda: trainer.evaluate(loader, load_best_model=False)


def memory(field: str) -> float:
    """MiB of this process, from /proc: ``VmRSS`` now, ``VmHWM`` at most since :func:`forget_peak`."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def serve(contestant: str, dataset: str, users: int, pipe: Any) -> None:
    """Evaluate at every word from the pipe; answer seconds and the MiB that it took at most."""
    evaluate = evaluation(contestant, dataset, users)
    pipe.send("ready")
    while pipe.recv():
        forget_peak()
        before, start = memory("VmRSS"), time.perf_counter()
        evaluate()
        pipe.send((time.perf_counter() - start, memory("VmHWM") - before))


def compare(dataset: str, users: int, repetitions: int) -> None:
    """Let the contestants take turns and print a table."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Any] = {}
    runs: dict[str, list[tuple[float, float]]] = {contestant: [] for contestant in CONTESTANTS}
    for contestant in CONTESTANTS:
        pipes[contestant], end = context.Pipe()
        context.Process(target=serve, args=(contestant, dataset, users, end), daemon=True).start()
        end.close()  # A contestant that fails is an error here, too.
        pipes[contestant].recv()
    for _ in range(1 + repetitions):
        for contestant, pipe in pipes.items():
            pipe.send(True)
            runs[contestant].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    print(f"{users} test users of {dataset}, {repetitions} turns: median (least to most)\n")
    print("| | seconds | times ours | times the product alone | most MiB |")
    print("|---|---|---|---|---|")
    taken = {name: [seconds for seconds, _ in turns[1:]] for name, turns in runs.items()}  # The first warms up.
    for name in CONTESTANTS:
        by = [spread([a / b for a, b in zip(taken[name], taken[other], strict=True)], ".2f") for other in (OURS, FLOOR)]
        print(f"| {name} | {spread(taken[name], '.2f')} | {by[0]} | {by[1]} | {max(peak for _, peak in runs[name]):.0f} |")


def spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


@contextmanager
def phase(name: str, phases: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    phases[name] = phases.get(name, 0) + time.perf_counter() - start


def prepare(contestant: str, dataset: str) -> dict[str, float]:
    """The seconds of each phase of ``create_dataset``, ``data_preparation`` and the model; and the peak MiB."""
    config = configuration(contestant, dataset)
    from recbole.data import create_dataset, create_samplers, get_dataloader
    from recbole.utils import get_model

    phases: dict[str, float] = {}
    with phase("read, filter, number", phases):
        data = create_dataset(config)
    with phase("split", phases):
        parts = data.build()
    with phase("used items", phases):
        samplers = create_samplers(config, data, parts)
    with phase("loaders", phases):
        for name, part, sampler in zip(("train", "valid", "test"), parts, samplers, strict=True):
            loader = get_dataloader(config, name)(config, part, sampler, shuffle=name == "train")
    with phase("hand out the test batches", phases):
        for _ in loader:
            pass
    with phase("model and its history", phases):
        get_model(config["model"])(config, parts[0])
    phases["sum"] = sum(phases.values())
    phases["peak MiB"] = memory("VmHWM")
    return phases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", help="of the made data (20000; --preparation: 20000 73000 182000)")
    parser.add_argument("--items", type=int, default=20_108)
    parser.add_argument("--tested", type=int, default=1000, help="users of an evaluation (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--preparation", action="store_true")
    args = parser.parse_args()
    print(describe() + "\n")
    for users in args.users or ([20_000, 73_000, 182_000] if args.preparation else [20_000]):
        dataset = f"made-{users}-{args.items}"
        if not Path("dataset", dataset).is_dir():
            write(Path("dataset", dataset), users, args.items)
        if not args.preparation:
            compare(dataset, args.tested, args.repetitions)
            continue
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            columns = [pool.apply(prepare, (name, dataset)) for name in (OURS, THEIRS)]
        print(f"| {dataset}: seconds | {OURS} | {THEIRS} |\n|---|---|---|")
        for name in columns[0]:
            print(f"| {name} | " + " | ".join(f"{column[name]:.{0 if 'MiB' in name else 2}f}" for column in columns) + " |")
        print(flush=True)


if __name__ == "__main__":
    main()
