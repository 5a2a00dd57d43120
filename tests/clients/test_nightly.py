"""The nightly job of ``deploy/nightly.sh`` on three days of ml-100k, with the service that answers meanwhile."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pandas as pd
import pytest
import recbole

from tests.clients.languages import CLIENTS, FOLDER
from tests.clients.test_clients import address_of, require

pytestmark = pytest.mark.slow

GO = FOLDER / "go"
FLAGS = ("--epochs=8", "--use_gpu=False", "--show_progress=False")
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
}


def write_days(folder: Path) -> Iterator[int]:
    """Write the clicks of ml-100k so far: half of them, and 5,000 more each night. The third has items without clicks."""
    source = Path(recbole.__path__[0]) / "dataset_example/ml-100k"
    clicks = pd.read_csv(source / "ml-100k.inter", sep="\t", dtype=str)
    clicks = clicks.sort_values("timestamp:float", key=pd.to_numeric, kind="stable")
    items = pd.read_csv(source / "ml-100k.item", sep="\t", dtype=str, keep_default_na=False)
    folder.mkdir(parents=True)
    for night in (1, 2, 3):
        so_far = clicks[: 45_000 + 5_000 * night]
        so_far.to_csv(folder / "shop.inter", sep="\t", index=False)
        clicked = items["item_id:token"].isin(so_far["item_id:token"])
        items[clicked].to_csv(folder / "shop.item", sep="\t", index=False)
        if night == 3:
            items[~clicked & (items["class:token_seq"] != "unknown")].to_csv(folder / "new.item", sep="\t", index=False)
        yield night


def night(data: Path, models: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(GO / "deploy/nightly.sh"), str(data), str(models), *FLAGS, *flags]
    return subprocess.run(command, env={**ENVIRONMENT, **variables}, capture_output=True, text=True, cwd=models.parent)


class Service:
    """The service of a folder of versions, which looks at it on SIGHUP only."""

    def __init__(self, folder: Path, models: Path) -> None:
        subprocess.run(["go", "build", "-o", str(folder / "serve"), "./cmd/serve"], cwd=GO, check=True)
        flags = ["-addr", "127.0.0.1:0", "-metrics-addr", "127.0.0.1:0", "-watch", "1h"]
        environment = {**os.environ, **CLIENTS["go"].environment(folder)}
        self.process = subprocess.Popen(
            [str(folder / "serve"), str(models), *flags], env=environment, stderr=subprocess.PIPE, text=True
        )
        self.address = address_of(self.process)

    def line(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def look(self) -> str:
        """Have it look at the folder. Returns the line of its log."""
        self.process.send_signal(signal.SIGHUP)
        return self.line()

    def version(self) -> str | None:
        """The version that answers a request."""
        connection = HTTPConnection(self.address, timeout=30)
        connection.request("POST", "/recommend", b'{"history": ["50", "181"]}')
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 200
        return answer.getheader("X-Model-Version")


def test_three_nights(tmp_path: Path) -> None:
    require("go")
    data, models = tmp_path / "data/shop", tmp_path / "models"
    service = None
    try:
        for number in write_days(data):
            done = night(data, models, FEATURES="class")
            assert done.returncode == 0, done.stdout + done.stderr
            steps = re.findall(r"^(\w+): \d+ s$", done.stdout, re.MULTILINE)
            assert steps == ["train", "export", "compare"][: 3 if number > 1 else 2]
            assert done.stdout.endswith(f"version {number}\n")
            assert ("new items: " in done.stdout) == (number == 3)
            if service is None:
                service = Service(tmp_path, models)
            else:
                assert "The training goes on from" in done.stdout + done.stderr
                assert f"msg=model version={number} " in service.look()
            assert service.version() == str(number)
        assert (tmp_path / "models/.saved/3/compare.html").is_file()
        gated = night(
            data, models, "--eval_step=0", MIN_OVERLAP="1"
        )  # The last state, not the best, which may be the first.
        assert gated.returncode == 1 and "--min-overlap=1 failed" in gated.stderr
        assert night(tmp_path / "nothing", models).returncode != 0
        assert {path.name for path in models.iterdir() if path.name[0] != "."} == {"1", "2", "3"}
        (models / "3").rename(models / "3.bad")
        assert "msg=model version=2 " in service.look()
        assert service.version() == "2"
    finally:
        if service is not None:
            service.process.kill()
            service.process.communicate()
