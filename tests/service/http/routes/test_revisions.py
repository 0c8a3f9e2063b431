"""Revisions over HTTP: proposed, activated, scheduled, rolled back; who may, and what answers name."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from service.contract.answers import FusionReport, Readiness
from service.contract.control import (
    ActivationReport,
    ActorReport,
    AuditReport,
    RevisionList,
    RevisionReport,
)
from tests.support.bundle_variants import write_variant
from tests.support.service_process import serving, wait_until

TOKEN = "correct horse"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
IDS = [f"v{n}" for n in range(30)]
BODY = {"user_id": "u1", "candidate_ids": IDS, "top_k": 30}


def config(vtr: float, **more: Any) -> dict[str, Any]:
    scene = {"tasks": {"vtr": {"weight": vtr}, **more}}
    return {"schema_version": 1, "scenes": {"default": scene}}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def propose(http: httpx.Client, vtr: float, headers: Any = ADMIN, **more: Any) -> httpx.Response:
    return http.post("/v1/fusion/revisions", json={"config": config(vtr), **more}, headers=headers)


def activate(
    http: httpx.Client, number: int, if_active: int, headers: Any = ADMIN, **more: Any
) -> httpx.Response:
    body = {"if_active": if_active, "why": "a test", **more}
    return http.post(f"/v1/fusion/revisions/{number}/activate", json=body, headers=headers)


def rollback(http: httpx.Client, if_active: int) -> httpx.Response:
    return http.post("/v1/fusion/rollback", json={"if_active": if_active, "why": "bad"}, headers=ADMIN)


def named(http: httpx.Client) -> tuple[int, str]:
    """What an answer says of the fusion."""
    fusion = http.post("/v1/rank", json=BODY).json()["fusion"]
    return fusion["revision"], fusion["version"]


@pytest.fixture(scope="module")
def site(serve, tmp_path_factory):
    folder = tmp_path_factory.mktemp("control")
    actors = [
        {"name": name, "scopes": scopes, "sha256": hashlib.sha256(name.encode()).hexdigest()}
        for name, scopes in (("reader", ["read"]), ("author", ["read", "propose"]))
    ]
    tokens = folder / "tokens.yaml"
    tokens.write_text(yaml.safe_dump({"actors": actors}))
    with serve(control=folder / "control.sqlite", tokens=tokens, admin_token=TOKEN) as served:
        yield served.http


def test_a_revision_is_proposed_activated_and_rolled_back_and_answers_name_it(site):
    first = site.get("/v1/fusion/revisions").json()
    RevisionList.model_validate(first)
    active = first["active"]
    made = propose(site, 2.0, bearer("author"), note="more views", evidence={"estimate": 0.01})
    assert made.status_code == 201
    revision = RevisionReport.model_validate(made.json())
    assert (revision.author, revision.note, revision.parent, revision.unfit) == (
        "author",
        "more views",
        active,
        None,
    )
    assert any("vtr" in line for line in revision.summary)
    assert named(site)[0] == active
    done = activate(site, revision.revision, active)
    ActivationReport.model_validate(done.json())
    assert done.json() == {"active": revision.revision, "before": active, "scheduled": None, "paused": []}
    assert named(site) == (revision.revision, revision.version)
    report = site.get("/v1/fusion").json()
    FusionReport.model_validate(report)
    assert (report["revision"], report["version"]) == (revision.revision, revision.version)
    ready = site.get("/readyz").json()
    Readiness.model_validate(ready)
    assert (ready["revisions"], ready["control"]) == ({str(revision.revision): 1}, "followed")
    assert rollback(site, revision.revision).json()["active"] == active
    assert named(site)[0] == active
    events = AuditReport.model_validate(site.get("/v1/audit?limit=3", headers=bearer("reader")).json()).events
    assert [(one.actor, one.action) for one in events] == [
        ("admin", "revision_rolled_back"),
        ("admin", "revision_activated"),
        ("author", "revision_proposed"),
    ]
    whole = site.get(f"/v1/fusion/revisions/{revision.revision}").json()
    assert whole["evidence"] == {"estimate": 0.01}
    assert whole["config"]["scenes"]["default"]["tasks"]["vtr"]["weight"] == 2.0


def test_each_may_do_what_the_token_says(site):
    active = site.get("/v1/fusion/revisions").json()["active"]
    assert propose(site, 4.0, {}).status_code == 401
    assert propose(site, 4.0, bearer("nobody")).status_code == 401
    refused = propose(site, 4.0, bearer("reader"))
    assert (refused.status_code, "needs the scope propose; reader has read" in refused.text) == (403, True)
    made = propose(site, 4.0, bearer("author")).json()["revision"]
    assert activate(site, made, active, bearer("author")).status_code == 403
    assert site.get("/v1/audit").status_code == 401
    assert site.get("/v1/actor", headers=bearer("nobody")).status_code == 401
    who = [site.get("/v1/actor", headers=headers).json() for headers in ({}, bearer("author"), ADMIN)]
    for one in who:
        ActorReport.model_validate(one)
    assert [one["actor"] for one in who] == [None, "author", "admin"]
    assert who[1]["scopes"] == ["propose", "read"]


def test_what_cannot_be_done_says_why_and_changes_nothing(site):
    active = site.get("/v1/fusion/revisions").json()["active"]
    before = named(site)
    unfit = propose(site, 5.0)
    lacking = site.post(
        "/v1/fusion/revisions", json={"config": config(1.0, likes={"weight": 1.0})}, headers=ADMIN
    ).json()
    assert "unknown task 'likes'" in lacking["unfit"]
    refusals = {
        422: [
            activate(site, lacking["revision"], active),
            propose(site, float("1e9") * 0 + 1, config={"schema_version": 1}),
            site.post("/v1/fusion/revisions", content=b'{"config": {}, "config": {}}', headers=ADMIN),
            site.post("/v1/fusion/rollback", json={"why": "x"}, headers=ADMIN),
            site.post("/v1/fusion/rollback", json={"why": " ", "if_active": active}, headers=ADMIN),
            site.get("/v1/fusion/revisions?limit=0"),
            site.get("/v1/fusion/revisions/first"),
            activate(site, unfit.json()["revision"], active, bundle="sha256:"),
            propose(site, 6.0, evidence={"x": "y" * 300_000}),
            propose(site, 6.0, networks={"0" * 64: "AAAA"}),
            propose(site, 6.0, networks={hashlib.sha256(b"x").hexdigest(): "eA=="}),
        ],
        409: [
            activate(site, unfit.json()["revision"], active + 100),
            activate(site, active, active),
            rollback(site, active + 100),
            propose(site, 5.0, parent=unfit.json()["revision"]),
            activate(site, unfit.json()["revision"], active, at_ms=1),
            activate(site, unfit.json()["revision"], active, bundle="sha256:00"),
            site.post("/v1/fusion/schedule/cancel", json={"why": "x"}, headers=ADMIN),
        ],
        404: [
            activate(site, 9_999, active),
            propose(site, 7.0, parent=9_999),
            site.get("/v1/fusion/revisions/9999"),
            site.get(f"/v1/fusion/networks/{'0' * 64}"),
        ],
    }
    for status, answers in refusals.items():
        for answer in answers:
            assert (answer.status_code, answer.headers["content-type"]) == (
                status,
                "application/problem+json",
            ), answer.text
    assert "scenes" in refusals[422][1].json()["errors"][0]["message"]
    assert named(site) == before


def test_pages_of_the_history_meet_without_a_gap(site):
    for weight in (11.0, 12.0, 13.0):
        propose(site, weight)
    numbers, before = [], None
    while True:
        asked = {"limit": 2, **({"before": before} if before else {})}
        page = site.get("/v1/fusion/revisions", params=asked)
        numbers += [one["revision"] for one in page.json()["revisions"]]
        if not page.json()["more"]:
            break
        before = numbers[-1]
    assert numbers == list(range(numbers[0], 0, -1))


def test_what_is_scheduled_comes_by_itself(site):
    active = site.get("/v1/fusion/revisions").json()["active"]
    number = propose(site, 21.0).json()["revision"]
    at_ms = int(time.time() * 1000) + 3_600_000
    later = activate(site, number, active, at_ms=at_ms).json()["scheduled"]
    wait_until(lambda: site.get("/v1/fusion").json()["schedule"] == later)
    at_ms = int(time.time() * 1000) + 600
    done = activate(site, number, active, at_ms=at_ms).json()
    assert (done["active"], done["scheduled"]["revision"], done["scheduled"]["actor"]) == (
        active,
        number,
        "admin",
    )
    assert named(site)[0] == active
    wait_until(lambda: named(site)[0] == number)
    wait_until(lambda: site.get("/v1/fusion").json()["schedule"] is None)
    assert site.get("/v1/fusion/revisions").json()["schedule"] is None


def test_without_a_control_store_there_are_no_revisions(serve):
    with serve(admin_token=TOKEN) as served:
        refused = propose(served.http, 2.0)
        assert (refused.status_code, "--control" in refused.json()["detail"]) == (404, True)
        assert named(served.http)[0] is None
        assert served.http.get("/readyz").json()["control"] == "off"


def test_edits_of_a_file_beside_the_store_become_revisions(serve, tmp_path):
    with serve(config(1.0), control=tmp_path / "c.sqlite", admin_token=TOKEN) as served:
        http, file = served.http, served.fusion
        assert named(http)[0] == 1
        file.write_text(yaml.safe_dump(config(2.0)))
        wait_until(lambda: named(http)[0] == 2)
        number = propose(http, 3.0).json()["revision"]
        activate(http, number, 2)
        file.write_text(yaml.safe_dump(config(4.0)))
        wait_until(lambda: http.get("/v1/fusion/revisions").json()["revisions"][0]["revision"] == 4)
        assert named(http)[0] == number
        file.write_text("scenes: [")
        wait_until(lambda: "not valid YAML" in str(http.get("/v1/fusion").json()["rejected"]))
        assert named(http)[0] == number


@pytest.mark.slow
def test_workers_follow_within_a_second_and_a_pair_comes_together(world, tmp_path):
    """Two workers; a revision that needs a bundle comes into force with it, and goes back with it."""
    models = tmp_path / "models"
    write_variant(world.bundle, models / "old", 1, "2026-02-01T00:00:00Z")
    given = {
        "models": models,
        "features": world.features,
        "workers": 2,
        "control": tmp_path / "control.sqlite",
    }
    with (
        serving(tmp_path / "log", {"FULCRUM_ADMIN_TOKEN": TOKEN}, **given) as service,
        httpx.Client(base_url=service.url, timeout=60) as http,
    ):
        old = http.get("/v1/models").json()["active"]
        kept = http.post(f"/v1/models/{old}/activate", headers=ADMIN)
        assert kept.status_code == 200
        number = propose(http, 2.0).json()["revision"]
        activate(http, number, 1)
        wait_until(lambda: http.get("/readyz").json()["revisions"] == {str(number): 2})
        new = write_variant(world.bundle, models / "new", 2, "2026-03-01T00:00:00Z")
        wait_until(lambda: len(http.get("/v1/models").json()["models"]) == 2)
        paired = propose(http, 3.0).json()["revision"]
        done = activate(http, paired, number, bundle=new[:20])
        assert done.status_code == 200, done.text
        seen = set()

        def both() -> bool:
            answer = http.post("/v1/rank", json=BODY).json()
            seen.add((answer["model"]["version"], answer["fusion"]["revision"]))
            ready = http.get("/readyz").json()
            return ready["revisions"] == {str(paired): 2} and ready["bundles"] == {new: 2}

        wait_until(both)
        assert seen <= {(old, number), (new, paired)}
        listed = http.get("/v1/fusion/revisions").json()
        assert (listed["bundle"], listed["before"], listed["before_bundle"]) == (new, number, old)
        assert rollback(http, paired).json()["active"] == number
        wait_until(lambda: http.get("/readyz").json()["bundles"] == {old: 2})
        assert http.get("/readyz").json()["revisions"] == {str(number): 2}
        shutil.rmtree(Path(models) / "new")
    with serving(tmp_path / "log2", **given) as again:
        found = httpx.post(f"{again.url}/v1/rank", json=BODY).json()
        assert (found["model"]["version"], found["fusion"]["revision"]) == (old, number)
