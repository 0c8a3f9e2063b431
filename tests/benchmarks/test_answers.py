from benchmarks.serving.answers import difference, overlap
from benchmarks.serving.material import Ranked

RIGHT = Ranked(["a", "b", "c"], [0.5, 0.4, 0.1])


def test_the_same_answer_differs_in_nothing_and_rounding_is_no_difference():
    assert difference(Ranked(["a", "b", "c"], [0.5 * (1 + 1e-7), 0.4, 0.1]), RIGHT) is None


def test_another_order_another_score_and_a_missing_item_are_named():
    assert difference(Ranked(["b", "a", "c"], [0.5, 0.4, 0.1]), RIGHT) == "b in place of a at rank 1"
    assert difference(Ranked(["a", "b", "d"], [0.5, 0.4, 0.1]), RIGHT) is None  # as good as the last: a tie
    assert (
        difference(Ranked(["a", "b", "c"], [0.5, 0.4, 0.2]), RIGHT) == "score 0.2 in place of 0.1 at rank 3"
    )
    assert difference(Ranked(["a", "b"], [0.5, 0.4]), RIGHT) == "2 items in place of 3"


def test_two_of_equal_scores_may_change_places():
    right = Ranked(["a", "b", "c"], [0.5, 0.5 * (1 - 1e-7), 0.1])
    assert difference(Ranked(["b", "a", "c"], [0.5, 0.5, 0.1]), right) is None


def test_overlap_is_the_share_of_the_right_ids():
    assert overlap(Ranked(["c", "a", "x"], [0.0] * 3), RIGHT) == 2 / 3
