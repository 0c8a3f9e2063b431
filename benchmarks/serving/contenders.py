"""Contenders: who answers, how each is started, and the environment that a peer has for itself.

One worker with one inference thread each, all its processes on the service's core, frozen while others are
measured. Knows no measurements. A further variant of ours is a line in `CONTENDERS`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.rig import FULCRUM, HOME
from benchmarks.serving.material import Material, Ranked
from benchmarks.serving.process_tree import ProcessTree
from model.bundle import FP32
from tests.support.redis_server import free_port

__all__ = ["CONTENDERS", "Contender", "Served", "prepare", "serve"]

_PEERS = Path(__file__).with_name("peers")
_STARTED_WITHIN_S = 120.0
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "BENTOML_DO_NOT_TRACK": "True"}


@dataclass(frozen=True)
class Contender:
    """Somebody who answers `POST /v1/rank`.

    Attributes:
        what: for the reader.
        variant: ours: of the network, which the bundle is given where it lacks it.
        options: ours: of `fulcrum serve`, beside those that all have.
        peer: its file and arguments, run in its environment; None for ours.
        env: environment variables.
    """

    what: str
    variant: str = FP32
    options: tuple[str, ...] = ()
    peer: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether its answers are the standard export's to 1e-5; others are compared by their top 50."""
        return self.variant == FP32

    @property
    def environment(self) -> str | None:
        """The peer's environment, named as its file of requirements is."""
        return None if self.peer is None else self.peer[0].removeprefix("with_")


CONTENDERS: dict[str, Contender] = {
    "fulcrum": Contender("Fulcrum, fp32"),
    "fulcrum-int8": Contender("Fulcrum, int8", variant="int8"),
    "fastapi": Contender("FastAPI, `def` endpoint", peer=("with_fastapi",)),
    "fastapi-async": Contender("FastAPI, `async def` endpoint", peer=("with_fastapi", "async")),
    "litserve": Contender("LitServe", peer=("with_litserve",)),
    "bentoml": Contender("BentoML", peer=("with_bentoml",)),
    "ray": Contender(
        "Ray Serve",
        peer=("with_ray",),
        env={
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_HAPROXY_NBTHREAD": "1",
            "RAY_AUTH_MODE": "disabled",
        },
    ),
}


@dataclass
class Served:
    """A contender that answers.

    Attributes:
        name: in `CONTENDERS`.
        contender: who.
        url: where.
        tree: its processes.
        startup_s: from its start to its first ranking.
    """

    name: str
    contender: Contender
    url: str
    tree: ProcessTree
    startup_s: float

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The machine is its own."""
        self.tree.thaw()
        try:
            yield
        finally:
            self.tree.freeze()


def prepare(name: str) -> None:
    """Make a peer's environment, where it is not there as its requirements say."""
    environment = CONTENDERS[name].environment
    if environment is None:
        return
    requirements, folder = _PEERS / f"requirements-{environment}.txt", HOME / "venvs" / environment
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    stamp = folder / "made-of"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    words = ("install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", str(requirements))
    made = subprocess.run([str(folder / "bin" / "pip"), *words], capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"{name}: its packages could not be installed into {folder}:\n{made.stderr[-2000:]}")
    stamp.write_text(wanted)


@contextmanager
def serve(
    name: str, contender: Contender, material: Material, core: int, features: str | None = None
) -> Iterator[Served]:
    """Start it on this core and wait for its first ranking.

    Args:
        name: for its log and for messages.
        contender: who.
        material: what it serves.
        core: for all its processes.
        features: Fulcrum's feature store, where it is not the folder.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    folder = HOME / "contenders"
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    if contender.peer is None:
        command = [
            *(FULCRUM, "serve", "--bundle", str(material.bundle.path), "--port", str(port)),
            *("--features", features or str(material.store), "--fusion", str(material.fusion)),
            *("--workers", "1", "--variant", contender.variant, *contender.options),
        ]
        env, cwd = {"FULCRUM_THREADS": "1", **contender.env}, Path.cwd()
    else:
        settings = folder / f"{name}.json"
        ranking = material.peer_settings(threads=1)
        settings.write_text(json.dumps({"ranking": ranking, "host": "127.0.0.1", "port": port}))
        began = time.perf_counter()
        command = _peer_command(contender, port)
        env, cwd = {"PEER_SETTINGS": str(settings.resolve()), **_QUIET, **contender.env}, _PEERS
    tree = ProcessTree(command, {core}, env, cwd, folder / f"{name}.log")
    try:
        _await_ranking(name, tree, url, material)
        yield Served(name, contender, url, tree, time.perf_counter() - began)
    finally:
        tree.stop()


def _peer_command(contender: Contender, port: int) -> list[str]:
    assert contender.peer is not None
    assert contender.environment is not None
    file, *arguments = contender.peer
    binaries = (HOME / "venvs" / contender.environment / "bin").absolute()
    if contender.environment == "bentoml":
        service = f"{file}:RankingService"
        return [str(binaries / "bentoml"), "serve", service, "--host", "127.0.0.1", "--port", str(port)]
    return [str(binaries / "python"), f"{file}.py", *arguments]


def _await_ranking(name: str, tree: ProcessTree, url: str, material: Material) -> None:
    body = material.bodies(1)[0]
    deadline = time.perf_counter() + _STARTED_WITHIN_S
    with httpx.Client(base_url=url, timeout=10) as client:
        while True:
            try:
                answer = client.post("/v1/rank", content=body, headers={"content-type": "application/json"})
                if answer.status_code == 200 and Ranked.of(answer.json()).ids:
                    return
            except httpx.TransportError:
                pass
            if tree.ended or time.perf_counter() > deadline:
                sys.exit(f"{name} did not come to answer; its output: {tree.log}")
            time.sleep(0.02)
