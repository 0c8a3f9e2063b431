"""Items: the lines of an answer. Knows scores and places, not where they come from.

Shapes: N candidates, S of them scored, k best.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from model.fusion import Explanation
from service.schemas import RankRequest

__all__ = ["scored_items", "unscored_items"]

Item = dict[str, Any]


def scored_items(
    request: RankRequest,
    explanation: Explanation,
    best: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    default: npt.NDArray[np.bool_],
    video_len_s: npt.NDArray[np.float64],
) -> list[Item]:
    """The best candidates, best first.

    Args:
        request: what to show of them.
        explanation: scores and terms [S].
        best: their places among the scored [k].
        rows: their places among the candidates [k].
        default: whether they were scored without stored features [k].
        video_len_s: their lengths [k].
    """
    ids = request.ids
    items: list[Item] = [
        {"id": ids[row], "rank": rank, "score": score, "status": "default_features" if unknown else "ok"}
        for rank, (row, score, unknown) in enumerate(
            zip(rows.tolist(), explanation.fused.score[best].tolist(), default.tolist(), strict=True), 1
        )
    ]
    if "predictions" in request.fields:
        columns = [part.p[best].tolist() for part in explanation.tasks.values()]
        for item, *values in zip(items, *columns, strict=True):
            item["predictions"] = dict(zip(explanation.tasks, values, strict=True))
    if request.explain:
        log_scores = explanation.fused.log_score[best].tolist()
        for place, item in enumerate(items):
            item["log_score"] = log_scores[place]
            item["terms"] = _terms(explanation, int(best[place]), float(video_len_s[place]))
    return items


def unscored_items(request: RankRequest, scored: npt.NDArray[np.int64], before: int) -> list[Item]:
    """Candidates without a score in the given order, `before` items being above them, to `top_k` in all.

    Args:
        request: the candidates, and what to show of them.
        scored: places of the scored among the candidates [S].
        before: items above.
    """
    ids = request.ids
    if len(scored) == len(ids):
        return []
    rows = np.setdiff1d(np.arange(len(ids)), scored, assume_unique=True)[: request.top_k - before]
    shown: Item = {"predictions": None} if "predictions" in request.fields else {}
    if request.explain:
        shown |= {"log_score": None, "terms": None}
    return [
        {"id": ids[row], "rank": rank, "score": None, "status": "unscored", **shown}
        for rank, row in enumerate(rows.tolist(), before + 1)
    ]


def _terms(explanation: Explanation, place: int, video_len_s: float) -> dict[str, dict[str, float | None]]:
    """The terms of one candidate, in the order in which they sum."""
    terms: dict[str, dict[str, float | None]] = {
        task: {"p": float(part.p[place]), "weight": part.weight, "term": float(part.term[place])}
        for task, part in explanation.tasks.items()
    }
    length = explanation.video_len
    terms["video_len"] = {
        "video_len": None if math.isnan(video_len_s) else video_len_s,
        "f": float(length.f[place]),
        "weight": length.weight,
        "term": float(length.term[place]),
    }
    return terms
