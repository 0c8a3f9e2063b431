import math

import pytest

from training.experiments import sample_ratio
from training.experiments.sample_ratio import ALL, log_e_value


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_where_shares_hold_the_e_value_is_1_in_the_mean(share):
    n, mean = 60, 0.0
    for k in range(n + 1):
        chance = math.comb(n, k) * share**k * (1 - share) ** (n - k)
        mean += chance * math.exp(log_e_value((k, n - k), (share, 1 - share)))
    assert mean == pytest.approx(1.0)


def test_51_to_49_is_found_where_it_is_no_chance_and_not_before():
    assert not sample_ratio((1_020, 980), {}, (0.5, 0.5)).alarm
    found = sample_ratio((57_120, 54_880), {}, (0.5, 0.5))
    assert found.alarm
    assert found.expected == [56_000, 56_000]


def test_what_is_plainly_broken_is_found_at_once():
    assert sample_ratio((60, 0), {}, (0.5, 0.5)).alarm
    assert sample_ratio((500, 0, 500), {}, (0.4, 0.2, 0.4)).alarm


def test_the_scene_where_it_is_broken_is_named():
    scenes = {"default": (50_000, 50_050), "discover": (1_300, 1_000)}
    found = sample_ratio((51_300, 51_050), scenes, (0.5, 0.5))
    assert (found.alarm, found.scene) == (True, "discover")
    assert not sample_ratio((51_300, 51_050), {"default": scenes["default"]}, (0.5, 0.5)).alarm


def test_one_scene_is_all_scenes():
    assert sample_ratio((60, 40), {"default": (60, 40)}, (0.5, 0.5)).scene == ALL


def test_more_scenes_need_more_evidence_each():
    counts = (1_240, 1_000)
    few = sample_ratio((50_000, 50_000), {"a": counts, "b": (5, 5)}, (0.5, 0.5))
    many = sample_ratio((50_000, 50_000), {"a": counts, **{str(k): (5, 5) for k in range(40)}}, (0.5, 0.5))
    assert few.alarm
    assert not many.alarm
