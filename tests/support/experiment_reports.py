"""Experiments as `GET /v1/experiments/{id}` gives them, for tests of what shows them."""

from __future__ import annotations

import math
from typing import Any

START_MS = 1_790_000_000_000
_DAY_MS = 86_400_000
ARMS = [
    {"name": "control", "share": 5_000, "bundle": None, "revision": None, "patch": None},
    {
        "name": "more",
        "share": 5_000,
        "bundle": None,
        "revision": None,
        "patch": {"scenes": {"default": {"tasks": {"shr": {"weight": 1.5}}}}},
    },
]


def look(day: float, difference: float = 0.012, alarm: bool = False) -> dict[str, Any]:
    """What is known after so many days, intervals narrowing."""
    half = 0.03 / math.sqrt(day)
    units = round(4_000 * day)
    shown = difference + 0.4 * half * math.sin(7.0 * day)
    low, high = (round(shown + side * half, 5) for side in (-1, 1))
    verdict = "better" if low > 0 else None
    return {
        "time_ms": START_MS + round(day * _DAY_MS),
        "days": day,
        "mature_until_ms": START_MS + round((day - 0.5) * _DAY_MS),
        "units": {"control": units, "more": units + 31},
        "metrics": {
            "shares": {
                "control": {"value": 0.031, "difference": None, "low": None, "high": None},
                "more": {"value": 0.033, "difference": 0.06, "low": 0.06 - 3 * half, "high": 0.06 + 3 * half},
            },
            "reward": {
                "control": {"value": 0.412, "difference": None, "low": None, "high": None},
                "more": {"value": 0.417, "difference": round(shown, 5), "low": low, "high": high},
            },
        },
        "guardrails": {
            "failed": {"more": {"ratio": 1.02, "e_value": 0.31, "alarm": False}},
            "is_comment": {
                "more": {"ratio": 0.52 if alarm else 0.99, "e_value": 812.0 if alarm else 0.2, "alarm": alarm}
            },
        },
        "sample_ratio": {
            "alarm": False,
            "e_value": 0.4,
            "scene": "all scenes",
            "counts": {"control": units, "more": units + 31},
            "expected": {"control": units + 15.5, "more": units + 15.5},
        },
        "crossed": 2,
        "verdicts": {"more": {"verdict": verdict, "why": f"reward {shown:+.2%} [{low:+.2%}, {high:+.2%}]"}},
        "next": "ramps to 2000 buckets at 2026-09-23 14:00 UTC, if nothing alarms",
    }


def report(count: int = 12, /, **changes: Any) -> dict[str, Any]:
    """A running experiment with looks every twelve hours."""
    seen = [look((at + 1) / 2) for at in range(count)]
    return {
        "id": "more_shares",
        "layer": "fusion",
        "arms": ARMS,
        "first": 0,
        "size": 2_000,
        "ramp": 500,
        "scenes": None,
        "when": None,
        "overrides": {},
        "state": "running",
        "start_ms": None,
        "stop_ms": None,
        "edition": 4,
        "author": "anna",
        "note": "shares <b>count</b> more\x1b[2J",
        "created_ms": START_MS - _DAY_MS,
        "since_ms": START_MS,
        "ramped_ms": START_MS,
        "terms": {
            "primary": "reward",
            "metrics": {"shares": "is_share"},
            "guardrails": [
                {"metric": "failed", "harm": "rises", "test": "counts", "margin": 0.1, "alpha": 0.005},
                {"metric": "is_comment", "harm": "falls", "test": "counts", "margin": 0.05, "alpha": 0.005},
            ],
            "days": 14.0,
            "planned_error": 0.0046,
            "alpha": 0.05,
            "before_days": 0.0,
            "slow_ms": 100.0,
            "sample_ratio_alpha": 0.001,
            "most_crossed": 0.001,
        },
        "ramps": [{"to": 500, "hours": 0.0, "units": 0}, {"to": 2_000, "hours": 24.0, "units": 500}],
        "on_better": "pause",
        "outcome": None,
        "waits": None,
        "look": seen[-1] if seen else None,
        "looks": seen,
        **changes,
    }
