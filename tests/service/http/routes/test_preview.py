"""Previews over HTTP: what they say is what rankings do, and they disturb nobody."""

from __future__ import annotations

import copy
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from service.contract.preview import PreviewItems, PreviewPicture
from service.preview.process import HelperProcess
from tests.support.replaying import CONFIG, NETWORK, requests
from tests.support.service_process import serving, wait_until

TOKEN = "correct horse"
BEARER = {"authorization": f"Bearer {TOKEN}"}
IDS = [f"v{n}" for n in range(30)]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_idle_core_is_needed(monkeypatch):
    monkeypatch.setattr(HelperProcess, "priority", "normal")


def quiet(config: dict[str, Any]) -> dict[str, Any]:
    """Without noise on the weights, which no two rankings share."""
    scenes = {name: {**scene, "explore": None} for name, scene in config["scenes"].items()}
    return {**config, "scenes": scenes}


def edited(config: dict[str, Any]) -> dict[str, Any]:
    """The same scenes with other weights, and one of another formula."""
    config = copy.deepcopy(config)
    scenes = config["scenes"]
    scenes["default"]["tasks"]["shr"] = {"weight": 1.5}
    scenes["feed"]["segments"][0]["tasks"]["shr"]["weight"] = -1.0
    scenes["worth"]["tasks"]["shr"]["price"] = 40.0
    scenes["ranks"]["tasks"]["vtr"]["weight"] = -1.0
    scenes["times"] = {"tasks": {"cmr": {"weight": 1.0}}}
    return config


def asked(http: httpx.Client, headers: dict[str, str] = BEARER, **body: Any) -> dict[str, Any]:
    """The answer; on a busy machine the helper is late at first."""

    def answer() -> httpx.Response | None:
        found = http.post("/v1/fusion/preview", json=body, headers=headers)
        return None if found.status_code == 503 else found

    found = wait_until(answer, 120)
    assert found.status_code == 200, found.text
    kind = PreviewPicture if "pick" not in found.json() else PreviewItems
    kind.model_validate_json(found.content)
    return found.json()


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


def in_force(http: httpx.Client, file: Path, config: dict[str, Any]) -> None:
    before = http.get("/v1/fusion").json()["version"]
    file.write_text(yaml.safe_dump(config))
    wait_until(lambda: http.get("/v1/fusion").json()["version"] != before)


def test_a_preview_orders_as_the_service_does_under_either_config(serve, tmp_path):
    """Every formula, every segment; a network's, too."""
    config = quiet(yaml.safe_load(CONFIG))
    plain = {**config, "scenes": {k: v for k, v in config["scenes"].items() if k != "learned"}}
    bodies = [body for body in requests(40) if "timeout_ms" not in body]
    with serve(plain, control=str(tmp_path / "control"), admin_token=TOKEN) as served:
        http = served.http
        (served.fusion.parent / "score.onnx").write_bytes(NETWORK)
        in_force(http, served.fusion, config)
        before = [served.rank(**body) for body in bodies]
        previews = [asked(http, request=body, config=edited(config), top=body["top_k"]) for body in bodies]
        in_force(http, served.fusion, edited(config))
        after = [served.rank(**body | {"explain": True}) for body in bodies]
    assert {answer["fusion"]["scene"] for answer in before} == set(config["scenes"]) - {"plain"}
    for one, preview, other in zip(before, previews, after, strict=True):
        assert ids(preview["before"]) == ids(one["items"])
        assert ids(preview["after"]) == ids(other["items"])
        for shown, real in zip(preview["after"], other["items"], strict=True):
            assert {name: shown[name] for name in real} == real
        assert (preview["scene"], preview["segments"]["after"]) == (
            other["fusion"]["scene"],
            other["fusion"]["segment"],
        )
        moved = {mover["id"]: mover for mover in preview["movers"]}
        for place, item in enumerate(ids(other["items"])):
            if item in moved:
                assert moved[item]["after"] == place + 1


