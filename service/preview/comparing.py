"""Comparing: what another config changes in recent requests, and in one of them. Pure computing.

What depends on the sample and the config in force alone is computed once. Places count from 1 in answers, as
ranks do. Knows no processes and no HTTP.

Shapes: R requests, C candidates of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from model.fusion import Explanation, FusionConfig, FusionError, LearnedFormula, explain, top_k
from model.fusion.comparison import Floats, Ints, Order, changes
from service.preview.sample import Record
from service.preview.selection import ScorerOf, Selection, Table, applied, tops
from service.ranking.items import terms_of

MOST_MOVERS = 20
"""Candidates that an answer names as those that move farthest."""
EDGES_S = (0.0, 7.0, 15.0, 30.0, 60.0, 180.0, 600.0)
"""Where the classes of lengths begin, seconds."""
STATUSES = ("ok", "default_features")

Answer = dict[str, Any]


class Ranked:
    """A selection in the order of one config.

    Args:
        selection: the requests.
        config: in whose order they are put.
        scorer_of: opens networks.

    Raises:
        FusionError: a network cannot be opened.
    """

    def __init__(self, selection: Selection, config: FusionConfig, scorer_of: ScorerOf) -> None:
        self.selection = selection
        self.config = config
        values = selection.values(config, scorer_of)
        self.orders = [table.order(values) for table in selection.tables]

    @cached_property
    def _classes(self) -> Ints:
        lengths = self.selection.video_len_s
        found = np.searchsorted(EDGES_S, lengths, side="right") - 1
        return np.where(np.isnan(lengths), len(EDGES_S), np.maximum(found, 0))

    def tops(self, top: int) -> Ints:
        """The candidates in the first places of all requests."""
        parts = [
            tops(table, order, top) for table, order in zip(self.selection.tables, self.orders, strict=True)
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def by_length(self, cells: Ints | slice) -> list[float]:
        """The share of each class of lengths among these candidates; unknown lengths are the last."""
        classes = self._classes[cells]
        shares: list[float] = (np.bincount(classes, minlength=len(EDGES_S) + 1) / len(classes)).tolist()
        return shares

    def by_status(self, cells: Ints) -> list[float]:
        """The shares of `STATUSES`."""
        default = float(self.selection.default[cells].mean())
        return [1.0 - default, default]

    def rates(self, cells: Ints) -> dict[str, float]:
        """Mean prediction by task."""
        return {task: float(p[cells].mean()) for task, p in self.selection.predictions.items()}


def picture(before: Ranked, after: Ranked, top: int) -> Answer:
    """What changes over all requests of a selection.

    Args:
        before, after: the same selection under two configs.
        top: places that count.
    """
    selection = before.selection
    requests, candidates = len(selection.rows), len(selection.default)
    answer: Answer = {"requests": requests, "candidates": candidates}
    if not requests:
        nothing = ("changed_first", "changed_top", "kendall_tau", "exposure", "rates")
        return answer | dict.fromkeys(nothing) | {"movers": []}
    found = [
        changes(one, other, table.number, top=top)
        for table, one, other in zip(selection.tables, before.orders, after.orders, strict=True)
    ]
    tau = np.concatenate([part.tau_b for part in found])
    answer |= {
        "changed_first": float(np.concatenate([part.first_changed for part in found]).mean()),
        "changed_top": float(np.concatenate([part.top_changed for part in found]).mean()),
        "kendall_tau": None if np.isnan(tau).all() else float(np.nanmean(tau)),
        "movers": _movers(before, after, top),
    }
    mine, others = before.tops(top), after.tops(top)
    lengths = zip(
        before.by_length(slice(None)), before.by_length(mine), before.by_length(others), strict=True
    )
    ends = [*EDGES_S, None]
    answer["exposure"] = {
        "video_len": [
            {
                "from_s": ends[place],
                "to_s": ends[place + 1] if place < len(EDGES_S) else None,
                "candidates": share,
                "before": one,
                "after": other,
            }
            for place, (share, one, other) in enumerate(lengths)
        ],
        "status": [
            {"status": status, "before": one, "after": other}
            for status, one, other in zip(
                STATUSES, before.by_status(mine), before.by_status(others), strict=True
            )
        ],
    }
    old, new = before.rates(mine), before.rates(others)
    answer["rates"] = {task: {"before": old[task], "after": new[task]} for task in old}
    return answer


def _movers(before: Ranked, after: Ranked, top: int) -> list[Answer]:
    """Candidates of the first places of either order that move farthest, of all requests."""
    selection = before.selection
    parts = [
        _moves(table, one, other, top)
        for table, one, other in zip(selection.tables, before.orders, after.orders, strict=True)
    ]
    request, candidate, old, new = np.concatenate(parts, axis=1)
    chosen = np.lexsort((candidate, request, old, -np.abs(new - old)))[:MOST_MOVERS]
    chosen = chosen[old[chosen] != new[chosen]]
    ids: dict[int, list[str]] = {}
    movers = []
    for row, at, one, other in zip(
        *(each[chosen].tolist() for each in (request, candidate, old, new)), strict=True
    ):
        if row not in ids:
            ids[row] = orjson.loads(selection.sample.ids[selection.rows[row]])
        movers.append(
            {"id": ids[row][at], "request": row, "candidate": at, "before": one + 1, "after": other + 1}
        )
    return movers


def _moves(table: Table, before: Order, after: Order, top: int) -> Ints:
    """Request, candidate, and both places, of candidates in the first places of either order: [4, moves]."""
    rows = np.arange(len(table.rows))[:, None]
    there = np.arange(min(top, before.order.shape[1])) < table.number[:, None]
    mine, others = before.order[:, :top], after.order[:, :top]
    candidate = np.concatenate([mine[there], others[there & (before.places[rows, others] >= top)]])
    row = np.concatenate(
        [
            np.broadcast_to(rows, mine.shape)[there],
            np.broadcast_to(rows, mine.shape)[there & (before.places[rows, others] >= top)],
        ]
    )
    return np.stack([table.rows[row], candidate, before.places[row, candidate], after.places[row, candidate]])


def side_by_side(
    record: Record, before: FusionConfig, after: FusionConfig, scorer_of: ScorerOf, top: int
) -> Answer:
    """One request under two configs, each item with its terms.

    Raises:
        FusionError: a network cannot be opened.
    """
    one, other = (_Explained(record, config, scorer_of) for config in (before, after))
    places = [np.argsort(each.order) for each in (one, other)]  # of each candidate
    first = list(dict.fromkeys([*one.order[:top].tolist(), *other.order[:top].tolist()]))
    moved = [at for at in first if places[0][at] != places[1][at]]
    moved.sort(key=lambda at: (-abs(int(places[1][at]) - int(places[0][at])), int(places[0][at])))
    return {
        "scene": applied(after, record.scene),
        "segments": {"before": one.segment, "after": other.segment},
        "before": one.items(top),
        "after": other.items(top),
        "movers": [
            {
                "id": one.ids[at],
                "request": 0,
                "candidate": at,
                "before": int(places[0][at]) + 1,
                "after": int(places[1][at]) + 1,
            }
            for at in moved[:MOST_MOVERS]
        ],
    }


class _Explained:
    """One request in the order of one config, with what its scores are made of.

    Attributes:
        ids: of the candidates [C].
        segment: whose weights hold, if a segment's.
        order: candidates, best first [C].
    """

    def __init__(self, record: Record, config: FusionConfig, scorer_of: ScorerOf) -> None:
        self._record = record
        self.ids: Sequence[str] = orjson.loads(record.ids)
        said: Mapping[str, Any] = orjson.loads(record.said)
        scene, self.segment = config.scenes[applied(config, record.scene)].of_request(said)
        self._p = dict(zip(record.tasks, record.predictions, strict=True))
        lengths: Floats = record.video_len_s
        scorer = scorer_of(scene) if isinstance(scene, LearnedFormula) else None
        try:
            self._terms: Explanation = explain(scene, self._p, lengths, scorer=scorer)
        except FusionError:
            if not isinstance(scene, LearnedFormula):
                raise
            scene, self.segment = config.scenes[scene.fallback].of_request(said)
            self._terms = explain(scene, self._p, lengths)
        self.order = top_k(self._terms.fused.order, record.candidates)

    def items(self, top: int) -> list[Answer]:
        record, fused = self._record, self._terms.fused
        items = []
        for rank, at in enumerate(self.order[:top].tolist(), 1):
            length = float(record.video_len_s[at])
            items.append(
                {
                    "id": self.ids[at],
                    "candidate": at,
                    "rank": rank,
                    "score": float(fused.score[at]),
                    "log_score": None if fused.log_score is None else float(fused.log_score[at]),
                    "video_len_s": None if np.isnan(length) else length,
                    "status": STATUSES[int(record.default[at])],
                    "predictions": {task: float(p[at]) for task, p in self._p.items()},
                    "terms": terms_of(self._terms, at, length),
                }
            )
        return items


def without_ids(answer: Answer) -> Answer:
    """The answer for one who may not see ids."""
    for name in ("movers", "before", "after"):
        for item in answer.get(name, ()):
            item["id"] = None
    if "segments" in answer:
        answer["segments"] = {"before": None, "after": None}
    return answer
