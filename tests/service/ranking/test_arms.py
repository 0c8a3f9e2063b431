"""Arms over real HTTP: each answer is the one of its arm's bundle and config alone, to the bit."""

from __future__ import annotations

import copy
import time
from typing import Any

import httpx
import pytest

from model.events import EventFolder
from model.events.pseudonym import pseudonym
from service.contract.answers import ModelsReport, RankResponse, Readiness
from service.control.state.opening import open_control
from service.preview.recording import record_of
from service.preview.sample import Record
from tests.support.bundle_variants import write_edited, write_variant
from tests.support.exposures import exposure_rows
from tests.support.running_experiments import halves, set_experiments
from tests.support.service_process import serving, wait_until

pytestmark = pytest.mark.slow

IDS = [f"v{n}" for n in range(120)]
KEY, SALT = "correct horse battery", "staple"
LIFT = {"scenes": {"default": {"tasks": {"vtr": {"weight": 3.0}}}}}


class Store:
    """The control store of a service, changed as a colleague would."""

    def __init__(self, path) -> None:
        self._store = open_control(path)

    def set(self, *experiments: dict[str, Any], **layers: str) -> None:
        """Have these experiments, of layers by name and unit."""
        made = [{"name": name, "unit": unit} for name, unit in layers.items()]
        set_experiments(self._store, *experiments, layers=made)


class Bundles:
    """Two bundles, and what each answers alone."""

    def __init__(self, folder, world, serve) -> None:
        self.models, self._serve, self._alone = folder / "models", serve, {}
        self.first = write_variant(world.bundle, self.models / "first", 1, "2026-03-01T00:00:00Z")
        events = world.load().manifest.events.model_dump(mode="json")
        more = {**events, "kinds": [*events["kinds"], {"kind": "saved"}]}
        write_edited(world.bundle, folder / "edited", lambda _: None, events=more)
        self.second = write_variant(folder / "edited", self.models / "second", 2, "2026-02-01T00:00:00Z")

    def alone(self, name: str, fusion: dict[str, Any] | None, user: str) -> list[dict[str, Any]]:
        """Items that a service with one bundle and one config answers with."""
        key = name, str(fusion)
        if key not in self._alone:
            with self._serve(fusion, bundle=self.models / name) as served:
                self._alone[key] = {f"u{n}": items(served.http, f"u{n}")[0] for n in range(16)}
        return self._alone[key][user]


@pytest.fixture(scope="module")
def bundles(watched, serve, tmp_path_factory) -> Bundles:
    return Bundles(tmp_path_factory.mktemp("arms"), watched, serve)


@pytest.fixture(scope="module")
def running(serve, bundles, tmp_path_factory):
    """A service of two bundles, its store, and its folder of events."""
    folder = tmp_path_factory.mktemp("running")
    given = {"bundle": None, "models": bundles.models, "control": folder / "control.sqlite"}
    kept = {"events": folder / "events", "events_interval_ms": 20}
    secrets = {"events_user_key": KEY, "events_salt": SALT, "admin_token": "correct horse"}
    with serve(None, **given, **kept, **secrets) as served:
        yield served.http, Store(folder / "control.sqlite"), folder / "events"