def test_recent_requests_are_compared_in_all_and_one_by_one(serve, fusion_config, tmp_path):
    config = copy.deepcopy(fusion_config)
    config["scenes"]["default"]["tasks"]["shr"]["weight"] = -2.0
    config["scenes"]["new"] = {"tasks": {"cmr": {"weight": 1.0}}}
    with serve(control=str(tmp_path / "control"), admin_token=TOKEN) as served:
        http = served.http
        nothing = asked(http, recent=5, config=config)
        assert (nothing["requests"], nothing["sample_id"], nothing["changed_first"]) == (0, None, None)
        answers = [ranked_apart(served, scene) for scene in ("default", "new", "feed", "default")]
        time.sleep(1.1)  # that nothing was seen counts for a second

        picture = asked(http, recent=300, config=config, top=3)
        assert (picture["requests"], picture["candidates"]) == (3, 75)  # whoever asks for `new` gets default
        assert picture["base"] == {"revision": 1, "version": http.get("/v1/fusion").json()["version"]}
        assert 0.0 < picture["changed_top"] <= 1.0
        assert -1.0 <= picture["kendall_tau"] < 1.0
        assert picture["movers"]
        assert picture["rates"]["shr"]["after"] < picture["rates"]["shr"]["before"]
        for shares in picture["exposure"].values():
            assert sum(one["after"] for one in shares) == pytest.approx(1.0)

        sample = {"sample_id": picture["sample_id"]}
        for scene, number, answer in (
            ("default", 0, answers[3]),
            ("new", 0, answers[1]),
            ("feed", 0, answers[2]),
        ):
            found = asked(http, recent=300, pick=number, scene=scene, config=config, top=25, **sample)
            assert ids(found["before"]) == ids(answer["items"])
            assert found["scene"] == scene
            assert found["sample_id"] == picture["sample_id"]

        mover = picture["movers"][0]
        found = asked(http, recent=300, pick=mover["request"], config=config, top=25, **sample)
        places = [ids(found[side]).index(mover["id"]) + 1 for side in ("before", "after")]
        assert places == [mover["before"], mover["after"]]

        same = asked(http, recent=300, config=fusion_config, **sample)
        assert (same["changed_first"], same["changed_top"], same["kendall_tau"], same["movers"]) == (
            0,
            0,
            1,
            [],
        )
        own = asked(http, recent=300, revision=1, **sample)
        assert own == same
        hidden = asked(http, {}, recent=300, config=config, top=3, **sample)
        assert {mover["id"] for mover in hidden["movers"]} == {None}
        assert [{**mover, "id": None} for mover in picture["movers"]] == hidden["movers"]
        asks = copy.deepcopy(config)
        asks["scenes"]["default"]["segments"] = [{"name": "hit", "when": {"hour": [5]}, "tasks": {}}]
        asked(http, recent=300, config=asks, **sample)
        of_strangers = {"recent": 300, "config": asks, **sample}
        refused = wait_until(lambda: answered(http, of_strangers, {}), 120)
        assert (refused.status_code, "without the scope read" in refused.text) == (422, True)
        shown = asked(http, {}, recent=300, pick=0, config=config, **sample)
        assert shown["segments"] == {"before": None, "after": None}
        gone = asked(http, recent=300, config=config, sample_id="long gone")
        assert gone["sample_id"] == picture["sample_id"]


def ranked_apart(served: Any, scene: str) -> dict[str, Any]:
    time.sleep(0.06)  # some requests a second are remembered
    return served.rank(candidate_ids=[f"v{n}" for n in range(25)], scene=scene, top_k=25)


