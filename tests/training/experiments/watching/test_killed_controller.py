import pytest

from tests.support.controller_kills import PLANNED, Killer, killed, prepared, random_killer

SEEDS = 10
"""200 of them: `python -m benchmarks.watch --only kills`."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("events"))


def test_a_controller_that_is_killed_anywhere_ramps_and_rolls_back_once_and_in_time(whole, tmp_path):
    done, posted, _ = killed(whole, tmp_path / "alive", alive := Killer(set()))
    assert done == PLANNED
    assert [one["changes"] for one in posted] == [["running"], ["ramped"], ["ramped"], ["stopped"]]
    for seed in range(SEEDS):
        done, posted, kills = killed(whole, tmp_path / str(seed), random_killer(seed, alive.moments))
        assert kills > 0
        assert done == PLANNED
        assert {what for one in posted for what in one["changes"]} == {"running", "ramped", "stopped"}
