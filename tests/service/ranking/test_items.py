"""Items: which candidates an answer lists, in which order, and what it shows of each."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from model.fusion import LogPower, TaskTerm, explain
from model.fusion.lengths import LogLength
from service.contract.fields import Best
from service.contract.query import Query, quick_query
from service.ranking.items import add_terms, scored_items, unscored_items


def query(**given: object) -> Query:
    body = {"user_id": "u", "candidate_ids": ["a", "b", "c", "d", "e"], "fields": [], **given}
    taken = quick_query(orjson.dumps(body), 5)
    assert taken is not None
    return taken


def test_the_scored_come_in_the_order_given_with_what_is_known_of_each():
    best = Best([0.5, 0.25], [True, False], {}, np.array([np.nan, 3.0]))
    assert scored_items(query(), np.array([3, 0]), best) == [
        {"id": "d", "rank": 1, "score": 0.5, "status": "default_features"},
        {"id": "a", "rank": 2, "score": 0.25, "status": "ok"},
    ]


@pytest.mark.parametrize(("top_k", "ids"), [(2, ""), (3, "a"), (4, "ac"), (5, "ace"), (50, "ace")])
def test_the_unscored_fill_up_what_top_k_leaves_in_the_given_order(top_k, ids):
    found = unscored_items(query(top_k=top_k), np.array([1, 3]), 2)
    assert [(item["id"], item["rank"]) for item in found] == list(zip(ids, (3, 4, 5), strict=False))


def test_an_unscored_item_has_every_key_of_a_scored_one():
    (last,) = unscored_items(query(explain=True, fields=["predictions"]), np.arange(4), 4)
    assert last == {
        "id": "e",
        "rank": 5,
        "score": None,
        "status": "unscored",
        "predictions": None,
        "log_score": None,
        "terms": None,
    }
    assert unscored_items(query(), np.arange(5), 5) == []


def test_terms_are_those_of_the_items_own_candidate():
    scene = LogPower(tasks={"vtr": TaskTerm(weight=2.0)}, video_len=LogLength(scale_s=30.0, missing=0.5))
    told = explain(scene, {"vtr": np.array([0.1, 0.2, 0.4])}, np.array([30.0, np.nan, 60.0]))
    items = [{"id": "c"}, {"id": "b"}]
    add_terms(items, told, np.array([2, 1]), np.array([60.0, np.nan]))
    for item, place, seconds, f in zip(items, (2, 1), (60.0, None), (np.log1p(2), 0.5), strict=True):
        assert item["log_score"] == told.fused.log_score[place]
        assert item["terms"] == {
            "vtr": {"p": told.tasks["vtr"].p[place], "weight": 2.0, "term": told.tasks["vtr"].term[place]},
            "video_len": {
                "video_len": seconds,
                "f": pytest.approx(f),
                "weight": 1.0,
                "term": pytest.approx(np.log(f)),
            },
        }