def test_what_cannot_be_previewed_is_refused_with_its_path(serve, fusion_config, tmp_path):
    bad = copy.deepcopy(fusion_config)
    bad["scenes"]["default"]["tasks"]["vtr"] = {"weight": "high"}
    unknown = copy.deepcopy(fusion_config)
    unknown["scenes"]["feed"]["tasks"]["likes"] = {"weight": 1.0}
    condition = copy.deepcopy(fusion_config)
    condition["scenes"]["feed"]["segments"] = [{"name": "a", "when": {"moon": ["full"]}, "tasks": {}}]
    learned = copy.deepcopy(fusion_config)
    learned["scenes"]["net"] = {
        "formula": "model",
        "file": "a.onnx",
        "sha256": "0" * 64,
        "inputs": ["vtr"],
        "fallback": "default",
    }
    rank = {"user_id": "u1", "candidate_ids": IDS}
    good = {"recent": 5, "config": fusion_config}
    with serve(control=str(tmp_path / "control"), admin_token=TOKEN) as served:
        ranked_apart(served, "default")
        asked(served.http, **good)
        for body, status, field, says in (
            (good | {"config": bad}, 422, "config", "scenes.default.tasks.vtr.weight: expected a number"),
            (good | {"config": unknown}, 422, "config", "unknown task 'likes' in scenes.feed.tasks"),
            (good | {"config": condition}, 422, "config", "looks at 'moon'"),
            (good | {"config": learned}, 422, "config", "scenes.net: network a.onnx: nobody here has"),
            (good | {"config": {}}, 422, "config", "schema_version: required"),
            ({"recent": 5}, 422, "config", "exactly one of config and revision, found neither"),
            (good | {"revision": 1}, 422, "config", "found both"),
            ({"recent": 5, "revision": 7}, 404, None, "no revision 7"),
            ({"config": fusion_config}, 422, "recent", "found neither"),
            (good | {"recent": 301}, 422, "recent", "300"),
            (good | {"pick": 1}, 422, "pick", "there are 1 requests"),
            (good | {"top": 0}, 422, "top", "1"),
            (good | {"more": 0}, 422, "more", "unknown key"),
            ({"request": rank, "pick": 0, "config": fusion_config}, 422, "pick", "goes with recent"),
            ({"request": {"user_id": "u1"}, "config": fusion_config}, 422, "request.candidates", "neither"),
            ({"request": rank | {"context": {"x": 1}}, "config": {}}, 422, "request.context.x", "unknown"),
        ):  # fmt: skip
            refused = wait_until(lambda body=body: answered(served.http, body), 120)
            assert (refused.status_code, refused.headers["content-type"]) == (
                status,
                "application/problem+json",
            )
            problem = refused.json()
            assert says in problem["detail"]
            if field is not None:
                assert problem["errors"][0]["field"] == field
        twice = b'{"recent": 5, "recent": 6, "config": {}}'
        assert served.http.post("/v1/fusion/preview", content=twice).status_code == 422
    with serve() as served:
        absent = served.http.post("/v1/fusion/preview", json=good)
        assert (absent.status_code, "--control" in absent.json()["detail"]) == (404, True)


def answered(
    http: httpx.Client, body: dict[str, Any], headers: dict[str, str] = BEARER
) -> httpx.Response | None:
    found = http.post("/v1/fusion/preview", json=body, headers=headers)
    return None if found.status_code == 503 else found


@pytest.mark.long
def test_two_workers_answer_alike_and_their_helpers_do_not_outlive_them(world, fusion_config, tmp_path):
    """Connections anew, so that both workers answer."""
    config = copy.deepcopy(fusion_config)
    config["scenes"]["default"]["tasks"]["shr"]["weight"] = -2.0
    given = {
        "bundle": world.bundle,
        "features": world.features,
        "workers": 2,
        "control": tmp_path / "control",
    }
    anew = httpx.Limits(max_keepalive_connections=0)
    with (
        serving(tmp_path / "log", {"FULCRUM_ADMIN_TOKEN": TOKEN}, **given) as service,
        httpx.Client(base_url=service.url, timeout=60, limits=anew) as http,
    ):
        for number in range(20):
            body = {"user_id": "u1", "candidate_ids": IDS[: 5 + number], "top_k": 50}
            assert http.post("/v1/rank", json=body).status_code == 200
            time.sleep(0.03)
        first = asked(http, recent=300, config=config)
        assert first["requests"] >= 8  # of both
        again = {"recent": 300, "config": config, "sample_id": first["sample_id"]}
        wait_until(lambda: asked(http, **again) == first and len(helpers(service)) == 2)

        left = helpers(service)
        for worker in service.workers():
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
        assert left
        assert not service.events("request_failed")


def helpers(service: Any) -> list[int]:
    """Their process ids."""
    found = []
    for worker in service.workers():
        for task in Path(f"/proc/{worker}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found
