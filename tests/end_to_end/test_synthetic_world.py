"""From the synthetic world to ranked answers over HTTP: the laws of the design, on a trained bundle."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import httpx
import pytest

from tests.support.harness import World
from tests.support.parity import largest_difference

CONTEXT = {"tab": "feed", "hour": 20}


@pytest.fixture(scope="module")
def request_500(world: World) -> dict[str, Any]:
    videos = [f"v{number}" for number in range(500)]
    user = world.rows["user_id"][0]
    return {"user_id": user, "context": CONTEXT, "candidate_ids": videos, "top_k": 500, "explain": True}


def rank(client: httpx.Client, request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/rank", json={**request, **changes})
    assert answer.status_code == 200, answer.text
    ranked: dict[str, Any] = answer.json()
    assert ranked["degraded"] == []
    return ranked


def test_a_thousand_impressions_over_http_equal_evaluate(service: httpx.Client, world: World) -> None:
    rows = world.rows.head(1_000)
    assert rows["last_watched"].list.len().max() == 10
    compared, worst = largest_difference(service, rows, "user_id", "video_id", ["tab", "hour"])
    assert compared > 900
    assert worst <= 1e-5


def test_what_moves_may_come_with_the_request(service: httpx.Client, world: World) -> None:
    # The request's lists count in place of the store's: evaluate's own give its numbers, others do not.
    rows = world.rows.head(300)
    stranger = rows.with_columns(last_watched=rows["last_watched"].reverse())
    given = {"user_features": world.moving}
    _, worst = largest_difference(service, rows, "user_id", "video_id", ["tab", "hour"], **given)
    _, other = largest_difference(service, stranger, "user_id", "video_id", ["tab", "hour"], **given)
    assert worst <= 1e-5 < other


def test_a_candidate_alone_in_a_crowd_and_in_any_order_gets_the_same_predictions(
    service: httpx.Client, request_500: dict[str, Any]
) -> None:
    crowd = {item["id"]: item["predictions"] for item in rank(service, request_500)["items"]}
    shuffled = random.Random(3).sample(request_500["candidate_ids"], 500)
    for item in rank(service, request_500, candidate_ids=shuffled)["items"]:
        assert item["predictions"] == pytest.approx(crowd[item["id"]], abs=1e-6)
    for video in shuffled[:20]:
        (alone,) = rank(service, request_500, candidate_ids=[video])["items"]
        assert alone["predictions"] == pytest.approx(crowd[video], abs=1e-6)


def test_permuting_the_candidates_permutes_the_answer(
    service: httpx.Client, request_500: dict[str, Any]
) -> None:
    shuffled = random.Random(4).sample(request_500["candidate_ids"], 500)
    straight = [item["id"] for item in rank(service, request_500)["items"]]
    assert [item["id"] for item in rank(service, request_500, candidate_ids=shuffled)["items"]] == straight


def test_the_best_k_are_the_beginning_of_the_best_k_plus_one(
    service: httpx.Client, request_500: dict[str, Any]
) -> None:
    best = [item["id"] for item in rank(service, request_500)["items"]]
    for k in (1, 2, 49, 499):
        assert [item["id"] for item in rank(service, request_500, top_k=k)["items"]] == best[:k]


def test_the_explained_terms_sum_to_the_log_score(service: httpx.Client, request_500: dict[str, Any]) -> None:
    for item in rank(service, request_500)["items"]:
        terms = item["terms"]
        assert set(terms) == {"vtr", "vcr", "shr", "cmr", "video_len"}
        assert sum(term["term"] for term in terms.values()) == pytest.approx(item["log_score"], abs=1e-12)
        assert item["score"] == pytest.approx(math.exp(item["log_score"]), rel=1e-12)
        for task in ("vtr", "vcr", "shr", "cmr"):
            expected = terms[task]["weight"] * math.log(min(max(terms[task]["p"], 1e-6), 1.0))
            assert terms[task]["term"] == pytest.approx(expected, abs=1e-12)


def test_the_example_of_the_documentation_works(service: httpx.Client) -> None:
    operation = service.get("/openapi.json").json()["paths"]["/v1/rank"]["post"]
    content = json.dumps(operation["requestBody"])
    examples = _examples(operation["requestBody"]["content"]["application/json"])
    assert examples, content
    for example in examples:
        answer = service.post("/v1/rank", json=example)
        assert answer.status_code == 200, answer.text
        assert {item["status"] for item in answer.json()["items"]} == {"ok"}


def _examples(content: dict[str, Any]) -> list[Any]:
    named = [entry["value"] for entry in content.get("examples", {}).values()]
    return (
        named
        + ([content["example"]] if "example" in content else [])
        + content.get("schema", {}).get("examples", [])
    )
