import numpy as np
import pytest

from training.simulation import Behaviour, Impressions, ResponseConfig, World, WorldConfig
from training.simulation.behaviour import TABS

DRAWS = 20_000


def rare_made_common() -> World:
    """A world in which shares, comments and bounces are frequent enough to measure."""
    response = ResponseConfig(share_base=-1.5, comment_base=-1.0, like_base=-1.0, bounce=0.3)
    return World.create(WorldConfig(users=50, items=40, response=response))


def rows_of(world: World, user: int, video: int, position: int | None, n: int = DRAWS) -> Impressions:
    def fill(value: int) -> np.ndarray:
        return np.full(n, value, dtype=np.int64)

    return Impressions(
        fill(user), fill(video), fill(20), fill(1), None if position is None else fill(position)
    )


def measure(world: World, rows: Impressions, did: Behaviour) -> dict[str, tuple[float, float]]:
    """Mean and standard error of each quantity of the truth."""
    duration = int(world.videos.duration_ms[rows.video[0]])
    entered = (did.play_time_ms > 0) | did.is_click
    completion = np.clip(did.play_time_ms / duration, 0.0, 1.0)
    samples = {
        "entered": entered,
        "vtr": did.play_time_ms >= min(duration, 7_000),
        "vcr": completion[entered],
        "shr": did.is_share[entered],
        "cmr": did.is_comment[entered],
        "like": did.is_like[entered],
        "watch_s": did.play_time_ms / 1000,
        "reward": world.reward(rows, did),
    }
    return {k: (float(np.mean(x)), float(np.std(x) / np.sqrt(len(x)))) for k, x in samples.items()}


@pytest.mark.parametrize(
    ("user", "video", "position"), [(0, 0, None), (1, 7, 0), (2, 9, 4), (3, 21, 9), (4, 33, 30)]
)
def test_the_truth_of_an_impression_is_the_mean_of_many_draws(
    user: int, video: int, position: int | None
) -> None:
    world = rare_made_common()
    rows = rows_of(world, user, video, position)
    measured = measure(world, rows, world.respond(rows, np.random.default_rng(5)))
    truth = world.expect(rows)
    for name, (mean, error) in measured.items():
        expected = float(getattr(truth, name)[0])
        assert mean == pytest.approx(expected, abs=4.5 * error + 2e-3), name


def test_the_truth_of_the_whole_log_is_what_the_log_shows(data) -> None:
    log, world = data.log, data.world
    truth = world.truth(
        log["user_id"].to_list(),
        log["video_id"].to_list(),
        log["position"].to_numpy(),
        log["hour"].to_numpy(),
        log["tab"].to_list(),
    )
    play, duration = log["play_time_ms"].to_numpy(), log["duration_ms"].to_numpy()
    entered = (play > 0) | (log["is_click"].to_numpy() == 1)
    watched = play >= np.minimum(duration, 7_000)
    # In ten equal groups of the expected value, so that a truth right only on average does not pass.
    for observed, expected in (
        (watched.astype(float), truth.vtr),
        (np.clip(play / duration, 0, 1)[entered], truth.vcr[entered]),
        (log["is_share"].to_numpy()[entered], truth.shr[entered]),
        (log["is_comment"].to_numpy()[entered], truth.cmr[entered]),
        (play / 1000, truth.watch_s),
    ):
        for part in np.array_split(np.argsort(expected), 10):
            error = observed[part].std() / np.sqrt(len(part))
            assert observed[part].mean() == pytest.approx(expected[part].mean(), abs=4.5 * error + 1e-4)


def test_a_lower_position_is_looked_at_less_and_everything_follows() -> None:
    world = rare_made_common()
    truth = world.truth("u3", "v5", position=list(range(10)))
    assert np.all(np.diff(truth.examined) < 0)
    assert np.all(np.diff(truth.entered) < 0)
    assert np.all(np.diff(truth.vtr) < 0)
    assert np.ptp(truth.vcr) == 0  # given entry, position no longer matters
    assert np.ptp(truth.shr) == 0


def test_without_a_position_the_viewer_looks_for_certain() -> None:
    world = rare_made_common()
    assert world.truth("u3", "v5").reward == pytest.approx(world.truth("u3", "v5", position=0).reward)
    assert world.truth("u3", "v5").examined.tolist() == [1.0]


def test_expectations_do_not_depend_on_the_other_rows() -> None:
    world = rare_made_common()
    users, videos = [f"u{k}" for k in range(40)], [f"v{k}" for k in range(40)]
    together = world.truth(users, videos, position=3).reward
    alone = [world.truth(u, v, position=3).reward[0] for u, v in zip(users, videos, strict=True)]
    assert together == pytest.approx(alone, rel=1e-12)


def test_probabilities_stay_probabilities_at_the_ends_of_every_state() -> None:
    world = World.create(WorldConfig(response=ResponseConfig(taste=4.0, style=4.0, quality=4.0)))
    n = 20_000
    rng = np.random.default_rng(1)
    rows = Impressions(
        rng.integers(0, 4_000, n),
        rng.integers(0, 2_000, n),
        rng.integers(0, 24, n),
        rng.integers(0, len(TABS), n),
        rng.integers(0, 500, n),
    )
    truth = world.expect(rows)
    for name in ("examined", "entered", "vtr", "vcr", "shr", "cmr", "like"):
        values = getattr(truth, name)
        assert np.isfinite(values).all(), name
        assert (values >= 0).all(), name
        assert (values <= 1).all(), name
    assert np.isfinite(truth.reward).all()
