"""What orders are worth, against slow literal versions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.fusion import parse_fusion
from tests.support.world_logs import WorldRequests, by_truth
from training.simulation import World, WorldConfig
from training.tuning.objective import Objective, Slates, ranked, scored
from training.tuning.requests import joined_requests

LOOKS = 0.9 ** np.arange(4)
CONFIG = parse_fusion(
    """
    schema_version: 1
    scenes:
      default:
        tasks: {vtr: {weight: 1.0}, shr: {weight: 0.5, smoothing: 0.1}}
        video_len: {kind: log, scale_s: 30.0, weight: 0.3}
        segments: [{name: feed, when: {tab: feed}, tasks: {vtr: {weight: -1.0}}}]
        explore: {share: 1.0, noise: 0.5}
    """
)


@pytest.fixture(scope="module")
def requests():
    return WorldRequests.of(World.create(WorldConfig(users=50, items=80, pool=20)), 60, by_truth()).requests


def literal(requests, value, places):
    """Rows in the first places of each request, one request after the other."""
    found = []
    for low, high in zip(requests.start[:-1], requests.start[1:], strict=True):
        rows = sorted(range(low, high), key=lambda row: (np.isnan(value[row]), -value[row], row))[:places]
        found.append(rows + [-1] * (places - len(rows)))
    return np.array(found)


@pytest.mark.parametrize("places", [1, 4, 20, 24])
def test_the_first_places_are_those_of_a_sorted_list(requests, places):
    chance = np.random.default_rng(places)
    value = chance.integers(0, 5, len(requests.item)).astype(float)  # with ties
    value[chance.random(len(value)) < 0.2] = np.nan
    np.testing.assert_array_equal(Slates(requests).first(value, places), literal(requests, value, places))


def test_a_request_is_worth_what_its_places_hold_times_how_often_they_are_looked_at(requests):
    chance = np.random.default_rng(0)
    value, worth = chance.random(len(requests.item)), chance.random(len(requests.item))
    expected = [
        sum(look * worth[row] for look, row in zip(LOOKS, rows, strict=True) if row >= 0)
        for rows in literal(requests, value, len(LOOKS))
    ]
    np.testing.assert_allclose(Objective(requests, worth, LOOKS).per_request(value), expected)


def test_a_config_ranks_by_its_own_weights_segments_included_and_explores_nothing(requests):
    value = ranked(CONFIG, requests)
    feed = np.array(['"feed"' in text for text in requests.said])
    of_feed = np.repeat(feed, requests.sizes)
    assert of_feed.any()
    assert not of_feed.all()
    plain = CONFIG.scenes["default"].model_copy(update={"segments": None, "explore": None})
    np.testing.assert_array_equal(value[~of_feed], scored(plain, requests)[~of_feed])
    assert not np.allclose(value[of_feed], scored(plain, requests)[of_feed])
    objective = Objective(requests, requests.predictions["shr"].astype(float), LOOKS)
    assert objective.value(plain) == pytest.approx(objective.per_request(scored(plain, requests)).mean())


def test_parts_joined_are_the_whole(requests):
    early = np.arange(len(requests)) < 20
    parts = [requests.kept(early), requests.kept(~early)]
    whole = joined_requests(parts)
    np.testing.assert_array_equal(whole.start, requests.start)
    np.testing.assert_array_equal(whole.item, requests.item)
    np.testing.assert_array_equal(whole.predictions["vtr"], requests.predictions["vtr"])
    alone = joined_requests([replace(requests)])
    np.testing.assert_array_equal(alone.shown_start, requests.shown_start)
