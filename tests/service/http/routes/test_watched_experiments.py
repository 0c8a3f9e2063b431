"""Experiments of a real service, watched: traffic, feedback and the controller, all over HTTP."""

from __future__ import annotations

import time

import orjson
import pytest

from model.client import send_feedback
from model.events import EventFolder
from model.events.exposures import read_segment

TOKEN = "horse"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
PATCH = {"scenes": {"default": {"tasks": {"vtr": {"weight": 3.0}}}}}
TERMS = {
    "primary": "is_click",
    "guardrails": [{"metric": "is_click"}, {"metric": "failed", "harm": "rises"}],
    "days": 1,
    "planned_error": 0.05,
}


@pytest.fixture
def site(serve, watched, tmp_path, monkeypatch):
    monkeypatch.setenv("FULCRUM_TOKEN", TOKEN)
    settings = {"events": tmp_path / "events", "control": tmp_path / "control.sqlite"}
    with serve(bundle=watched.bundle, admin_token=TOKEN, **settings) as served:
        yield served


def change(http, path, **body):
    answer = http.post(path, json=body, headers=ADMIN)
    assert answer.is_success, answer.text
    return answer.json()


def watch(called, site, tmp_path, *more, status=0):
    """One look, as cron takes it."""
    url, events = str(site.http.base_url), tmp_path / "events"
    code, out, err = called("watch", "--url", url, "--events", events, "--once", "--json", *more)
    assert code == status, err
    return orjson.loads(out)


def test_a_harmful_arm_is_rolled_back_over_http(site, called, tmp_path):
    http = site.http
    change(http, "/v1/layers", name="fusion", salt="sea")
    arms = [{"name": "old", "share": 5_000}, {"name": "new", "share": 5_000, "patch": PATCH}]
    body = {"id": "test", "layer": "fusion", "arms": arms, "size": 10_000, "ramp": 9_999}
    made = change(http, "/v1/experiments", **body, terms=TERMS, ramps=[{"to": 10_000, "hours": 0}])
    one = change(http, "/v1/experiments/test/start", if_edition=made["edition"], why="a test")
    first = watch(called, site, tmp_path, status=1)  # before the first answer, there are no events
    assert (first["looks"], list(first["unseen"])) == ({}, ["test"])

    deadline = time.monotonic() + 30
    while http.get("/v1/experiments/test").json()["waits"] is not None:
        assert time.monotonic() < deadline, "arms are not served"
        time.sleep(0.05)
    clicks = []
    for number in range(120):
        answer = site.rank(user_id=f"visitor-{number}", candidate_ids=["v1", "v2", "v3"])
        (label,) = answer["fusion"]["experiments"]
        if label == "fusion/test:old":
            click = {"exposure_id": answer["exposure_id"], "item_id": answer["items"][0]["id"]}
            now_ms = time.time_ns() // 1_000_000
            clicks.append(
                {**click, "event_id": str(number), "kind": "is_click", "value": True, "time_ms": now_ms}
            )
    assert send_feedback(str(http.base_url), clicks)["accepted"] == len(clicks)
    deadline = time.monotonic() + 30
    while _written(tmp_path / "events") < 120:
        assert time.monotonic() < deadline, "exposures were not written"
        time.sleep(0.05)

    dry = watch(called, site, tmp_path, "--dry-run", "--work", tmp_path / "dry")
    assert dry["actions"]["test"]["action"] == "stop"
    assert http.get("/v1/experiments/test").json()["state"] == "running"

    found = watch(called, site, tmp_path)
    assert found["problems"] == []
    assert sum(found["looks"]["test"]["units"].values()) == 120
    assert found["actions"]["test"]["action"] == "stop"
    report = http.get("/v1/experiments/test").json()
    assert (report["state"], report["edition"]) == ("stopped", one["edition"] + 1)
    assert report["outcome"]["verdict"] == "worse"
    assert report["look"]["guardrails"]["is_click"]["new"]["alarm"]
    event = http.get("/v1/audit", headers=ADMIN).json()["events"][0]
    assert (event["action"], event["actor"]) == ("experiment_stopped", "admin")
    assert "guardrail is_click" in event["why"]
    assert watch(called, site, tmp_path)["actions"] == {}


def _written(events):
    files = EventFolder(events).exposures.rglob("*.arrow")
    return sum(rows.num_rows for path in files for rows in read_segment(path))
