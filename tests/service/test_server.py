"""The server process: it listens once everything is proven, or says in one line why not."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from model.errors import FulcrumError
from service.server import drain_on_hangup, run
from service.settings import load_settings

REPOSITORY = Path(__file__).parents[2]
PROGRAM = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests may ignore it
from service.server import run
from service.settings import load_settings
run(load_settings(bundle=sys.argv[1], features=sys.argv[2], port=0, threads=1))
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_says_where_it_listens_serves_and_ends_on_a_signal(world, end):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(world.bundle), str(world.features)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    greeting = process.stdout.readline()
    url = greeting.split()[-1]
    assert greeting == f"Fulcrum serves tiny-mlp on {url}\n"
    answer = httpx.post(f"{url}/v1/rank", json={"user_id": "u1", "candidate_ids": ["v1"]})
    assert answer.status_code == 200
    process.send_signal(end)
    _, logged = process.communicate(timeout=120)
    events = [json.loads(line) for line in logged.splitlines()]
    assert process.returncode in {0, -signal.SIGTERM}
    assert [event["event"] for event in events] == ["serving"]
    assert events[0]["url"] == url


@pytest.fixture
def hangup():
    before = signal.getsignal(signal.SIGHUP)
    yield signal.SIGHUP
    signal.signal(signal.SIGHUP, before)


def test_a_hangup_is_a_wish_to_end(hangup, monkeypatch):
    signal.signal(hangup, signal.SIG_DFL)
    drain_on_hangup()
    raised = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    signal.getsignal(hangup)(hangup, None)
    assert raised == [signal.SIGTERM]


def test_a_hangup_that_is_ignored_stays_so(hangup):
    """As `nohup fulcrum serve` starts it."""
    signal.signal(hangup, signal.SIG_IGN)
    drain_on_hangup()
    assert signal.getsignal(hangup) == signal.SIG_IGN


def settings(world, **given):
    return load_settings(**{"bundle": world.bundle, "features": str(world.features), "threads": 1, **given})


def test_a_damaged_bundle_is_refused(world, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(world.bundle, bundle)
    network = bytearray((bundle / "network.onnx").read_bytes())
    network[-5] ^= 1
    (bundle / "network.onnx").write_bytes(network)
    with pytest.raises(FulcrumError, match=r"network\.onnx is damaged"):
        run(settings(world, bundle=bundle))


def test_a_folder_that_is_no_bundle_is_refused(world, tmp_path):
    with pytest.raises(FulcrumError, match="is not a bundle"):
        run(settings(world, bundle=tmp_path))


def test_a_store_of_no_such_encoder_is_refused(world, tmp_path):
    with pytest.raises(FulcrumError, match="fulcrum publish"):
        run(settings(world, features=str(tmp_path)))


def test_a_bad_fusion_file_is_refused(world, tmp_path):
    file = tmp_path / "fusion.yaml"
    file.write_text("schema_version: 1\nscenes: {default: {tasks: {likes: {weight: 1}}}}")
    with pytest.raises(FulcrumError, match=r"unknown task 'likes'.*the bundle has vtr, vcr, shr, cmr"):
        run(settings(world, fusion=file))


def test_a_taken_port_is_refused(world):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FulcrumError, match=f"cannot listen on 127.0.0.1 port {port}"):
            run(settings(world, port=port))
