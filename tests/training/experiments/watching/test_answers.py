from training.experiments.watching.answers import Answers, Counted, counted, of_metric

TEXT = """# HELP fulcrum_arm_answers_total Answers.
fulcrum_arm_answers_total{arm="fusion/test:a",outcome="ok"} 90.0
fulcrum_arm_answers_total{arm="fusion/test:a",outcome="failed"} 3.0
fulcrum_arm_seconds_bucket{arm="fusion/test:a",le="0.1"} 80.0
fulcrum_arm_seconds_bucket{arm="fusion/test:a",le="0.25"} 88.0
fulcrum_arm_seconds_bucket{arm="fusion/test:a",le="+Inf"} 90.0
fulcrum_host{host="box-1"} 1.0
fulcrum_requests_total{route="rank",status="200"} 1e+06
"""
A = "fusion/test:a"


def taken(answers, failed, since=1, host=""):
    found = answers.take(Counted(host, {A: {"failed": float(failed)}}), {A: since} if since else {})
    return found[A].get("failed", 0) if since else None


def test_answers_are_read_by_arm_and_slow_ones_by_the_next_bound():
    assert counted(TEXT).host == "box-1"
    found = counted(TEXT).arms
    assert list(found) == [A]
    assert of_metric(found[A], "failed", 100.0) == 3
    assert of_metric(found[A], "degraded", 100.0) == 0
    assert of_metric(found[A], "slow", 100.0) == 10
    assert of_metric(found[A], "slow", 101.0) == 2
    assert of_metric(found[A], "slow", 300.0) == 0


def test_what_was_counted_before_anybody_looked_counts_for_nobody(tmp_path):
    answers = Answers(tmp_path / "answers.json")
    assert [taken(answers, n) for n in (10, 10, 14)] == [0, 0, 4]


def test_all_counts_of_an_arm_that_the_look_before_did_not_meet(tmp_path):
    Answers(tmp_path / "answers.json").take(Counted(), {})
    assert taken(Answers(tmp_path / "answers.json"), 7) == 7


def test_sums_outlive_who_looks_and_a_service_that_begins_again_at_none(tmp_path):
    for failed, expected in ((0, 0), (5, 5), (2, 7), (3, 8)):
        assert taken(Answers(tmp_path / "answers.json"), failed) == expected


def test_a_service_that_has_not_counted_yet_begins_again(tmp_path):
    answers = Answers(tmp_path / "answers.json")
    assert [taken(answers, n) for n in (0, 5)] == [0, 5]
    assert answers.take(Counted(), {A: 1})[A] == {"failed": 5.0}
    assert taken(answers, 6) == 11


def test_a_new_comparison_counts_from_its_beginning(tmp_path):
    answers = Answers(tmp_path / "answers.json")
    assert [taken(answers, n) for n in (0, 5)] == [0, 5]
    taken(answers, 8, since=None)  # paused
    assert [taken(answers, n, since=2) for n in (8, 9)] == [0, 1]
    assert [taken(answers, n, since=3) for n in (12, 13)] == [0, 1]  # whose 3 were, nobody knows


def test_hosts_that_answer_in_turn_count_what_each_of_them_added(tmp_path):
    answers = Answers(tmp_path / "answers.json")
    met = [("a", 100, 0), ("b", 9, 0), ("a", 103, 3), ("b", 10, 4), ("b", 10, 4), ("a", 103, 4), ("c", 50, 4)]
    for host, failed, expected in met:
        assert taken(answers, failed, host=host) == expected
