"""The routes over real HTTP: operations, documentation, refusals by status."""

from __future__ import annotations

import asyncio
from socket import gethostname

import httpx
import pytest

from service.contract.answers import FusionReport, RankResponse, Readiness
from service.http.app import create_app
from service.settings import Settings


def test_live_and_ready(served, world):
    assert served.http.get("/livez").json() == {"status": "alive"}
    bundle, fusion = world.load().version, served.http.get("/v1/fusion").json()["version"]
    report = served.http.get("/readyz").json()
    Readiness.model_validate(report)
    assert report == {
        "status": "ready",
        "bundle": bundle,
        "fusion": fusion,
        "workers": {"wanted": 1, "ready": 1, "replaced": 0},
        "bundles": {bundle: 1},
        "fusions": {fusion: 1},
        "revisions": {"none": 1},
        "generations": report["generations"],
        "features": "reachable",
        "feedback": "off",
        "control": "off",
        "arm_bundles": {},
        "waiting": {},
        "events": "off",
    }
    (name,) = report["generations"]
    assert name != "none"


def test_not_ready_before_all_is_loaded(world):
    app = create_app(Settings(bundle=world.bundle, features=str(world.features)))

    async def ask(path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            return await http.get(path)

    answer = asyncio.run(ask("/readyz"))
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert asyncio.run(ask("/livez")).status_code == 200


def test_the_fusion_report_is_what_the_contract_says(served):
    report = served.http.get("/v1/fusion").json()
    FusionReport.model_validate(report)
    assert report["revision"] is report["rejected"] is None
    assert report["source"] == str(served.fusion)
    assert report["scenes"] == ["default", "feed"]
    assert report["left_out"] == {"default": [], "feed": ["vcr", "cmr"]}


def test_without_a_fusion_file_the_bundles_own_serves(serve, world):
    with serve(fusion=None) as served:
        assert served.http.get("/v1/fusion").json()["source"] == str(world.bundle / "fusion.yaml")
        served.rank(candidate_ids=["v1"])


def test_the_documented_example_really_works(served):
    document = served.http.get("/openapi.json").json()
    operation = document["paths"]["/v1/rank"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    documented = operation["responses"]["200"]["content"]["application/json"]["example"]
    answer = served.rank(**example)
    RankResponse.model_validate(answer)
    assert answer["items"] == documented["items"]
    assert answer["model"] == documented["model"]


def test_every_reference_of_the_document_leads_somewhere(served):
    text = served.http.get("/openapi.json").text
    schemas = served.http.get("/openapi.json").json()["components"]["schemas"]
    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert references - set(schemas) == set()
    assert {"RankRequest", "Candidate", "RankResponse", "Problem"} <= set(schemas)
    assert schemas["RankRequest"]["additionalProperties"] is False


def test_the_framework_would_answer_a_ranking_as_its_route_does(served, monkeypatch):
    """What is documented is what is served, though the framework is passed by."""
    bodies = [
        b'{"user_id": "u1", "candidate_ids": ["v1", "v2", "new"], "explain": true}',
        b'{"user_id": "u1", "candidates": [{"id": "v1", "video_len": 0}]}',
        b'{"user_id": "u1", "candidate_ids": ["v1"], "context": {"odd": 1}}',
        b"rubbish",
    ]

    def answers():
        found = [served.http.post("/v1/rank", content=body) for body in bodies]
        found.append(served.http.post("/v1/rank", content=bodies[0], headers={"content-type": "text/plain"}))
        return [
            (answer.status_code, answer.headers["content-type"], answer.json().get("items", answer.json()))
            for answer in found
        ]

    direct = answers()
    monkeypatch.setattr("service.http.routes.ranking.RankRoute.path", "/elsewhere")
    assert answers() == direct
    assert [status for status, _, _ in direct] == [200, 422, 422, 422, 415]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/v1/model", 404), ("GET", "/v1/rank", 405), ("DELETE", "/v1/fusion", 405)],
)
def test_wrong_paths_and_methods_are_problems_too(served, method, path, status):
    answer = served.http.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert path in answer.json()["detail"]


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_other_media_types_are_refused(served, media_type):
    answer = served.http.post("/v1/rank", content=b"{}", headers={"content-type": media_type})
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")
    assert media_type in answer.json()["detail"]


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json", None]
)
def test_json_by_any_name_is_taken(served, media_type):
    headers = {} if media_type is None else {"content-type": media_type}
    body = b'{"user_id": "u1", "candidate_ids": ["v1"]}'
    assert served.http.post("/v1/rank", content=body, headers=headers).status_code == 200


def test_metrics_tell_of_requests_stages_and_what_is_active(serve, world):
    with serve() as served:
        served.rank(candidate_ids=["v1", "nobody"], scene="nowhere")
        served.rank(candidate_ids=["v1", "v2"], timeout_ms=1e-6)
        served.http.post("/v1/rank", json={})
        served.http.get("/no/such/path")
        fusion = served.http.get("/v1/fusion").json()["version"]
        text = served.http.get("/metrics").text
    for line in (
        'fulcrum_requests_total{route="/v1/rank",status="200"} 2.0',
        'fulcrum_requests_total{route="/v1/rank",status="422"} 1.0',
        'fulcrum_requests_total{route="other",status="404"} 1.0',
        'fulcrum_request_seconds_count{route="/v1/rank"} 3.0',
        *(
            f'fulcrum_rank_stage_seconds_count{{stage="{stage}"}} 2.0'
            for stage in ("wait", "parse", "features", "network", "fusion", "respond")
        ),
        "fulcrum_rank_candidates_sum 4.0",
        "fulcrum_rank_unscored_candidates_total 2.0",
        "fulcrum_rank_default_features_candidates_total 1.0",
        'fulcrum_rank_degraded_total{reason="unknown_scene"} 1.0',
        'fulcrum_rank_degraded_total{reason="deadline"} 1.0',
        'fulcrum_fusion_reloads_total{outcome="rejected"} 0.0',
        'fulcrum_rank_shed_total{reason="queue_full"} 0.0',
        'fulcrum_feature_cache_total{outcome="hit"} 0.0',
        "fulcrum_rank_best_score_count 1.0",
        "fulcrum_rank_inside 0.0",
        f'fulcrum_host{{host="{gethostname()}"}} 1.0',
        "fulcrum_workers 1.0",
        "fulcrum_workers_ready 1.0",
        f'fulcrum_active_bundle{{version="{world.load().version}"}} 1.0',
        f'fulcrum_active_fusion{{version="{fusion}"}} 1.0',
        "fulcrum_fusion_rejected 0.0",
    ):
        assert line in text, line
