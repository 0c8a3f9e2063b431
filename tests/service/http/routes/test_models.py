"""Bundles over HTTP: what is at hand, who may change it, and what a change does to the answers under way."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.redis_url import RedisUrl
from service.contract.answers import ModelsReport
from service.control.state.file import FileState
from service.control.state.redis import RedisState
from tests.support.bundle_variants import write_variant
from tests.support.redis_server import redis_process, redis_server
from tests.support.service_process import serving, wait_until

__all__ = ["redis_process", "redis_server"]

TOKEN = "correct horse"
BEARER = {"authorization": f"Bearer {TOKEN}"}
IDS = [f"v{n}" for n in range(30)]


@pytest.fixture(scope="module")
def prepared(world, tmp_path_factory) -> Path:
    """Two bundles, the newer called `new`."""
    folder = tmp_path_factory.mktemp("prepared")
    write_variant(world.bundle, folder / "old", 1, "2026-02-01T00:00:00Z")
    write_variant(world.bundle, folder / "new", 2, "2026-03-01T00:00:00Z")
    return folder


@pytest.fixture
def models(prepared, tmp_path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "models"))


def report(http: httpx.Client) -> dict[str, dict[str, Any]]:
    """By folder."""
    found = http.get("/v1/models").json()
    ModelsReport.model_validate(found)
    return {Path(model["path"]).name: model for model in found["models"]}


def activate(http: httpx.Client, version: str, headers: dict[str, str] = BEARER) -> httpx.Response:
    return http.post(f"/v1/models/{version}/activate", headers=headers)


@pytest.mark.slow
def test_the_report_says_what_is_there_and_what_became_of_it(serve, world, models):
    write_variant(world.bundle, models / "bad", 3, "2026-04-01T00:00:00Z", flaw="corrupt")
    (models / "worse").mkdir()
    (models / "worse" / "manifest.json").write_text("{")
    with serve(bundle=None, models=models, admin_token=TOKEN) as served:
        found = report(served.http)
        assert [(name, model["status"]) for name, model in found.items()] == [
            ("bad", "refused"),
            ("new", "active"),
            ("old", "available"),
            ("worse", "refused"),
        ]
        assert "network.onnx is damaged" in found["bad"]["reason"]
        assert "manifest.sha256 is missing" in found["worse"]["reason"]
        assert found["worse"]["version"] is None
        assert (found["new"]["workers"], found["new"]["tasks"]) == (1, ["vtr", "vcr", "shr", "cmr"])
        assert "fulcrum_bundles_refused 1.0" in served.http.get("/metrics").text

        old, new = found["old"]["version"], found["new"]["version"]
        answer = activate(served.http, old)
        ModelsReport.model_validate(answer.json())
        assert (answer.status_code, answer.json()["active"], answer.json()["desired"]) == (200, old, old)
        assert served.rank(candidate_ids=IDS)["model"]["version"] == old
        assert {name: model["status"] for name, model in report(served.http).items()} == {
            "bad": "refused",
            "new": "previous",
            "old": "active",
            "worse": "refused",
        }
        text = served.http.get("/metrics").text
        assert f'fulcrum_active_bundle{{version="{old}"}} 1.0' in text
        assert new not in text
        assert 'fulcrum_bundle_changes_total{outcome="activated"} 1.0' in text


@pytest.mark.slow
def test_who_may_activate_what(serve, models):
    with serve(bundle=None, models=models, admin_token=TOKEN) as served:
        found = report(served.http)
        version = found["old"]["version"]
        for headers in (
            {},
            {"authorization": TOKEN},
            {"authorization": "Bearer"},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {TOKEN}"},
            {"authorization": f"Bearer {TOKEN}x"},
            {"authorization": b"Bearer \xe9\xff"},
        ):
            refused = activate(served.http, version, headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")
            assert refused.headers["content-type"] == "application/problem+json"
        for wanted, status, says in (
            ("sha256:" + "0" * 64, 404, "it holds sha256:"),
            ("nonsense", 404, "no bundle 'nonsense'"),
            ("sha256:", 409, "give more of it"),
        ):
            refused = activate(served.http, wanted)
            assert (refused.status_code, says in refused.json()["detail"]) == (status, True)
        assert report(served.http)["new"]["status"] == "active"
        assert not (models / "state.json").exists()
        assert activate(served.http, version[:15], {"authorization": f"bearer  {TOKEN}"}).status_code == 200
        assert FileState(models / "state.json").read().bundle == version


@pytest.mark.slow
def test_without_a_token_nobody_changes_anything(serve, models):
    with serve(bundle=None, models=models) as served:
        refused = activate(served.http, report(served.http)["old"]["version"])
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        assert "FULCRUM_ADMIN_TOKEN" in refused.json()["detail"]


def test_a_service_of_one_bundle_reports_it_and_keeps_it(serve, world):
    with serve(admin_token=TOKEN) as served:
        found = report(served.http)
        assert [model["status"] for model in found.values()] == ["active"]
        refused = activate(served.http, world.load().version)
        assert (refused.status_code, "set models" in refused.json()["detail"]) == (409, True)


@pytest.mark.slow
def test_a_state_that_cannot_be_written_is_a_503_and_changes_nothing(serve, models, tmp_path):
    state = str(tmp_path / "absent" / "state.json")
    with serve(bundle=None, models=models, admin_token=TOKEN, state=state) as served:
        refused = activate(served.http, report(served.http)["old"]["version"])
        assert (refused.status_code, "cannot be written" in refused.json()["detail"]) == (503, True)
        assert report(served.http)["new"]["status"] == "active"


@pytest.mark.slow
@pytest.mark.long
def test_swaps_under_load_fail_no_request_and_each_answer_is_one_bundles(world, models, tmp_path):
    """Two workers; the state lies in a file; bad bundles come between."""
    body = {"user_id": "u1", "candidate_ids": IDS, "top_k": 30}
    given = {"models": models, "features": world.features, "workers": 2, "state": tmp_path / "state.json"}
    with (
        serving(tmp_path / "log", {"FULCRUM_ADMIN_TOKEN": TOKEN}, **given) as service,
        httpx.Client(base_url=service.url, timeout=60) as http,
    ):

        def runs(version: str) -> bool:
            return http.get("/readyz").json()["bundles"] == {version: 2}

        versions = [model["version"] for model in report(http).values()]
        wait_until(lambda: runs(versions[0]))
        expected = {}
        for version in reversed(versions):
            assert activate(http, version).json()["active"] == version
            wait_until(lambda version=version: runs(version))
            expected[version] = predictions(http.post("/v1/rank", json=body).json())
        assert expected[versions[0]] != expected[versions[1]]

        stop, answers = threading.Event(), []

        def ask() -> None:
            with httpx.Client(base_url=service.url, timeout=60) as own:
                while not stop.is_set():
                    answers.append(own.post("/v1/rank", json=body))

        callers = [threading.Thread(target=ask) for _ in range(3)]
        for caller in callers:
            caller.start()
        try:
            for turn in range(6):
                version = versions[turn % 2]
                assert activate(http, version).status_code == 200
                wait_until(lambda version=version: runs(version))
            for flaw in ("corrupt", "foreign", "nan"):
                bad = write_variant(world.bundle, models / flaw, 9, "2026-05-01T00:00:00Z", flaw=flaw)
                refused = wait_until(
                    lambda bad=bad: (found := activate(http, bad)).status_code != 404 and found
                )
                known = report(http)[flaw]
                assert (refused.status_code, known["status"]) == (409, "refused")
                assert refused.json()["detail"] == known["reason"]
        finally:
            stop.set()
            for caller in callers:
                caller.join()
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["model"]["version"] for answer in answers} == set(versions)
        for answer in answers:
            assert predictions(answer.json()) == expected[answer.json()["model"]["version"]]
        assert runs(versions[1])
        assert not [event for event in service.events() if event["event"] == "worker_died"]
    with serving(tmp_path / "log2", **given) as again:
        assert httpx.get(f"{again.url}/v1/models").json()["active"] == versions[1]


def test_a_pointer_in_redis_is_followed_and_its_absence_survived(world, models, tmp_path, redis_server):
    given = {"models": models, "features": world.features, "workers": 2, "state": redis_server.url}
    with (
        serving(tmp_path / "log", {"FULCRUM_ADMIN_TOKEN": TOKEN}, **given) as service,
        httpx.Client(base_url=service.url) as http,
    ):
        old, new = report(http)["old"]["version"], report(http)["new"]["version"]
        state = RedisState(RedisUrl(redis_server.url))
        state.write(state.read().model_copy(update={"bundle": old}))
        wait_until(lambda: http.get("/readyz").json()["bundles"] == {old: 2})
        redis_server.freeze()
        try:
            refused = activate(http, new)
            assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
            answer = http.post("/v1/rank", json={"user_id": "u1", "candidate_ids": IDS})
            assert answer.json()["model"]["version"] == old
            wait_until(lambda: "cannot be read" in (http.get("/v1/models").json()["problem"] or ""))
        finally:
            redis_server.thaw()
        assert activate(http, new).status_code == 200
        wait_until(lambda: http.get("/readyz").json()["bundles"] == {new: 2})
        assert state.read().bundle == new


def predictions(answer: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {item["id"]: item["predictions"] for item in answer["items"]}
