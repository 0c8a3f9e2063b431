"""The noise law: who is explored, how the weights are spread, and that they can be drawn again."""

import datetime
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.events.exposures import unit_hash
from model.fusion import Explore, LogPower, PricedTask, TaskTerm, WeightedSum
from model.fusion.lengths import LogLength
from model.fusion.noise import _uniform, standard_normals, week_of

MANY = 200_000
HASHES = np.random.default_rng(5).integers(0, 2**64, MANY, dtype=np.uint64)
LAW = Explore(share=0.25, noise=0.2)


def test_z_is_standard_normal_and_that_of_one_weight_says_nothing_of_anothers():
    z = standard_normals(HASHES, 5)
    assert z.shape == (MANY, 5)
    within = 4 / math.sqrt(MANY)  # four standard errors
    assert np.abs(z.mean(axis=0)).max() < within
    assert np.abs(z.var(axis=0) - 1).max() < within * math.sqrt(2)
    assert np.abs(np.mean(z**3, axis=0)).max() < within * math.sqrt(15)
    assert np.abs(np.mean(z**4, axis=0) - 3).max() < within * math.sqrt(96)
    between = np.corrcoef(z.T) - np.eye(5)
    assert np.abs(between).max() < within
    of_squares = np.corrcoef((z**2).T) - np.eye(5)
    assert np.abs(of_squares).max() < within
    tail = np.mean(np.abs(z) > 1.959964, axis=0)
    assert np.abs(tail - 0.05).max() < 4 * math.sqrt(0.05 * 0.95 / MANY)


def test_hashes_that_follow_each_other_are_as_good_as_any():
    z = standard_normals(np.arange(MANY, dtype=np.uint64), 2)
    within = 4 / math.sqrt(MANY)
    assert np.abs(z.mean(axis=0)).max() < within
    assert abs(np.corrcoef(z[1:, 0], z[:-1, 0])[0, 1]) < within


def test_the_share_is_explored_and_says_nothing_of_the_weights():
    taken = LAW.take(HASHES)
    assert abs(taken.mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / MANY)
    z = standard_normals(HASHES, 3)
    assert np.abs(z[taken].mean(axis=0)).max() < 4 / math.sqrt(taken.sum())
    assert Explore(share=1.0, noise=0.2).take(HASHES).all()
    more = Explore(share=0.5, noise=0.2).take(HASHES)
    assert more[taken].all(), "who is explored stays so when the share grows"


def test_one_unit_alone_draws_what_it_draws_among_others():
    mu = np.array([1.0, -0.5, 0.0])
    together = LAW.draw(mu, HASHES[:50])
    for place, one in enumerate(HASHES[:50].tolist()):
        assert LAW.draw(mu, np.array([one], np.uint64))[0].tolist() == together[place].tolist()
        assert LAW.takes(one) == bool(LAW.take(HASHES[place : place + 1])[0])


def test_the_first_weights_are_the_same_however_many_there_are():
    assert standard_normals(HASHES[:9], 2).tobytes() == standard_normals(HASHES[:9], 5)[:, :2].tobytes()


@given(st.integers(0, 2**64 - 1), st.lists(st.floats(-100, 100), min_size=1, max_size=6))
def test_z_is_found_again_from_the_weights(hashed, mu):
    means, hashes = np.array(mu), np.array([hashed], np.uint64)
    weights = LAW.draw(means, hashes)
    assert np.isfinite(weights).all()
    # A weight is rounded to its own last digit, which is small beside its deviation of 4 % or more.
    np.testing.assert_allclose(LAW.z_of(means, weights), standard_normals(hashes, len(mu)), atol=1e-12)


def test_weights_spread_relative_to_themselves_and_near_0_as_if_they_were_a_fifth():
    assert LAW.deviations(np.array([2.0, -3.0, 0.1, 0.0, 0.2])) == pytest.approx([0.4, 0.6, 0.04, 0.04, 0.04])
    mu = np.array([2.0, -3.0, 0.1])
    drawn = LAW.draw(mu, HASHES)
    assert np.abs(drawn.mean(axis=0) - mu).max() < 4 * 0.6 / math.sqrt(MANY)
    assert drawn.std(axis=0) == pytest.approx(LAW.deviations(mu), rel=0.01)


