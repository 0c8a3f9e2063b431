"""Experiments over HTTP: made, started, ramped, decided; who may, who is refused, and what is hidden."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from model.client import experiments as calls
from model.client.control import Control, RefusedError, fusion
from service.contract.control import AuditReport
from service.contract.experiments import (
    DecisionReport,
    ExperimentList,
    ExperimentReport,
    ExperimentWithLooks,
    LayerList,
    LayerReport,
)
from tests.support.properties import examples

TOKEN = "correct-horse"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
PATCH = {"scenes": {"default": {"tasks": {"vtr": {"weight": 3.0}}}}}
ARMS = [{"name": "old", "share": 5_000}, {"name": "new", "share": 5_000, "patch": PATCH}]
LOOK = {
    "time_ms": 1_800_000_000_000,
    "days": 1.5,
    "mature_until_ms": 1_800_000_000_000,
    "units": {"old": 10, "new": 12},
    "metrics": {"reward": {"new": {"value": 1.5, "difference": 0.01, "low": -0.1, "high": 0.2}}},
    "guardrails": {"shares": {"new": {"ratio": 0.9, "e_value": 1.5, "alarm": False}}},
    "sample_ratio": {
        "alarm": False,
        "e_value": 0.5,
        "scene": "",
        "counts": {"old": 10},
        "expected": {"old": 11.0},
    },
    "crossed": 0,
    "verdicts": {"new": {"verdict": None, "why": "not yet"}},
    "next": "another look in 10 minutes",
}
_names = (f"e{number}" for number in itertools.count())


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def site(serve, tmp_path_factory):
    folder = tmp_path_factory.mktemp("control")
    actors = [
        {"name": name, "scopes": scopes, "sha256": hashlib.sha256(name.encode()).hexdigest()}
        for name, scopes in (("reader", ["read"]), ("author", ["propose"]), ("doer", ["activate"]))
    ]
    tokens = folder / "tokens.yaml"
    tokens.write_text(yaml.safe_dump({"actors": actors}))
    with serve(control=folder / "control.sqlite", tokens=tokens, admin_token=TOKEN) as served:
        made = post(served.http, "/v1/layers", name="fusion", salt="sea", holdout=100, why="first")
        assert made.status_code == 201, made.text
        yield served.http


def post(http: httpx.Client, path: str, headers: Any = ADMIN, **body: Any) -> httpx.Response:
    return http.post(path, json=body, headers=headers)


def create(http: httpx.Client, headers: Any = ADMIN, **more: Any) -> httpx.Response:
    body = {"id": next(_names), "layer": "fusion", "arms": ARMS, "size": 20, **more}
    return post(http, "/v1/experiments", headers, **body)


def change(http: httpx.Client, one: dict[str, Any], verb: str, headers: Any = ADMIN, **body: Any) -> Any:
    body = {"if_edition": one["edition"], "why": "a test", **body}
    return post(http, f"/v1/experiments/{one['id']}/{verb}", headers, **body)


def test_an_experiment_goes_all_the_way(site):
    made = create(
        site, note="more views", ramp=5, overrides={"u1": "new"}, when={"tab": ["1"]}, scenes=["feed"]
    )
    assert made.status_code == 201, made.text
    one = made.json()
    ExperimentReport.model_validate_json(made.content)
    assert (one["state"], one["edition"], one["author"], one["ramp"]) == ("draft", 1, "admin", 5)
    for verb, more, state in (
        ("start", {}, "running"),
        ("ramp", {"ramp": 20}, "running"),
        ("override", {"unit": "u2", "arm": "old"}, "running"),
        ("override", {"unit": "u1", "arm": None}, "running"),
        ("pause", {"outcome": {"verdict": "inconclusive"}}, "paused"),
        ("start", {}, "running"),
        ("stop", {"outcome": {"verdict": "worse", "arm": "new"}}, "stopped"),
    ):
        done = change(site, one, verb, **more)
        assert done.status_code == 200, done.text
        assert (done.json()["state"], done.json()["edition"]) == (state, one["edition"] + 1)
        one = done.json()
    assert (one["ramp"], one["overrides"], one["outcome"]["actor"]) == (20, {"u2": "old"}, "admin")
    found = site.get("/v1/experiments", headers=ADMIN)
    listed = ExperimentList.model_validate_json(found.content)
    assert listed.experiments[0].id == one["id"]
    audit = AuditReport.model_validate(site.get("/v1/audit?limit=8", headers=ADMIN).json()).events
    assert [event.action for event in audit] == [
        "experiment_stopped",
        "experiment_started",
        "experiment_paused",
        "experiment_override",
        "experiment_override",
        "experiment_ramped",
        "experiment_started",
        "experiment_created",
    ]


def test_what_is_decided_ranks_at_once_and_pauses_the_others(site):
    other, one = (change(site, create(site).json(), "start").json() for _ in range(2))
    active = site.get("/v1/fusion").json()["revision"]
    done = change(
        site, one, "decide", arm="new", if_active=active, outcome={"verdict": "better", "arm": "new"}
    )
    DecisionReport.model_validate_json(done.content)
    assert (done.json()["state"], done.json()["paused"]) == ("stopped", [other["id"]])
    now = site.get("/v1/fusion").json()
    assert now["revision"] == active + 1
    assert now["config"]["scenes"]["default"]["tasks"]["vtr"]["weight"] == 3.0
    other = site.get(f"/v1/experiments/{other['id']}").json()
    assert other["state"] == "paused"
    stale = change(site, {**other, "edition": 2}, "pause")
    assert (stale.status_code, "experiment_paused by fulcrum at 20" in stale.json()["detail"]) == (409, True)
    again = change(site, other, "decide", arm="new", if_active=active)
    assert (again.status_code, f"revision {active + 1} is active, by admin" in again.text) == (409, True)
    assert change(site, other, "decide", arm="old", if_active=active + 1).json()["state"] == "stopped"
    assert site.get("/v1/fusion").json()["revision"] == active + 1
    revisions = site.get("/v1/fusion/revisions").json()
    back = post(site, "/v1/fusion/rollback", if_active=active + 1, why="bad").json()
    assert (revisions["before"], back["active"]) == (active, active)


def test_each_may_do_what_the_token_says(site):
    one = create(site, overrides={"u1": "new"}).json()
    path = f"/v1/experiments/{one['id']}"
    for headers, shows in (({}, False), (bearer("author"), False), (bearer("reader"), True), (ADMIN, True)):
        (layer,) = LayerList.model_validate(site.get("/v1/layers", headers=headers).json()).layers
        assert layer.salt == ("sea" if shows else None)
        listed = site.get("/v1/experiments", headers=headers).json()
        assert (listed["layers"][0]["salt"] is not None) == shows
        for found in (listed["experiments"][0], site.get(path, headers=headers).json()):
            assert found["overrides"] == ({"u1": "new"} if shows else None)
    for headers, status in (
        ({}, 401),
        (bearer("nobody"), 401),
        (bearer("reader"), 403),
        (bearer("doer"), 403),
    ):
        assert create(site, headers).status_code == status
        assert post(site, "/v1/layers", headers, name="third").status_code == status
    assert create(site, bearer("author")).json()["overrides"] is None
    for verb, more in (
        ("start", {}),
        ("ramp", {"ramp": 20}),
        ("pause", {}),
        ("stop", {}),
        ("override", {"unit": "u1", "arm": None}),
        ("decide", {"arm": "new", "if_active": 1}),
        ("look", {"look": LOOK}),
    ):
        for headers, status in (({}, 401), (bearer("author"), 403)):
            assert change(site, one, verb, headers, **more).status_code == status
    assert site.get(path, headers=bearer("nobody")).status_code == 401
    done = change(site, one, "start", bearer("doer"))
    assert (done.status_code, done.json()["overrides"]) == (200, None)


def test_a_layer_draws_its_salt_and_is_there_for_good(site):
    made = post(site, "/v1/layers", name="bundles", unit="session")
    LayerReport.model_validate(made.json())
    assert (made.status_code, len(made.json()["salt"]), made.json()["free"]) == (201, 32, 10_000)
    for again in ({"name": "bundles"}, {"name": "fourth", "salt": "sea"}):
        assert post(site, "/v1/layers", **again).status_code == 409
    one = create(site, layer="bundles", size=400).json()
    layers = {layer["name"]: layer for layer in site.get("/v1/layers").json()["layers"]}
    assert layers["bundles"]["free"] == 9_600
    taken = create(site, layer="bundles", first=300, size=200)
    assert (taken.status_code, "free are 400-9999" in taken.json()["detail"]) == (409, True)
    change(site, one, "stop")


def refused(answer: httpx.Response) -> tuple[int, str]:
    """The status, and the first field that is named."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    return answer.status_code, problem.get("errors", [{"field": ""}])[0]["field"]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"arms": ARMS[:1]}, "arms"),
        ({"arms": [ARMS[0], {**ARMS[1], "share": 4_000}]}, "arms"),
        ({"arms": [ARMS[0], {**ARMS[1], "share": "5000"}]}, "arms.new.share"),
        ({"arms": [ARMS[0], {**ARMS[1], "weight": 1}]}, "arms.new.weight"),
        ({"arms": [ARMS[0], {**ARMS[1], "revision": 1}]}, "arms.new"),
        ({"arms": [ARMS[0], {**ARMS[1], "bundle": "sha256:ab"}]}, "arms.new.bundle"),
        ({"id": "a" * 65}, "id"),
        ({"id": "a b"}, "id"),
        ({"size": 0}, "size"),
        ({"size": 10_001}, "size"),
        ({"ramp": 21}, "body"),
        ({"first": 9_990}, "body"),
        ({"scenes": "feed"}, "scenes"),
        ({"when": {"video_len_s": [3]}}, "when"),
        ({"overrides": {"u1": "newer"}}, "body"),
        ({"overrides": {"u" * 5_000: "new"}}, "overrides"),
        ({"overrides": {f"u{at}": "new" for at in range(101)}}, "overrides"),
        ({"start_ms": 5, "stop_ms": 5}, "body"),
        ({"start_ms": -1}, "start_ms"),
        ({"note": "x" * 2_001}, "note"),
        ({"terms": {"primary": "reward", "days": 0, "planned_error": 0.1}}, "terms.days"),
        ({"ramps": [{"to": 5}, {"to": 4}]}, "body"),
        ({"on_better": "cheer"}, "on_better"),
        ({"state": "running"}, "state"),
        ({"when": {"weather": ["fine"]}}, "body"),
        ({"scenes": ["absent"]}, "body"),
        ({"arms": [ARMS[0], {**ARMS[1], "patch": {"scenes": {"default": {"more": 1}}}}]}, "arms"),
        ({"arms": [ARMS[0], {**ARMS[1], "patch": {"x": "y" * 33_000}}]}, "body"),
    ],
)
def test_what_is_no_experiment_names_the_field(site, more, field):
    status, named = refused(create(site, **more))
    assert (status, named.split("[")[0].split(".")[0]) == (422, field.split(".")[0])


