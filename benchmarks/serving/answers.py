"""Answers: whether contenders rank alike, before anybody is timed. Knows no HTTP."""

from __future__ import annotations

import math

from benchmarks.serving.material import Ranked

__all__ = ["TOLERANCE", "difference", "overlap"]

TOLERANCE = 1e-5
"""Of scores, relative."""


def difference(found: Ranked, right: Ranked) -> str | None:
    """How an answer differs from the right one; None where it is the same.

    The same ids in the same order; two may change places only where their scores are equal to the tolerance.
    """
    if len(found.ids) != len(right.ids):
        return f"{len(found.ids)} items in place of {len(right.ids)}"
    known = dict(zip(right.ids, right.scores, strict=True))
    for place, (id_, score) in enumerate(zip(found.ids, found.scores, strict=True)):
        expected = right.scores[place]
        if not math.isclose(score, expected, rel_tol=TOLERANCE):
            return f"score {score!r} in place of {expected!r} at rank {place + 1}"
        if id_ != right.ids[place] and not math.isclose(
            known.get(id_, right.scores[-1]), expected, rel_tol=TOLERANCE
        ):
            return f"{id_} in place of {right.ids[place]} at rank {place + 1}"
    return None


def overlap(found: Ranked, right: Ranked) -> float:
    """Share of the right ids that were found."""
    return len(set(found.ids) & set(right.ids)) / len(right.ids)
