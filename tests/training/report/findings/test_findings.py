"""Findings: words that follow from intervals, whatever these are."""

from __future__ import annotations

import pytest

from training.report.findings.findings import findings, seesaw, signed


def _gain(low, high):
    verdict = "better" if low > 0 else "worse" if high < 0 else "undecided"
    return {"gain": (low + high) / 2, "interval": [low, high], "verdict": verdict, "seeds": 5}


def _report(**gains):
    tasks = [
        {"name": "vtr", "metric": "auc", "intervals": True},
        {"name": "vcr", "metric": "mse", "intervals": True},
    ]
    runs = [{"seed": 7, "status": "finished"}, {"seed": 8, "status": "diverged"}]
    networks = {"single-task": {"gains": None, "against_own": None, "runs": runs}}
    for name, (vtr, vcr) in gains.items():
        of = {"vtr": _gain(*vtr), "vcr": _gain(*vcr)}
        networks[name] = {"gains": of, "against_own": None, "runs": runs}
    return {"tasks": tasks, "networks": networks}


@pytest.mark.parametrize(
    ("vtr", "vcr", "word", "said"),
    [
        (
            (0.001, 0.002),
            (0.001, 0.003),
            "better on all",
            "PLE shows no seesaw: it is surely better on every task",
        ),
        ((0.001, 0.002), (-0.003, -0.001), "seesaw", "PLE shows a seesaw"),
        ((-0.001, 0.002), (-0.003, -0.001), "negative transfer", "PLE shows negative transfer"),
        ((0.001, 0.002), (-0.003, 0.001), "better on some", "no sure seesaw, which is not the same as none"),
        ((-0.001, 0.002), (-0.003, 0.001), "undecided", "no sure seesaw, which is not the same as none"),
    ],
)
def test_the_words_follow_the_intervals(vtr, vcr, word, said):
    report = _report(ple=(vtr, vcr))
    assert seesaw(report["networks"]["ple"]["gains"]) == word
    assert any(said in sentence for sentence in findings(report, own=None, seeds=2))


def test_each_task_names_who_is_surely_better_and_worse_and_runs_are_counted():
    report = _report(mmoe=((0.001, 0.002), (-0.1, 0.1)), moe=((-0.02, -0.01), (-0.1, 0.1)))
    first, *_, behind, chance = findings(report, own=None, seeds=2)
    assert "surely better than single-task models: mmoe (+.0015 [+.0010, +.0020])" in first
    assert "surely worse: moe (" in first
    assert "undecided: 0 of 2" in first
    assert "3 finished runs of 3 networks" in behind
    assert "moe seed 8 (diverged)" in behind
    assert "of 4 verdicts against single-task models, expect about 0.2 to be wrong by chance" in chance


@pytest.mark.parametrize(("networks", "expected"), [(1, "of 2 verdicts"), (14, "of 28 verdicts")])
def test_verdicts_wrong_by_chance_are_one_in_twenty_of_their_number(networks, expected):
    report = _report(**{f"n{number}": ((0.001, 0.002), (-0.1, 0.1)) for number in range(networks)})
    said = findings(report, own=None, seeds=2)[-1]
    assert expected in said
    assert f"expect about {networks * 2 * 0.05:g} to be wrong by chance alone" in said


def test_what_has_no_interval_or_no_run_is_no_verdict_that_chance_may_spoil():
    report = _report(**dict.fromkeys(("ple", "mmoe", "moe"), ((0.001, 0.002), (-0.1, 0.1))))
    report["tasks"][1]["intervals"] = False
    report["networks"]["moe"]["gains"]["vtr"]["seeds"] = 0
    assert "of 2 verdicts" in findings(report, own=None, seeds=2)[-1]
    report["tasks"][0]["intervals"] = False
    assert "verdicts" not in findings(report, own=None, seeds=2)[-1]


def test_what_is_not_known_is_a_dash():
    assert signed(None) == signed(float("nan")) == "\u2013"
    assert signed(-0.00123) == "\u2212.0012"
    assert signed(1.5, 2) == "+1.50"