def test_what_cannot_be_done_says_why(site):
    one = create(site).json()
    for status, answer in (
        (404, create(site, layer="absent")),
        (404, create(site, arms=[ARMS[0], {"name": "new", "share": 5_000, "revision": 999}])),
        (409, create(site, arms=[ARMS[0], {"name": "new", "share": 5_000, "bundle": "sha256:" + "0" * 64}])),
        (409, create(site, id=one["id"])),
        (404, site.get("/v1/experiments/absent")),
        (404, change(site, {"id": "absent", "edition": 1}, "start")),
        (404, post(site, "/v1/experiments/absent/look", look=LOOK)),
        (422, change(site, one, "start", more=1)),
        (422, change(site, one, "start", why=" ")),
        (422, change(site, one, "start", if_edition="1")),
        (422, change(site, one, "ramp", ramp=21)),
        (422, change(site, one, "override", unit="u1", arm="newer")),
        (422, change(site, one, "stop", outcome={"verdict": "better", "arm": "newer"})),
        (422, change(site, one, "stop", outcome={"verdict": "fine"})),
        (422, change(site, one, "decide", arm="newer", if_active=1)),
        (409, change(site, one, "pause")),
        (409, change(site, {**one, "edition": 7}, "start")),
    ):
        assert refused(answer)[0] == status, answer.text
    assert site.get(f"/v1/experiments/{one['id']}").json()["edition"] == 1


