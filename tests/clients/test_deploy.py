"""The Dockerfile and the manifests of the service: what they say of each other, of the program and of Kubernetes' schema."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

import recbole_multvae
from tests.clients.languages import FOLDER
from tests.clients.test_clients import address_of, install_package, require, run

GO = FOLDER / "go"
DEPLOY = GO / "deploy"
#: The package that has Kubernetes' schemas, and the version that is taken.
SCHEMAS, KUBERNETES = "kubernetes-validate==1.37.0", "1.33"


def manifests(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text("utf-8")))


def pod(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]


def container(deployment: Any) -> Any:
    (only,) = pod(deployment)["containers"]
    return only


def mib(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def flags() -> dict[str, str]:
    """The program's flags with their defaults."""
    text = run(("go", "run", "./cmd/serve", "-help"), GO)
    return dict(re.findall(r"^  -([\w-]+).*\n.*?(?:\(default (\S+)\))?$", text, re.MULTILINE))


def seconds(value: str) -> int:
    return int(re.fullmatch(r"(\d+)s", value)[1])  # type: ignore[index]


def test_the_deployment_fits_the_program() -> None:
    require("go")
    deployment, service, budget = manifests("recommend.yaml")
    served, known = container(deployment), flags()
    folder, *arguments = served["args"]
    given = dict(argument.removeprefix("-").split("=") for argument in arguments)
    assert given.keys() <= known.keys()
    values = known | given
    assert pod(deployment)["terminationGracePeriodSeconds"] > seconds(values["drain"]) > seconds(values["drain-delay"])
    assert mib(served["resources"]["limits"]["memory"]) > 2 * int(values["max-memory"])
    ports = {port["name"]: f":{port['containerPort']}" for port in served["ports"]}
    assert ports == {"http": values["addr"], "metrics": values["metrics-addr"]}
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert f":{annotations['prometheus.io/port']}" == ports["metrics"]
    probes = {name: probe["httpGet"] for name, probe in served.items() if name.endswith("Probe")}
    paths = {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    assert probes == {name: {"path": path, "port": "http"} for name, path in paths.items()}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {"http"}
    assert [mount["mountPath"] for mount in served["volumeMounts"]] == [folder]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (service["spec"]["selector"], budget["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= labels.items()


def test_the_manifests_agree() -> None:
    deployment, service, _ = manifests("recommend.yaml")
    (canary,), (claim, shell) = manifests("canary.yaml"), manifests("models.yaml")
    (volume,) = pod(deployment)["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert shell["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    image, version = container(deployment)["image"], recbole_multvae.__version__
    assert image.endswith(f":{version}")
    assert all(image in (DEPLOY / name).read_text("utf-8") for name in ("README.md", "Dockerfile"))
    assert service["spec"]["selector"].items() <= canary["spec"]["template"]["metadata"]["labels"].items()
    assert canary["spec"]["selector"] != deployment["spec"]["selector"]  # Each has pods of its own.
    container(canary)["args"][0] = container(deployment)["args"][0]
    canary["metadata"]["name"], canary["spec"]["replicas"] = "recommend", deployment["spec"]["replicas"]
    assert yaml.dump(canary).replace("track: canary", "track: stable") == yaml.dump(deployment)


def test_the_image_has_what_the_program_is_tested_with() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    built_with, wanted = (
        re.search(r"golang:(\d+\.\d+)", text),
        re.search(r"^go (\d+\.\d+)", (GO / "go.mod").read_text(), re.M),
    )
    assert built_with and wanted and built_with[1] == wanted[1]
    assert all("@sha256:" in image or ":" in image for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    pinned = re.search(r"^onnxruntime==(\S+)", (DEPLOY / "onnxruntime.txt").read_text(), re.MULTILINE)
    locked = re.findall(r"^onnxruntime==(\S+)", (FOLDER.parents[1] / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and pinned[1] in locked


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in DEPLOY.glob("*.yaml")))
def test_the_manifests_fit_the_schema(name: str, schemas: Any) -> None:
    for document in manifests(name):
        schemas.validate(document, KUBERNETES, strict=True)
    document["spec"]["replica"] = 2
    with pytest.raises(schemas.ValidationError):
        schemas.validate(document, KUBERNETES, strict=True)


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("schemas")
    install_package(SCHEMAS, folder, "--no-compile")
    sys.path.append(str(folder))  # Behind the installed packages.
    return importlib.import_module("kubernetes_validate")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the image has: each stage's lines, but for its FROM, are done in a folder of its own."""
    require("go")
    folder = tmp_path_factory.mktemp("image")
    stages = (DEPLOY / "Dockerfile").read_text("utf-8").split("\nFROM ")[1:]
    for stage in stages:
        workdir = folder
        for line in stage.splitlines()[1:]:
            command, _, rest = line.partition(" ")
            if command == "WORKDIR":
                (workdir := folder / rest.lstrip("/")).mkdir()
            elif command == "COPY":
                *sources, target = rest.split()
                source = folder if sources[0].startswith("--from=") else GO
                names = [name.lstrip("/") for name in sources if not name.startswith("--")]
                copy(source, names, workdir / target.lstrip("/"))
            elif command == "RUN":
                pip = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
                subprocess.run(rest, shell=True, cwd=workdir, check=True, env=pip)
    return folder


def copy(source: Path, names: list[str], target: Path) -> None:
    """As COPY does: into a folder if the target ends in one, else as the target."""
    for path in itertools.chain.from_iterable(source.glob(name) for name in names):
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copy(path, target)


class Pod:
    """A process with the arguments of the Deployment, on free ports of loopback, and with a folder of one version."""

    def __init__(self, image: Path, stack: ExitStack) -> None:
        _, *arguments = container(manifests("recommend.yaml")[0])["args"]
        own = ["-addr=127.0.0.1:0", "-metrics-addr=127.0.0.1:0"]
        (version := image / "models/12").mkdir(parents=True, exist_ok=True)
        shutil.copy(FOLDER / "golden.onnx", version / "model.onnx")
        command = [str(image / "serve"), str(image / "models"), *arguments, *own]
        environment = {"ONNXRUNTIME_LIB": str(image / "libonnxruntime.so")}
        self.process = stack.enter_context(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        stack.callback(self.process.kill)
        self.address = address_of(self.process)


class Clients:
    """Clients of a Service: each connection goes to the next live pod, and is used until the pod closes it."""

    def __init__(self, live: list[Pod]) -> None:
        self.live, self.outcomes, self.stopped = live, Counter[str](), threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(n,)) for n in range(8)]

    def ask(self, first: int) -> None:
        for turn in itertools.count(first):
            if self.stopped.is_set():
                return
            pods = self.live
            with closing(HTTPConnection(pods[turn % len(pods)].address, timeout=10)) as connection:
                self.use(connection)

    def use(self, connection: HTTPConnection) -> None:
        while not self.stopped.wait(0.005):
            try:
                connection.request("POST", "/recommend", b'{"history": ["42"]}')
                answer = connection.getresponse()
                answer.read()
            except Exception as error:  # Whatever it is, a request is lost.
                self.outcomes[repr(error)] += 1
                return
            self.outcomes[str(answer.status)] += 1
            if answer.will_close:
                return


@pytest.mark.slow
def test_a_rolling_update_loses_no_request(image: Path) -> None:
    """As Kubernetes does it with the strategy of the Deployment. Clients learn a second later that a pod is stopped."""
    with ExitStack() as stack:
        clients = Clients([Pod(image, stack) for _ in range(2)])
        for thread in clients.threads:
            thread.start()
        for old in clients.live:
            clients.live = [*clients.live, Pod(image, stack)]
            old.process.terminate()
            time.sleep(1)
            clients.live = [pod for pod in clients.live if pod is not old]
            assert old.process.wait(40) == 0
        clients.stopped.set()
        for thread in clients.threads:
            thread.join()
    assert clients.outcomes.keys() == {"200"} and clients.outcomes["200"] > 1000, clients.outcomes
