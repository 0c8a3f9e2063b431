"""What a tuning found, as JSON: what the command prints and its page shows. Calculates nothing."""

from __future__ import annotations

from typing import Any

from training.metrics.task_metrics import finite
from training.tuning.diff import Side
from training.tuning.examination import Looks
from training.tuning.tuning import Candidate, Tuned


def tuned_report(found: Tuned, looks: Looks, current: Side, scene: str) -> dict[str, Any]:
    """A verdict with its forecast, and what each method found.

    Args:
        found: by tuning.
        looks: how often places are looked at.
        current: the config that it is compared with.
        scene: of both.
    """
    search, verdict = found.parts.search, found.parts.verdict
    report: dict[str, Any] = finite(
        {
            "verdict": found.verdict,
            "reasons": list(found.reasons),
            "formula": found.chosen.found.formula,
            "method": found.chosen.found.method,
            "forecast": found.forecast.difference,
            "interval": None if found.forecast.interval is None else list(found.forecast.interval),
            "believed": bool(search.configs) and not found.estimate.refused,
            "doubts": list(found.doubts),
            "scene": scene,
            "source": search.source,
            "served": bool(search.configs),
            "left_out": dict(search.left_out),
            "beside": found.problem.beside,
            "parts": {"how": found.parts.how, "search": len(search), "verdict": len(verdict)},
            "examination": {"how": looks.how, "looks": looks.looks.tolist()},
            "against": current.report(),
            "candidates": [_candidate(one) for one in found.candidates],
            "failed": dict(found.failed),
            "diagnostics": dict(found.estimate.diagnostics),
        }
    )
    return report


def _candidate(one: Candidate) -> dict[str, Any]:
    return {
        "method": one.found.method,
        "formula": one.found.formula,
        "gain": one.gain,
        "interval": None if one.interval is None else list(one.interval),
        "missed": dict(one.missed),
        "doubts": list(one.found.doubts),
        "seconds": one.seconds,
        "scene": one.found.scene.model_dump(mode="json", exclude_none=True),
    }
