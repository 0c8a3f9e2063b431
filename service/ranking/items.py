"""Items: the lines of an answer. Knows scores and places, not where they come from.

Shapes: N candidates, S of them scored, k best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from model.fusion import Explanation
from service.contract.fields import COLUMNS, Best
from service.contract.query import Query

Item = dict[str, Any]


def scored_items(query: Query, rows: npt.NDArray[np.int64], best: Best) -> list[Item]:
    """The best candidates, best first.

    Args:
        query: the candidates, and what to show of them.
        rows: places of the best among them [k].
        best: what is known of these [k].
    """
    ids = query.ids
    items: list[Item] = [
        {"id": ids[row], "rank": rank, "score": score, "status": "default_features" if unknown else "ok"}
        for rank, row, score, unknown in zip(count(1), rows.tolist(), best.scores, best.default)
    ]
    for name in query.fields:
        for item, value in zip(items, COLUMNS[name](best), strict=True):
            item[name] = value
    return items


def add_terms(
    items: Sequence[Item],
    explanation: Explanation,
    best: npt.NDArray[np.int64],
    video_len_s: npt.NDArray[np.float64],
) -> None:
    """What each score is made of.

    Args:
        items: the best [k].
        explanation: scores and terms [S].
        best: places of the items among the scored [k].
        video_len_s: lengths of the items [k].
    """
    logs = explanation.fused.log_score
    log_scores = [None] * len(items) if logs is None else logs[best].tolist()
    for place, item, log_score, length in zip(
        best.tolist(), items, log_scores, video_len_s.tolist(), strict=True
    ):
        item["log_score"] = log_score
        item["terms"] = terms_of(explanation, place, length)


def unscored_items(query: Query, scored: npt.NDArray[np.int64], before: int) -> list[Item]:
    """Candidates without a score in the given order, `before` items being above them, to `top_k` in all.

    Args:
        query: the candidates, and what to show of them.
        scored: places of the scored among the candidates [S].
        before: items above.
    """
    ids = query.ids
    if len(scored) == len(ids):
        return []
    rows = np.setdiff1d(np.arange(len(ids)), scored, assume_unique=True)[: query.top_k - before]
    shown: Item = dict.fromkeys(query.fields)
    if query.explain:
        shown |= {"log_score": None, "terms": None}
    return [
        {"id": ids[row], "rank": rank, "score": None, "status": "unscored", **shown}
        for rank, row in enumerate(rows.tolist(), before + 1)
    ]


def terms_of(explanation: Explanation, place: int, video_len_s: float) -> dict[str, dict[str, float | None]]:
    """The terms of one of the scored candidates, by its index, in the order in which they sum."""
    base = explanation.base
    terms: dict[str, dict[str, float | None]] = {} if base is None else {"base": {"term": float(base[place])}}
    terms |= {
        task: {"p": float(part.p[place]), "weight": part.weight, "term": float(part.term[place])}
        for task, part in explanation.tasks.items()
    }
    for task, part in explanation.tasks.items():
        if part.calibrated is not None:
            terms[task]["calibrated"] = float(part.calibrated[place])
        if part.per_s is not None:
            terms[task]["price_per_s"] = part.per_s
    length = explanation.video_len
    terms["video_len"] = {
        "video_len": None if math.isnan(video_len_s) else video_len_s,
        "f": float(length.f[place]),
        "weight": length.weight,
        "term": float(length.term[place]),
    }
    return terms
