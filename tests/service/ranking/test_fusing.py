"""Which weights a request is answered with: its segment's or drawn ones; what the answer and the log say."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import orjson
import pytest

from model.events.exposures import unit_hash
from model.fusion import Explore, parse_fusion
from model.fusion.noise import week_of
from service.ranking.exposure_id import time_ms_of
from tests.support.exposures import exposure_rows
from tests.support.service_process import wait_until

IDS = [f"v{place}" for place in range(60)]
WEIGHTS = {"vtr": 1.0, "vcr": 0.5}
EVENING = {"name": "evening", "when": {"hour": {"from": 18, "below": 24}}, "tasks": {"vtr": {"weight": 3.0}}}
FRIENDS = {"name": "friends", "when": {"tab": ["2", "3"]}, "video_len": {"kind": "log", "scale_s": 9.0}}


UNITS = {
    "request": lambda answer, _: answer["exposure_id"],
    "session": lambda _, body: body["session_id"],
    "user_week": lambda answer, body: f"{week_of(time_ms_of(answer['exposure_id']))} {body['user_id']}",
}


def _config(**scene):
    tasks = {task: {"weight": weight} for task, weight in WEIGHTS.items()}
    return {"schema_version": 1, "scenes": {"default": {"tasks": tasks, **scene}}}


def _weights(answer):
    return {task: part["weight"] for task, part in answer["items"][0]["terms"].items()}


@pytest.fixture(scope="module")
def segmented(serve):
    with serve(fusion=_config(segments=[EVENING, FRIENDS])) as served:
        yield served


@pytest.mark.parametrize(
    ("asked", "segment", "vtr", "video_len"),
    [
        ({}, None, 1.0, 0.0),
        ({"context": {"hour": 18}}, "evening", 3.0, 0.0),
        ({"context": {"hour": 18, "tab": "2"}}, "evening", 3.0, 0.0),
        ({"context": {"hour": 17, "tab": "2"}}, "friends", 1.0, 1.0),
        ({"context": {"hour": None, "tab": "1"}}, None, 1.0, 0.0),
    ],
)
def test_the_first_segment_that_holds_gives_its_weights(segmented, asked, segment, vtr, video_len):
    answer = segmented.rank(candidate_ids=IDS, explain=True, **asked)
    assert answer["fusion"]["segment"] == segment
    weights = _weights(answer)
    assert (weights["vtr"], weights["vcr"]) == (vtr, 0.5), "what a segment leaves out is the scene's"
    terms = answer["items"][0]["terms"]
    assert (terms["video_len"]["term"] != 0.0) == (video_len != 0.0)


def test_what_conditions_look_at_is_logged_whatever_the_catalogue_keeps(serve, watched, tmp_path):
    from tests.support.bundle_variants import write_edited

    events = watched.load().manifest.events.model_dump(mode="json") | {"context": ["activity"]}
    write_edited(watched.bundle, tmp_path / "bundle", lambda _: None, events=events)
    with serve(
        bundle=tmp_path / "bundle",
        fusion=_config(segments=[EVENING]),
        events=tmp_path / "events",
        events_interval_ms=20,
    ) as served:
        served.rank(candidate_ids=IDS, context={"hour": 20, "tab": "1"})
        (row,) = wait_until(lambda: exposure_rows(tmp_path / "events"))
    assert orjson.loads(row["context"]) == {"hour": 20}
    assert row["w_vtr"] == 3.0


@pytest.fixture(scope="module")
def exploring(serve, watched, tmp_path_factory):
    """Services that explore every request, by unit, with their events."""
    kept = {"bundle": watched.bundle, "events_interval_ms": 20, "events_salt": "salt"}
    running = {}
    with ExitStack() as stack:
        for unit in UNITS:
            events = tmp_path_factory.mktemp(unit) / "events"
            fusion = _config(explore={"share": 1.0, "noise": 0.3, "unit": unit})
            running[unit] = stack.enter_context(serve(fusion, events=events, **kept)), events
        yield running


@pytest.mark.parametrize("unit", UNITS)
def test_drawn_weights_are_in_the_answer_its_terms_and_the_log_and_come_again_from_the_hash(exploring, unit):
    served, events = exploring[unit]
    body = {"user_id": "u7", "session_id": "s1", "candidate_ids": IDS, "explain": True}
    answer = served.rank(**body)
    assert answer["fusion"]["experiments"] == ["explore/default"]
    row = wait_until(
        lambda: next((r for r in exposure_rows(events) if r["exposure_id"] == answer["exposure_id"]), None)
    )
    assert row["unit_hash"] == unit_hash("salt", "explore/default", UNITS[unit](answer, body))
    assert row["explored"] is True
    law = Explore(share=1.0, noise=0.3, unit=unit)
    means = dict(sorted(WEIGHTS.items()))
    drawn = law.draw(np.array(list(means.values())), np.array([row["unit_hash"]], np.uint64))[0].tolist()
    assert [row[f"w_{task}"] for task in means] == drawn, "in the order of names"
    assert _weights(answer) == {
        "vtr": row["w_vtr"],
        "vcr": row["w_vcr"],
        "shr": 0.0,
        "cmr": 0.0,
        "video_len": row["w_video_len"],
    }
    assert drawn != list(means.values())


@pytest.mark.parametrize(
    ("unit", "other", "same"),
    [
        ("request", {}, False),
        ("session", {"user_id": "u8"}, True),
        ("session", {"session_id": "s2"}, False),
        ("session", {"session_id": None}, False),
        ("user_week", {"session_id": "s2"}, True),
        ("user_week", {"user_id": "u8"}, False),
    ],
)
def test_requests_of_one_unit_have_the_same_weights(exploring, unit, other, same):
    served, _ = exploring[unit]
    body = {"user_id": "u7", "session_id": "s1", "candidate_ids": IDS, "explain": True}
    one, two = served.rank(**body), served.rank(**body | other)
    assert (_weights(one) == _weights(two)) is same


def test_a_request_that_is_not_explored_has_the_configs_weights_and_says_no_experiment(serve):
    explore = {"share": 1e-9, "noise": 0.3}
    with serve(fusion=_config(explore=explore)) as served:
        answer = served.rank(candidate_ids=IDS, explain=True)
    assert answer["fusion"]["experiments"] == []
    assert _weights(answer)["vtr"] == WEIGHTS["vtr"]


@pytest.mark.parametrize("formula", ["weighted_sum", "rank_ensemble"])
def test_another_formula_scores_by_its_value_whose_terms_sum_to_it(serve, formula):
    key = "price" if formula == "weighted_sum" else "weight"
    more = {"vcr": {"price_per_s": 0.1}} if formula == "weighted_sum" else {}
    scene = {
        "formula": formula,
        "tasks": {"vtr": {key: 2.0}, "shr": {key: 5.0}, **more},
        "video_len": {"kind": "log", "scale_s": 30.0, "weight": 0.5},
        "calibration": {"shr": {"map": {"kind": "platt", "a": 0.5, "b": 0.9}}},
    }
    document = {"schema_version": 1, "scenes": {"default": scene}}
    with serve(fusion=document) as served:
        answer = served.rank(candidate_ids=IDS, explain=True, top_k=60)
    items = answer["items"]
    assert [item["score"] for item in items] == sorted((item["score"] for item in items), reverse=True)
    for item in items:
        assert item["log_score"] is None
        total = 0.0
        for part in item["terms"].values():
            total += part["term"]
        assert total == item["score"]
        vcr = item["terms"]["vcr"]
        assert (vcr.get("price_per_s"), vcr["weight"]) == (0.1 if more else None, 0.0)
        shr = item["terms"]["shr"]
        assert shr["calibrated"] == pytest.approx(1 / (1 + np.exp(-0.5) * (1 / shr["p"] - 1) ** 0.9))
    assert parse_fusion(orjson.dumps(document).decode()).scenes["default"].formula == formula