def test_looks_are_kept_and_the_newest_is_shown(site):
    one = create(site).json()
    path = f"/v1/experiments/{one['id']}"
    assert (one["look"], site.get(path).json()["looks"]) == (None, [])
    for at in range(3):
        done = post(site, f"{path}/look", look={**LOOK, "time_ms": at})
        assert (done.status_code, done.content) == (204, b"")
    found = ExperimentWithLooks.model_validate_json(site.get(path).content)
    assert [look.time_ms for look in found.looks] == [0, 1, 2]
    assert found.look == found.looks[-1]
    assert found.edition == 1
    assert site.get("/v1/experiments").json()["experiments"][0]["look"] == {**LOOK, "time_ms": 2}
    large = post(site, f"{path}/look", look={**LOOK, "next": "x" * 66_000})
    assert refused(large) == (422, "look")
    for bad in (
        {"more": 1},
        {"units": {"old": -1}},
        {"crossed": 0.5},
        {"verdicts": {"new": {"verdict": "ok"}}},
    ):
        assert refused(post(site, f"{path}/look", look={**LOOK, **bad}))[0] == 422


def test_the_client_says_all_of_it(site):
    body = {"id": next(_names), "layer": "client", "arms": ARMS, "size": 100, "ramp": 10}
    name, seen = body["id"], {"if_edition": 1, "why": "a test"}
    with Control(str(site.base_url), TOKEN) as caller:
        made = caller.send(calls.create_layer("client", unit="request", holdout=5, salt="s", why="a test"))
        assert made == {"name": "client", "unit": "request", "holdout": 5, "salt": "s", "free": 9_995}
        assert made in caller.send(calls.layers())["layers"]
        one = caller.send(calls.create(body))
        assert one in caller.send(calls.experiments())["experiments"]
        outcome = {"verdict": "inconclusive", "arm": None}
        for call in (
            calls.start(name, **seen),
            calls.ramp(name, to=20, **seen | {"if_edition": 2}),
            calls.override(name, unit="r1", arm="new", **seen | {"if_edition": 3}),
            calls.override(name, unit="r1", arm=None, **seen | {"if_edition": 4}),
            calls.pause(name, outcome=outcome, **seen | {"if_edition": 5}),
        ):
            one = caller.send(call)
        assert (one["state"], one["ramp"], one["outcome"]["verdict"]) == ("paused", 20, "inconclusive")
        assert caller.send(calls.look(name, LOOK)) == b""
        assert caller.send(calls.experiment(name))["looks"] == [LOOK]
        with pytest.raises(RefusedError, match="is of edition 6") as stale:
            caller.send(calls.stop(name, **seen))
        assert stale.value.status == 409
        active = caller.send(fusion())["revision"]
        decided = calls.decide(name, if_active=active, arm="old", **seen | {"if_edition": 6})
        assert caller.send(decided)["state"] == "stopped"