def test_the_stream_is_splitmix64():
    """Its first numbers from the seed 0, as its authors' code prints them."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    seed = np.zeros(1, np.uint64)
    assert [_uniform(seed, place)[0] for place in range(3)] == [(one >> 11) / 2**53 for one in published]


def test_a_pinned_draw_so_that_logs_can_be_read_later():
    z = standard_normals(np.array([0, 1, 2**64 - 1], np.uint64), 3)
    pinned = [
        [1.048204, 0.175713, 2.087528],
        [1.627637, -0.299873, -1.018299],
        [0.42076, 2.167352, -0.290446],
    ]
    assert z == pytest.approx(np.array(pinned), abs=1e-6)
    assert np.flatnonzero(LAW.take(np.arange(12, dtype=np.uint64))).tolist() == [3, 10]


def test_a_scene_draws_its_weights_the_lengths_and_logarithms_of_smoothings():
    scene = LogPower(
        tasks={
            "vtr": TaskTerm(weight=1.0, smoothing=0.02),
            "shr": TaskTerm(weight=-0.5),
            "cmr": TaskTerm(weight=0.0, smoothing=0.5),
        },
        video_len=LogLength(scale_s=30.0, weight=0.5),
        explore=Explore(share=1.0, noise=0.2),
    )
    means = {"vtr": 1.0, "shr": -0.5, "video_len": 0.5, "log_smoothing.vtr": math.log(0.02)}
    assert scene.parameters() == means
    drawn = scene.explored(12345)
    assert drawn is not None
    names = sorted(means)
    values = LAW.draw(np.array([means[name] for name in names]), np.array([12345], np.uint64))[0].tolist()
    for name, value in zip(names, values, strict=True):
        assert drawn.parameters()[name] == pytest.approx(value, rel=1e-15)
    assert drawn.tasks["cmr"] == scene.tasks["cmr"]
    assert drawn.tasks["vtr"].clip == scene.tasks["vtr"].clip


def test_who_is_not_taken_has_the_scenes_own_weights():
    scene = WeightedSum(tasks={"vtr": PricedTask(price=1.0)}, explore=LAW)
    explored = [scene.explored(int(one)) is not None for one in HASHES[:100]]
    assert explored == LAW.take(HASHES[:100]).tolist()
    assert WeightedSum(tasks={"vtr": PricedTask(price=1.0)}).explored(1) is None


@pytest.mark.parametrize("smoothing", [5e-324, 1e-300, 1e300])
def test_a_drawn_smoothing_is_a_number_whatever_the_noise(smoothing):
    law = Explore(share=1.0, noise=1.0)
    scene = LogPower(tasks={"vtr": TaskTerm(weight=1.0, smoothing=smoothing)}, explore=law)
    drawn = [scene.explored(int(one)) for one in HASHES[:200]]
    assert all(one is not None and math.isfinite(one.tasks["vtr"].smoothing) for one in drawn)


def test_weeks_begin_on_monday_at_0_h_utc():
    def at(*date):
        return int(datetime.datetime(*date, tzinfo=datetime.UTC).timestamp() * 1000)

    monday = at(2026, 11, 23)
    assert datetime.datetime(2026, 11, 23).weekday() == 0
    assert week_of(monday) == week_of(monday + 7 * 86_400_000 - 1)
    assert week_of(monday) == week_of(monday - 1) + 1
    assert week_of(monday + 7 * 86_400_000) == week_of(monday) + 1
    assert (week_of(0), week_of(at(1970, 1, 5))) == (0, 1)


def test_layers_of_one_unit_are_independent():
    z = [
        standard_normals(
            np.array([unit_hash("salt", f"explore/{scene}", f"u{k}") for k in range(4000)], np.uint64), 1
        )
        for scene in ("feed", "discover")
    ]
    assert abs(np.corrcoef(z[0][:, 0], z[1][:, 0])[0, 1]) < 4 / math.sqrt(4000)


def test_prices_spread_relative_to_themselves_alone_and_per_second_by_the_same_factor():
    scene = WeightedSum(
        tasks={"vcr": PricedTask(price=0.01, price_per_s=3.0), "shr": PricedTask(price_per_s=0.02)},
        video_len=LogLength(scale_s=30.0, weight=0.1),
        explore=Explore(share=1.0, noise=0.2),
    )
    factors, lengths = [], []
    for one in HASHES[:2_000].tolist():
        drawn = scene.explored(one)
        assert drawn is not None
        factors.append((drawn.tasks["vcr"].price / 0.01, drawn.tasks["shr"].price_per_s / 0.02))
        assert drawn.tasks["vcr"].price_per_s / 3.0 == pytest.approx(factors[-1][0])
        lengths.append(drawn.video_len.weight)
    assert np.std(factors, axis=0) == pytest.approx([0.2, 0.2], rel=0.1)
    assert np.std(lengths) == pytest.approx(0.2 * 0.2, rel=0.1), "an elasticity near 0 spreads like a fifth"