def items(http: httpx.Client, user: str, **more: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Items and all of an answer."""
    body = {"user_id": user, "candidate_ids": IDS, "top_k": len(IDS), "explain": True, **more}
    answer = http.post("/v1/rank", json=body).raise_for_status().json()
    return answer["items"], answer


def labels(http: httpx.Client, users=range(16), **more: Any) -> set[str]:
    return {
        label for n in users for label in items(http, f"u{n}", **more)[1]["fusion"]["experiments"] or [""]
    }


def patched(fusion: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(fusion)
    changed["scenes"]["default"]["tasks"]["vtr"]["weight"] = 3.0
    return changed


def test_each_answer_is_its_arms_bundle_and_config_alone_to_the_bit(running, bundles, fusion_config):
    http, store, events = running
    store.set(
        {"id": "canary", "arms": halves(bundle=bundles.second)},
        {"id": "lift", "layer": "m", "arms": halves(patch=LIFT)},
        l="user",
        m="session",
    )
    wanted = {"l/canary:old", "l/canary:new", "m/lift:old", "m/lift:new"}
    wait_until(lambda: {one for n in range(5) for one in labels(http, session_id=f"s{n}")} == wanted)
    seen: dict[str, list[str]] = {}
    for n in range(16):
        given, answer = items(http, f"u{n}", session_id=f"s{n % 5}")
        RankResponse.model_validate(answer)
        arms = answer["fusion"]["experiments"]
        seen[answer["exposure_id"]] = arms
        name = "second" if "l/canary:new" in arms else "first"
        fusion = patched(fusion_config) if "m/lift:new" in arms else fusion_config
        assert given == bundles.alone(name, fusion, f"u{n}")
        assert answer["model"]["version"] == getattr(bundles, name)
        assert answer["fusion"]["revision"] == (None if "m/lift:new" in arms else 1)
    assert len({tuple(arms) for arms in seen.values()}) == 4
    assert labels(http) == {"l/canary:old", "l/canary:new"}, "without a session, none of its layer"

    rows = wait_until(lambda: _rows(events, seen))
    for row in rows:
        assert row["arms"] == seen[row["exposure_id"]]
        assert (row["bundle_version"] == bundles.second) == ("l/canary:new" in row["arms"])
        assert row["session_id"] in {pseudonym(f"s{n}", KEY) for n in range(5)}
    kinds = [kind.kind for kind in EventFolder(events).read_catalogue().events.kinds]
    assert kinds == ["is_click", "play_ms", "rating"], "feedback is the active bundle's"
    text = http.get("/metrics").text
    for arm in ("l/canary:old", "l/canary:new"):
        assert f'fulcrum_arm_answers_total{{arm="{arm}",outcome="ok"}}' in text
        assert f'fulcrum_arm_seconds_bucket{{arm="{arm}",le="0.1"}}' in text
    assert f'fulcrum_arm_bundles{{version="{bundles.second}"}} 1.0' in text
    ready, models = http.get("/readyz").json(), http.get("/v1/models").json()
    Readiness.model_validate(ready)
    ModelsReport.model_validate(models)
    assert (ready["arm_bundles"], ready["waiting"]) == ({bundles.second: 1}, {})
    held = {model["version"]: (model["arm_workers"], model["arm_bytes"] > 0) for model in models["models"]}
    assert held == {bundles.first: (0, False), bundles.second: (1, True)}


def _rows(events, wanted) -> list[dict[str, Any]] | None:
    rows = [row for row in exposure_rows(events) if row["exposure_id"] in wanted]
    return rows if len(rows) == len(wanted) else None


def test_requests_of_a_layer_by_request_are_dealt_one_by_one_and_labels_come_before_exploring(running):
    http, store, events = running
    explore = {"scenes": {"default": {"explore": {"share": 1.0, "noise": 0.1}}}}
    store.set({"id": "drawn", "arms": halves(patch=explore)}, l="request")
    wait_until(lambda: "l/drawn:old" in labels(http))
    answers = [items(http, "u1")[1] for _ in range(40)]
    found = {tuple(answer["fusion"]["experiments"]) for answer in answers}
    assert found == {("l/drawn:old",), ("l/drawn:new", "explore/default")}
    rows = wait_until(lambda: _rows(events, {answer["exposure_id"] for answer in answers}))
    assert {(*row["arms"], row["explored"]) for row in rows} == {
        ("l/drawn:old", False),
        ("l/drawn:new", True),
    }


def test_scenes_conditions_and_the_ramp_say_who_takes_part(running):
    http, store, _ = running
    one = {"id": "some", "arms": halves(patch=LIFT), "scenes": ("feed",), "when": {"tab": ["1"]}}
    store.set(one, l="user")
    wait_until(lambda: "l/some:new" in labels(http, scene="feed", context={"tab": "1"}))
    assert labels(http, scene="feed", context={"tab": "2"}) == {""}
    assert labels(http, context={"tab": "1"}) == {""}
    store.set({**one, "ramp": 1}, l="user")
    wait_until(lambda: labels(http, scene="feed", context={"tab": "1"}) == {""})


def test_an_arm_whose_bundle_refuses_a_request_counts_as_failed(running, bundles):
    http, store, _ = running
    store.set({"id": "failing", "arms": halves(bundle=bundles.second)}, l="user")
    wait_until(lambda: labels(http) == {"l/failing:old", "l/failing:new"})
    body = {"user_id": "u1", "candidate_ids": IDS[:3], "context": {"planet": "mars"}}
    assert http.post("/v1/rank", json=body).status_code == 422
    arm = items(http, "u1")[1]["fusion"]["experiments"][0]
    assert f'fulcrum_arm_answers_total{{arm="{arm}",outcome="failed"}} 1.0' in http.get("/metrics").text


def test_the_sample_of_previews_holds_predictions_of_the_active_bundle_alone(running, bundles, monkeypatch):
    http, store, _ = running
    recorded: list[str] = []

    def noting(predicted: Any) -> Record:
        recorded.append(predicted.snapshot.active.bundle.version)
        return record_of(predicted)

    store.set({"id": "sampled", "arms": halves(bundle=bundles.second)}, l="user")
    wait_until(lambda: labels(http) == {"l/sampled:old", "l/sampled:new"})
    monkeypatch.setattr("service.preview.recording.record_of", noting)
    answered = []
    for n in range(16):
        time.sleep(0.06)  # between two records
        answered.append(items(http, f"u{n}")[1]["model"]["version"])
    assert set(answered) == {bundles.first, bundles.second}
    assert set(recorded) == {bundles.first}


def test_two_workers_answer_alike_and_a_pause_reaches_both(bundles, world, fusion_config, tmp_path):
    """Once over processes: every connection may be another worker's."""
    settings = {"models": bundles.models, "features": world.features, "control": tmp_path / "c.sqlite"}
    with serving(tmp_path / "log", workers=2, **settings) as service:
        store = Store(tmp_path / "c.sqlite")
        one = {"id": "x", "arms": halves(bundle=bundles.second)}
        store.set(one, l="user")

        def ready() -> bool:
            return httpx.get(f"{service.url}/readyz").json()["arm_bundles"] == {bundles.second: 2}

        wait_until(ready)
        wait_until(lambda: httpx.get(f"{service.url}/readyz").json()["waiting"] == {})
        found = set()
        for n in [*range(16), *range(16)]:
            with httpx.Client(base_url=service.url) as http:
                given, answer = items(http, f"u{n}")
            (arm,) = answer["fusion"]["experiments"]
            found.add(arm)
            name = "second" if arm == "l/x:new" else "first"
            assert given == bundles.alone(name, fusion_config, f"u{n}")
        assert found == {"l/x:old", "l/x:new"}
        store.set({**one, "state": "paused"}, l="user")

        def out() -> bool:
            found: set[str] = set()
            for _ in range(16):
                with httpx.Client(base_url=service.url) as http:
                    found |= labels(http, [1])
            return found == {""}

        wait_until(out)
        wait_until(lambda: httpx.get(f"{service.url}/readyz").json()["arm_bundles"] == {})
