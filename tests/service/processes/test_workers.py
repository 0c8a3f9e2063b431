"""Several workers as one service: real processes, real signals, real HTTP."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.service_process import ServiceProcess, serving, wait_until

pytestmark = pytest.mark.slow

BODY = {"user_id": "u1", "candidate_ids": [f"v{n}" for n in range(40)], "top_k": 5}


class Load:
    """Callers that ask without a pause. One that keeps its connection does as all clients of HTTP and asks
    once more where it had been closed while idle; one with a fresh connection each time does not.
    `lost` are requests without an answer."""

    def __init__(self, url: str, callers: int = 4, fresh: bool = False) -> None:
        self._limits = httpx.Limits(max_keepalive_connections=0) if fresh else httpx.Limits()
        self._tries = (False,) if fresh else (True, False)
        self.answers: list[httpx.Response] = []
        self.lost: list[Exception] = []
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60, limits=self._limits) as http:
            while not self._stop.is_set():
                for again in self._tries:
                    try:
                        self.answers.append(http.post("/v1/rank", json=BODY))
                    except httpx.ConnectError:
                        return  # nobody listens any more
                    except httpx.TransportError as error:
                        if again:
                            continue
                        self.lost.append(error)
                    break


@pytest.fixture
def start(world, tmp_path):
    def start(**given):
        settings = {"bundle": world.bundle, "features": world.features, "workers": 2, **given}
        return serving(tmp_path / "log", **settings)

    return start


def readiness(service: ServiceProcess) -> dict:
    return httpx.get(f"{service.url}/readyz").json()


def test_a_killed_worker_is_replaced_and_takes_along_only_its_own_requests(start):
    with start(workers=3) as service, Load(service.url) as load:
        wait_until(lambda: len(load.answers) > 50)
        victim = service.workers()[1]
        before = len(load.answers)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: readiness(service)["workers"] == {"wanted": 3, "ready": 3, "replaced": 1})
        wait_until(lambda: len(load.answers) > before + 50)
        assert victim not in service.workers()
        assert load.lost == []  # what the killed one had in hand was asked again, and answered
        assert {answer.status_code for answer in load.answers} == {200}
    died = service.events("worker_died")
    assert [(event["worker"], event["reason"], event["next_in_s"]) for event in died] == [
        (1, "ended by SIGKILL", 0.0)
    ]


@pytest.mark.parametrize(
    ("workers", "sent", "fresh"),
    [(1, signal.SIGTERM, True), (2, signal.SIGTERM, True), (2, signal.SIGINT, False)],
)
def test_a_signal_to_stop_loses_no_accepted_request(start, workers, sent, fresh):
    with start(workers=workers) as service:
        with Load(service.url, callers=6, fresh=fresh) as load:
            wait_until(lambda: len(load.answers) > 50)
            children = service.workers()
            service.process.send_signal(sent)
            code = service.process.wait(60)
        assert load.lost == []
        assert {answer.status_code for answer in load.answers} == {200}
        assert code in ({0} if workers > 1 else {0, -sent})
        for pid in children:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def test_slow_requests_are_finished_before_the_end(start):
    asked = {"user_id": "u1", "candidate_ids": [f"x{n}" for n in range(5_000)], "top_k": 5_000}
    body = json.dumps(asked).encode()
    with start(max_queue_wait_ms=60_000) as service:
        url = httpx.URL(service.url)
        callers = [http.client.HTTPConnection(url.host, url.port, timeout=60) for _ in range(4)]
        for caller in callers:
            # Connected and sent, whether or not a worker has taken it yet.
            caller.request("POST", "/v1/rank", body, {"content-type": "application/json"})
        service.process.send_signal(signal.SIGTERM)
        answers = [caller.getresponse() for caller in callers]
        found = [(answer.status, len(json.loads(answer.read())["items"])) for answer in answers]
        for caller in callers:
            caller.close()
    assert found == [(200, 5_000)] * 4


def test_metrics_are_the_sum_over_workers_and_survive_them(start):
    def counted(service: ServiceProcess) -> float:
        text = httpx.get(f"{service.url}/metrics").text
        found = re.search(r'fulcrum_requests_total\{route="/v1/rank",status="200"\} (\S+)', text)
        return float(found[1]) if found else 0.0

    with start(workers=3) as service:
        # A connection each: any worker may take it.
        with httpx.Client(limits=httpx.Limits(max_keepalive_connections=0)) as http:
            for _ in range(60):
                assert http.post(f"{service.url}/v1/rank", json=BODY).status_code == 200
        assert counted(service) == 60.0
        text = httpx.get(f"{service.url}/metrics").text
        assert "fulcrum_rank_candidates_count 60.0" in text
        assert "fulcrum_rank_candidates_sum 2400.0" in text
        assert "fulcrum_rank_inside 0.0" in text
        for pid in service.workers():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: readiness(service)["workers"] == {"wanted": 3, "ready": 3, "replaced": 3})
        assert counted(service) == 60.0
        httpx.post(f"{service.url}/v1/rank", json=BODY)
        assert counted(service) == 61.0
        text = httpx.get(f"{service.url}/metrics").text
        assert "fulcrum_workers_replaced_total 3.0" in text
        assert re.search(r'fulcrum_active_bundle\{version="sha256:\w+"\} 3\.0', text)


def test_all_workers_take_a_fusion_edit(start, fusion_config, tmp_path):
    file = tmp_path / "fusion.yaml"
    file.write_text(yaml.safe_dump(fusion_config))
    with start(fusion=file, workers=3) as service:
        before = readiness(service)["fusion"]
        file.write_text(yaml.safe_dump({"schema_version": 1, "scenes": {"default": {"tasks": {}}}}))
        fusions = wait_until(
            lambda: (found := readiness(service)["fusions"]) and before not in found and found
        )
        assert list(fusions.values()) == [3]


def test_a_replacement_starts_with_the_last_good_config_while_the_file_is_bad(start, fusion_config, tmp_path):
    file = tmp_path / "fusion.yaml"
    file.write_text(yaml.safe_dump(fusion_config))
    with start(fusion=file) as service:
        version = readiness(service)["fusion"]
        file.write_text("scenes: [")
        wait_until(lambda: "fulcrum_fusion_rejected 2.0" in httpx.get(f"{service.url}/metrics").text)
        os.kill(service.workers()[0], signal.SIGKILL)
        wait_until(lambda: readiness(service)["workers"]["replaced"] == 1)
        wait_until(lambda: readiness(service)["fusions"] == {version: 2})


def test_a_run_directory_that_is_cleaned_ends_and_blinds_nothing(start, fusion_config, tmp_path):
    file, temporary = tmp_path / "fusion.yaml", tmp_path / "tmp"
    file.write_text(yaml.safe_dump(fusion_config))
    temporary.mkdir()
    ranked = 'fulcrum_requests_total{{route="/v1/rank",status="200"}} {}.0'
    with start(fusion=file, env={"TMPDIR": str(temporary)}) as service:
        version = readiness(service)["fusion"]
        httpx.post(f"{service.url}/v1/rank", json=BODY)
        wait_until(lambda: ranked.format(1) in httpx.get(f"{service.url}/metrics").text)
        assert list(temporary.iterdir())
        shutil.rmtree(temporary)
        file.write_text("scenes: [")  # a replacement takes the last good config, which lies in no folder
        os.kill(service.workers()[0], signal.SIGKILL)
        wait_until(lambda: readiness(service)["workers"] == {"wanted": 2, "ready": 2, "replaced": 1})
        assert httpx.post(f"{service.url}/v1/rank", json=BODY).status_code == 200
        wait_until(lambda: ranked.format(2) in httpx.get(f"{service.url}/metrics").text)
        assert "fulcrum_workers_ready 2.0" in httpx.get(f"{service.url}/metrics").text
        assert readiness(service)["fusions"] == {version: 2}
        assert service.stop() == 0


def test_without_a_run_directory_the_service_goes_on(start, tmp_path):
    nowhere = "import tempfile\ndef mkdtemp(*_, **__): raise OSError(28, 'No space left on device')\n"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(nowhere + "tempfile.mkdtemp = mkdtemp\n")
    with start(env={"PYTHONPATH": str(tmp_path / "site")}) as service:
        assert "No space left" in service.events("no_run_directory")[0]["error"]
        assert readiness(service)["workers"] == {"wanted": 2, "ready": 2, "replaced": 0}


def test_a_worker_that_cannot_start_is_reported_and_does_not_spin(start, world, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(world.bundle, bundle)
    with start(bundle=bundle) as service:
        network = bundle / "network.onnx"
        content = network.read_bytes()
        network.rename(bundle / "away")
        time.sleep(1.1)
        began = time.monotonic()
        os.kill(service.workers()[0], signal.SIGKILL)
        wait_until(lambda: len(service.events("worker_died")) >= 2)
        time.sleep(0.5)
        died = service.events("worker_died")
        assert 2 <= len(died) <= 2 + time.monotonic() - began
        assert "network.onnx is missing" in died[1]["reason"]
        assert died[1]["next_in_s"] == 1.0
        assert readiness(service)["workers"]["ready"] == 1
        assert httpx.post(f"{service.url}/v1/rank", json=BODY).status_code == 200
        network.write_bytes(content)
        (bundle / "away").unlink()
        wait_until(lambda: readiness(service)["workers"]["ready"] == 2)


def test_nothing_listens_until_a_worker_can_answer_and_a_failed_start_is_one_error(world, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        pytest.raises(AssertionError, match=r"is not a bundle"),
        serving(tmp_path / "log", bundle=tmp_path, features=world.features, workers=3, port=port),
    ):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert (
        "Traceback" in (tmp_path / "log").read_text()
    )  # of the program, which the command line turns into a line
    assert (tmp_path / "log").read_text().count("is not a bundle") == 1


def test_workers_end_when_their_supervisor_is_killed(start):
    with start() as service:
        children = service.workers()
        service.process.kill()
        service.process.wait()
        for pid in children:
            wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists())


LOADS_FOR_EVER = """
import os, socket, sys, time
from service.processes.workers import supervise

def work(fleet, ready):
    os.write(1, b"%d\\n" % os.getpid())  # whole: print may write number and line end apart
    time.sleep(600)

supervise(2, socket.create_server(("127.0.0.1", 0)), work, print, 1.0)
"""


def test_workers_that_still_load_end_when_their_supervisor_is_killed():
    words = [sys.executable, "-c", LOADS_FOR_EVER]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as supervisor:
        children = [int(supervisor.stdout.readline()) for _ in range(2)]
        supervisor.kill()
        supervisor.wait()
    for pid in children:
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists())


def test_no_worker_is_left_without_work(start):
    with start(workers=2) as service, Load(service.url, callers=8) as load:
        wait_until(lambda: len(load.answers) > 200, within_s=120.0)
        used = [cpu_s(pid) for pid in service.workers()]
    assert min(used) > 0.1 * max(used)
    assert Counter(answer.status_code for answer in load.answers).keys() == {200}


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
