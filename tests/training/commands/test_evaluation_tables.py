"""Tables: what the short and the long answer say, and that no value is swallowed as markup."""

from __future__ import annotations

import pytest
from rich.console import Console

from training.commands.evaluation_tables import details, summary


def printed(parts):
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


@pytest.fixture
def report():
    """As `evaluate --json` gives it: a task of which much is unknown, and one of which all is."""
    seen = {"auc": 0.71234, "coverage": 0.6, "groups": 12, "interval": [0.7, 0.72]}
    unseen = {"auc": None, "coverage": 0.0, "groups": 0, "interval": [None, None]}
    vtr = {
        "rows": 1234,
        "auc": 0.75,
        "auc_interval": [0.74, 0.76],
        "gauc": 0.7,
        "gauc_interval": [0.6, 0.8],
        "logloss": 0.5,
        "calibration": 1.0361,
        "calibration_interval": [1.0, 1.1],
    }
    shr = dict.fromkeys(("auc", "gauc", "logloss", "calibration")) | {
        "rows": 3,
        **{f"{name}_interval": [None, None] for name in ("auc", "gauc", "calibration")},
    }
    found = {
        "bias_interval": [-0.1, 0.2],
        "bias": 0.05,
        "mean_prediction": 0.3,
        "mean_label": 0.25,
        "rows": 9,
    }
    binned = {
        "calibration_error": 0.0123,
        "deciles": [{"low": 0.1, "high": 0.4, **found}],
        "lengths": [
            {"from_s": 7.0, "to_s": 15.0, **found},
            {"from_s": 120.0, "to_s": None, **found},
            {"from_s": None, "to_s": None, **found, "bias_interval": [None, None]},
        ],
    }
    none = {"calibration_error": None, "deciles": [], "lengths": []}
    return {
        "tasks": {"vtr": vtr | {"all_rows": vtr} | binned, "shr": shr | {"all_rows": shr} | none},
        "groups": {"user_id": {"vtr": seen, "shr": unseen}, "tab": {"vtr": seen, "shr": unseen}},
        "fusion": {},
        "against": {},
    }


def test_the_short_answer_is_one_row_a_task(report):
    text = printed(summary(report))
    assert len(text.splitlines()) == 6
    for part in ("within user_id", "within tab", "AUC 0.7500 [0.7400, 0.7600]", "0.7123 on 60%", "1.036"):
        assert part in text


def test_what_cannot_be_computed_is_a_dash(report):
    text = printed([*summary(report), *details(report)])
    assert "nan" not in text
    assert "None" not in text
    row = next(line for line in text.splitlines() if "shr" in line)
    assert row.count("–") == 5  # noqa: RUF001


def test_a_small_coverage_is_not_rounded_to_nothing(report):
    report["groups"]["user_id"]["vtr"]["coverage"] = 0.0032
    assert "0.7123 on 0.3%" in printed(summary(report))


def test_a_comparison_ends_in_verdicts_and_notes(report):
    better = {"value": 0.75, "other": 0.7, "difference": 0.05, "interval": [0.01, 0.09], "verdict": "better"}
    unknown = {"value": None, "other": None, "difference": None, "interval": [None, None]}
    report["against"] = {
        "bundle": {"path": "other [1]"},
        "rows": 1234,
        "tasks": {"vtr": {"auc": better}, "shr": {"auc": unknown | {"verdict": "undecided"}}},
        "fusion": {"ndcg": better | {"verdict": "worse"}},
        "notes": ["mind [this]"],
    }
    text = printed(summary(report))
    assert "against other [1], on the same 1,234 rows" in text
    assert "note: mind [this]" in text
    lines = [line for line in text.splitlines() if line.startswith("│")]
    assert "+0.0500 [+0.0100, +0.0900]" in lines[-3]
    assert [word for line in lines[-3:] for word in ("better", "worse", "undecided") if word in line] == [
        "better",
        "undecided",
        "worse",
    ]


def test_a_fused_order_stands_beside_each_tasks_and_chance(report):
    less = {"difference": -0.00001, "interval": [-0.01, 0.01], "verdict": "undecided"}
    order = {"ndcg": 0.9, "interval": [0.88, 0.92]}
    report["fusion"] = {
        "auc_of_score": {"vtr": {"auc": 0.7}, "shr": {"auc": None}},
        "ndcg": {
            "reward": "vtr + shr",
            "mean_reward": 0.4,
            "k": 10,
            "group": "user_id",
            "groups": 1000,
            "coverage": 0.82,
            "fused": order,
            "tasks": {"vtr": order | {"fused_less_this": less}},
            "random": 0.8,
        },
    }
    text = printed(summary(report))
    for part in (
        "reward vtr + shr, mean 0.4000; within user_id: 1,000 groups, 82% of rows",
        "NDCG@10 [95 %]",
        "+0.0000 [-0.0100, +0.0100]",
        "AUC of the fused score: vtr 0.7000, shr –",  # noqa: RUF001
    ):
        assert part in text


def test_the_long_answer_has_all_rows_and_the_bins(report):
    text = printed(details(report))
    for part in (
        "vtr, all",
        "0.7123 [0.7000, 0.7200]",
        "+0.0500 [–]",  # noqa: RUF001
        "1.036 [1.000, 1.100]",
        "expected calibration error 0.0123",
        "0.1000 to 0.4000",
        "7 to 15",
        "120 and more",
        "unknown",
        "+0.0500 [-0.1000, +0.2000]",
    ):
        assert part in text
