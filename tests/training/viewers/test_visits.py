from itertools import islice, pairwise

import numpy as np

from training.simulation import World
from training.viewers.visits import Audience, Visit


def described(visits: list[Visit]) -> list[tuple[int, int, int, int, list[int]]]:
    return [(v.number, v.user, v.hour, v.tab, v.candidates.tolist()) for v in visits]


def test_equal_seeds_give_equal_visits_and_other_seeds_others(world: World) -> None:
    one, same, other = (described(list(Audience(world, seed).visits(300))) for seed in (1, 1, 2))
    assert one == same
    assert sum(ours == theirs for ours, theirs in zip(one, other, strict=True)) == 0


def test_more_visits_begin_with_the_same(audience: Audience) -> None:
    few, more = list(audience.visits(100)), list(audience.visits(5_000))
    assert len(more) == 5_000
    assert described(few) == described(more[:100])
    assert [visit.number for visit in more] == list(range(5_000))


def test_a_visit_has_distinct_candidates_that_fill_an_answer(world: World, audience: Audience) -> None:
    for visit in audience.visits(200):
        assert world.config.slots <= len(set(visit.candidates.tolist())) == len(visit.candidates) <= 20


def test_users_ask_several_times_in_a_session(audience: Audience) -> None:
    visits = list(audience.visits(1_000))
    again = np.mean([(a.user, a.hour, a.tab) == (b.user, b.hour, b.tab) for a, b in pairwise(visits)])
    assert 0.2 < again < 0.9


def test_what_a_viewer_does_with_a_video_depends_on_nothing_else_that_is_shown(audience: Audience) -> None:
    did = 0
    for visit in audience.visits(200):
        first, second, third, fourth = visit.candidates[:4].tolist()
        one = audience.watch(visit, np.array([first, second])).did
        other = audience.watch(visit, np.array([first, fourth, third])).did
        for name, values in vars(one).items():
            assert values[0] == vars(other)[name][0], name
        did += int(one.play_time_ms[0] > 0)
    assert did > 50


def test_who_looks_at_two_positions_does_the_same_at_both(audience: Audience) -> None:
    """Services that show a video at different positions differ by the looking alone."""
    both = 0
    for visit in audience.visits(300):
        shown = visit.candidates[:5]
        front = int(audience.watch(visit, shown).did.play_time_ms[0])
        back = int(audience.watch(visit, shown[::-1]).did.play_time_ms[-1])
        if front and back:
            assert front == back
            both += 1
        assert front or not back  # whoever looks at the last position looks at the first
    assert both > 100


def test_the_expected_reward_is_the_mean_of_the_realised(audience: Audience) -> None:
    watched = [audience.watch(visit, visit.candidates[:5]) for visit in audience.visits(6_000)]
    difference = np.array([one.realised - one.expected for one in watched])
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))
    assert np.mean([one.realised for one in watched]) > 0.1


def test_the_chances_of_an_event_go_with_its_video(audience: Audience) -> None:
    (visit,) = islice(audience.visits(1), 1)
    first, second, third = visit.candidates[:3].tolist()
    one = audience.chances(visit, np.array([first, second]), 6)
    other = audience.chances(visit, np.array([third, first]), 6)
    assert one.shape == (2, 6)
    assert np.array_equal(one[0], other[1])
