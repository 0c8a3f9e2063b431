"""The ranker over real HTTP: what an answer is, and the laws that it keeps."""

from __future__ import annotations

import copy
import math
import random
import time
from typing import Any

import pytest

from service.contract.answers import RankResponse
from service.inference.engine import Engine
from service.ranking.admission import Cost, Ticket
from service.ranking.ranker import _Budget
from service.ranking.stopwatch import Stopwatch
from service.telemetry.metrics import Metrics

IDS = [f"v{place}" for place in range(500)]


def predictions(answer: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {item["id"]: item["predictions"] for item in answer["items"]}


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {item["id"]: item["score"] for item in answer["items"]}


def order(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


def test_an_answer_is_what_the_contract_says(served, world):
    answer = served.rank(request_id="r-1", candidate_ids=IDS[:80])
    RankResponse.model_validate(answer)
    assert answer["request_id"] == "r-1"
    assert answer["model"] == {"name": "tiny-mlp", "version": world.load().version, "variant": "fp32"}
    assert answer["fusion"]["revision"] is None
    assert answer["fusion"]["version"] == served.http.get("/v1/fusion").json()["version"]
    assert answer["fusion"]["scene"] == "default"
    assert (answer["degraded"], answer["scored"], len(answer["items"])) == ([], 80, 50)
    assert [item["rank"] for item in answer["items"]] == list(range(1, 51))
    assert list(answer["items"][0]) == ["id", "rank", "score", "status", "predictions"]
    assert list(answer["items"][0]["predictions"]) == ["vtr", "vcr", "shr", "cmr"]
    assert [item["score"] for item in answer["items"]] == sorted(scores(answer).values(), reverse=True)


def test_permuting_the_candidates_permutes_nothing_but_the_input(served):
    shuffled = random.Random(1).sample(IDS, len(IDS))
    one, other = (served.rank(candidate_ids=ids, top_k=500) for ids in (IDS, shuffled))
    assert order(one) == order(other)


@pytest.mark.parametrize("alone", ["v0", "v250", "v499"])
def test_a_candidate_alone_is_predicted_as_among_many(served, alone):
    among = predictions(served.rank(candidate_ids=IDS + [f"x{n}" for n in range(700)], top_k=1200))[alone]
    by_itself = predictions(served.rank(candidate_ids=[alone]))[alone]
    assert by_itself == pytest.approx(among, abs=1e-6)


def test_candidates_and_candidate_ids_are_two_spellings(served):
    one = served.rank(candidate_ids=IDS[:20])
    other = served.rank(candidates=[{"id": each} for each in IDS[:20]])
    assert one["items"] == other["items"]


def test_a_smaller_top_k_is_the_beginning_of_a_larger(served):
    large, small = (served.rank(candidate_ids=IDS, top_k=k) for k in (500, 7))
    assert small["items"] == large["items"][:7]


def test_a_top_k_beyond_the_candidates_gives_all(served):
    assert len(served.rank(candidate_ids=IDS[:3], top_k=10**9)["items"]) == 3


def test_ties_keep_the_given_order(serve, fusion_config):
    config = copy.deepcopy(fusion_config)
    config["scenes"]["default"] = {"tasks": {}}
    with serve(config) as served:
        assert order(served.rank(candidate_ids=["v9", "v3", "v7"])) == ["v9", "v3", "v7"]


def test_weight_zero_is_the_task_left_out(serve, fusion_config):
    zero, without = copy.deepcopy(fusion_config), copy.deepcopy(fusion_config)
    zero["scenes"]["default"]["tasks"]["shr"]["weight"] = 0.0
    del without["scenes"]["default"]["tasks"]["shr"]
    with serve(zero) as one, serve(without) as other:
        assert scores(one.rank(candidate_ids=IDS)) == scores(other.rank(candidate_ids=IDS))
        assert other.http.get("/v1/fusion").json()["left_out"]["default"] == ["shr"]


def test_scaling_all_weights_keeps_the_order(serve, served, fusion_config):
    scaled = copy.deepcopy(fusion_config)
    for term in [*scaled["scenes"]["default"]["tasks"].values(), scaled["scenes"]["default"]["video_len"]]:
        term["weight"] *= 3.0
    with serve(scaled) as other:
        assert order(other.rank(candidate_ids=IDS)) == order(served.rank(candidate_ids=IDS))


def test_explained_terms_sum_to_the_log_score(served):
    for item in served.rank(candidate_ids=IDS[:40], explain=True)["items"]:
        assert list(item["terms"]) == ["vtr", "vcr", "shr", "cmr", "video_len"]
        total = 0.0
        for term in item["terms"].values():
            total += term["term"]
        assert total == item["log_score"]
        assert math.exp(total) == pytest.approx(item["score"], rel=1e-12)
        assert item["terms"]["vtr"]["p"] == item["predictions"]["vtr"]
        assert item["terms"]["vcr"]["weight"] == 0.5


def test_explaining_changes_no_number(served):
    plain, explained = (served.rank(candidate_ids=IDS, explain=flag) for flag in (False, True))
    assert scores(plain) == scores(explained)
    assert "terms" not in plain["items"][0]


def test_fields_may_leave_predictions_out(served):
    assert "predictions" not in served.rank(candidate_ids=IDS[:2], fields=[])["items"][0]


def test_a_scene_has_its_own_weights(served):
    answer = served.rank(candidate_ids=IDS[:2], scene="feed", explain=True)
    assert (answer["fusion"]["scene"], answer["degraded"]) == ("feed", [])
    assert {task: term["weight"] for task, term in answer["items"][0]["terms"].items()} == {
        "vtr": 2.0,
        "vcr": 0.0,
        "shr": -0.5,
        "cmr": 0.0,
        "video_len": 1.0,
    }


def test_an_unknown_scene_takes_the_default_and_says_so(served):
    answer = served.rank(candidate_ids=IDS[:5], scene="nowhere")
    assert (answer["fusion"]["scene"], answer["degraded"]) == ("default", ["unknown_scene"])
    assert scores(answer) == scores(served.rank(candidate_ids=IDS[:5]))


def test_a_video_that_the_store_lacks_is_ranked_by_defaults(served):
    answer = served.rank(candidates=[{"id": "new"}, {"id": "newer", "features": {"likes": 3}}, {"id": "v1"}])
    status = {item["id"]: item["status"] for item in answer["items"]}
    assert status == {"new": "default_features", "newer": "default_features", "v1": "ok"}
    assert (answer["degraded"], answer["scored"]) == ([], 3)


def test_a_user_that_the_store_lacks_shows_in_every_status(served):
    answer = served.rank(user_id="stranger", candidate_ids=IDS[:3])
    assert {item["status"] for item in answer["items"]} == {"default_features"}
    assert answer["degraded"] == []
    assert predictions(answer) != predictions(served.rank(candidate_ids=IDS[:3]))


def test_an_unknown_length_takes_the_configs_missing(served):
    unknown, known = (
        served.rank(candidate_ids=["v49"], explain=True),
        served.rank(candidates=[{"id": "v49", "video_len": 30.0}], explain=True),
    )
    assert unknown["items"][0]["terms"]["video_len"]["video_len"] is None
    assert unknown["items"][0]["terms"]["video_len"]["f"] == 0.7
    assert known["items"][0]["terms"]["video_len"]["video_len"] == 30.0
    assert known["items"][0]["terms"]["video_len"]["f"] == pytest.approx(math.log(2.0))


def test_a_passed_deadline_leaves_everything_unscored_in_the_given_order(served):
    answer = served.rank(candidate_ids=IDS[:9], timeout_ms=1e-6, top_k=5, explain=True)
    RankResponse.model_validate(answer)
    assert (answer["degraded"], answer["scored"], order(answer)) == (["deadline"], 0, IDS[:5])
    assert answer["items"][1] == {
        "id": "v1",
        "rank": 2,
        "score": None,
        "status": "unscored",
        "predictions": None,
        "log_score": None,
        "terms": None,
    }


def test_a_deadline_in_the_middle_keeps_what_was_scored(served, monkeypatch):
    whole, calls = Engine.predict, []

    def slow(session, inputs):
        calls.append(len(inputs.row_to_user))
        if len(calls) == 3:
            time.sleep(2)
        return whole(session, inputs)

    monkeypatch.setattr(Engine, "predict", slow)
    ids = [f"x{place}" for place in range(5_000)]
    answer = served.rank(candidate_ids=ids, timeout_ms=2_000, top_k=4_000)
    scored = answer["scored"]
    assert answer["degraded"] == ["deadline"]
    assert 500 <= scored <= 1_500
    assert scored == sum(calls)
    assert set(order(answer)[:scored]) == set(ids[:scored])
    assert order(answer)[scored:] == ids[scored:4_000]
    assert [item["rank"] for item in answer["items"]] == list(range(1, 4_001))
    assert [item["score"] is None for item in answer["items"]] == [place >= scored for place in range(4_000)]


def test_a_deadline_counts_from_the_arrival_and_work_has_to_end_before_it(monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: 10.25)
    budget, endless = _Budget(Stopwatch(10.0), 1_250), _Budget(Stopwatch(10.0), None)
    assert (budget.deadline, budget.left_s) == (11.25, 1.0)
    assert [budget.allows(seconds) for seconds in (0.0, 0.75, 1.0, 1.5)] == [True, True, False, False]
    assert (endless.deadline, endless.left_s, endless.allows(1e9)) == (None, None, True)


def test_a_generous_deadline_changes_nothing(served):
    assert served.rank(candidate_ids=IDS, timeout_ms=60_000)["degraded"] == []


def test_a_chunk_that_would_not_end_in_time_is_not_begun(served, monkeypatch):
    monkeypatch.setattr(Ticket, "expected_s", lambda *_: 100.0)
    answer = served.rank(candidate_ids=[f"x{place}" for place in range(1_500)], timeout_ms=60_000)
    assert (answer["degraded"], answer["scored"]) == (["deadline"], 500)


def test_a_prediction_without_bounds_costs_its_own_candidate_alone(served, monkeypatch):
    whole = Engine.predict

    def damaged(session, inputs):
        predicted = {task: p.copy() for task, p in whole(session, inputs).items()}
        predicted["vtr"][:3] = [math.inf, -math.inf, math.nan]
        return predicted

    monkeypatch.setattr(Engine, "predict", damaged)
    answer = served.rank(candidate_ids=IDS[:9])
    assert (answer["degraded"], answer["scored"]) == (["non_finite_predictions"], 6)
    assert {item["id"] for item in answer["items"] if item["status"] == "unscored"} == set(IDS[:3])


def test_metrics_are_told_what_a_ranking_was_made_of(served, monkeypatch):
    told, learned = [], []
    monkeypatch.setattr(Metrics, "ranked", lambda _, ranking, watch: told.append((ranking, watch)))
    monkeypatch.setattr(Cost, "learn", lambda _, *of_request: learned.append(of_request))
    ids = [f"x{place}" for place in range(1_200)] + ["v1", "v2"]
    answer = served.rank(candidate_ids=ids, scene="nowhere", top_k=3)
    ((ranking, watch),) = told
    assert (ranking.candidates, ranking.scored, ranking.default_features) == (1_202, 1_202, 1_200)
    assert ranking.exposure_id == answer["exposure_id"]
    assert ranking.best_score == answer["items"][0]["score"]
    assert ranking.degraded == answer["degraded"] == ["unknown_scene"]
    assert (ranking.cache_hits, ranking.cache_misses) == (0, 0)  # the store is mapped: nothing to remember
    assert [stage for stage, *_ in watch.laps] == [
        "parse",
        *("features", "wait", "features"),
        *("network", "wait", "network", "wait", "network"),
        *("fusion", "respond"),
    ]
    assert 0.0 < answer["took_ms"] < (watch.elapsed + 1e-3) * 1_000
    assert learned[0][0] == 1_202


def test_what_is_learned_of_a_request_parts_the_network_from_the_rest(served, monkeypatch):
    learned, whole = [], Engine.predict

    def slow(session, inputs):
        time.sleep(1)
        return whole(session, inputs)

    monkeypatch.setattr(Engine, "predict", slow)
    monkeypatch.setattr(Cost, "learn", lambda _, *of_request: learned.append(of_request))
    served.rank(candidate_ids=IDS[:9])
    ((rows, network_s, beside_s),) = learned
    assert rows == 9
    assert network_s >= 1
    assert beside_s < network_s