def test_without_a_control_store_there_are_no_experiments(serve):
    with serve(admin_token=TOKEN) as served:
        for answer in (
            served.http.get("/v1/experiments"),
            served.http.get("/v1/layers"),
            create(served.http),
        ):
            assert refused(answer)[0] == 404
            assert "--control" in answer.json()["detail"]


def test_the_documentation_has_the_bodies_of_all_changes(site):
    document = site.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        if "post" in operations and not path.endswith("/activate"):
            body = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
            assert body["$ref"].split("/")[-1] in document["components"]["schemas"], path
    decide = document["components"]["schemas"]["DecideRequest"]
    assert set(decide["required"]) == {"if_edition", "if_active", "arm", "why"}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.text(max_size=9)
    | st.floats(allow_nan=False, allow_infinity=False)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
VALID = {
    "create": {"id": "f", "layer": "fusion", "arms": ARMS, "size": 1, "terms": {"primary": "r", "days": 1}},
    "start": {"if_edition": 1, "why": "x"},
    "ramp": {"if_edition": 1, "why": "x", "ramp": 1},
    "pause": {"if_edition": 1, "why": "x", "outcome": {"verdict": "better", "arm": "new"}},
    "stop": {"if_edition": 1, "why": "x", "outcome": {"verdict": "better", "arm": "new"}},
    "override": {"if_edition": 1, "why": "x", "unit": "u", "arm": "new"},
    "decide": {"if_edition": 1, "why": "x", "if_active": 1, "arm": "new"},
    "look": {"look": LOOK},
    "layer": {"name": "fusion", "unit": "user", "holdout": 5, "salt": "s", "why": ""},
}


@st.composite
def bodies(draw):
    """A body that is valid but for one place, or anything."""
    verb = draw(st.sampled_from(sorted(VALID)))
    if draw(st.integers(0, 5)) == 0:
        return verb, draw(ANYTHING)

    def spoilt(value):
        if isinstance(value, dict) and value and draw(st.integers(0, 3)):
            key = draw(st.sampled_from(sorted(value)))
            return {**value, key: spoilt(value[key])}
        if isinstance(value, list) and value and draw(st.integers(0, 3)):
            at = draw(st.integers(0, len(value) - 1))
            return [*value[:at], spoilt(value[at]), *value[at + 1 :]]
        return draw(ANYTHING)

    return verb, spoilt(VALID[verb])


@examples(60)
@given(asked=bodies(), name=st.sampled_from(["fuzzed", "absent", "%00", "ü", "a%2fb", "x" * 300]))
def test_no_body_is_a_fault_of_the_service(site, asked, name):
    site.post("/v1/experiments", json={**VALID["create"], "id": "fuzzed", "terms": None}, headers=ADMIN)
    verb, body = asked
    paths = {"create": "/v1/experiments", "layer": "/v1/layers"}
    path = paths.get(verb, f"/v1/experiments/{name}/{verb}")
    answer = site.post(path, json=body, headers=ADMIN)
    assert answer.status_code in (200, 201, 204, 404, 409, 422), answer.text
    assert site.get("/v1/experiments").status_code == 200
