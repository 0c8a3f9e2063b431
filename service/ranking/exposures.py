"""Exposures: what is kept of an answer, as a record. Knows neither who writes it nor where to.

Shapes: N candidates, S of them scored, K items of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from model.encoding import EncodedRows, Encoder
from model.events import Candidates, Exposure, Origin, PackedCandidates, Shown
from model.events.exposures import VIDEO_LEN, unit_hash
from model.events.pseudonym import pseudonym
from model.fusion import canonical_json
from model.store.packed import PackedLayout
from service.contract.query import Query
from service.control.snapshot import Snapshot
from service.features.store import LookUp
from service.ranking.exposure_id import time_ms_of
from service.ranking.fusing import Law, said_by


@dataclass(frozen=True)
class Sampling:
    """Which answers are kept with all their candidates: decided by the exposure id alone.

    Attributes:
        candidates: share of answers whose candidates are kept.
        rows: share whose rows are kept, too; of the former, thus no larger.
    """

    candidates: float
    rows: float

    def of(self, exposure_id: str) -> tuple[bool, bool]:
        """Whether the candidates of this answer are kept, and whether their rows."""
        draw = unit_hash("", "candidates", exposure_id) / 2.0**64
        return draw < self.candidates, draw < min(self.rows, self.candidates)


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """An answer, and what it was made of.

    Attributes:
        query: what was asked.
        snapshot: what answered.
        exposure_id: the answer's.
        law: that scored it.
        arms: labels of its arms in experiments.
        degraded: what went wrong.
        items: ids in the order of the answer [K].
        best: places of those with a score among the candidates, in the same order.
        video_len_s: of the candidates, seconds, NaN where unknown [N].
        scored: places of the scored among the candidates, ascending [S].
        predictions: by task [S].
        rows: of user and candidates, as the network took them.
        generation: of the store that gave them.
        beside: whether its bundle is another than the active one.
    """

    query: Query
    snapshot: Snapshot
    exposure_id: str
    law: Law
    arms: Sequence[str]
    degraded: Sequence[str]
    items: Sequence[str]
    best: npt.NDArray[np.int64]
    video_len_s: npt.NDArray[np.float64]
    scored: npt.NDArray[np.int64]
    predictions: Mapping[str, npt.NDArray[np.float32]]
    rows: LookUp
    generation: str | None
    beside: bool = False


class Exposures:
    """Makes records of answers.

    Args:
        sampling: which hold all candidates.
        user_key: under which users and sessions are hashed; None keeps their ids.
    """

    def __init__(self, sampling: Sampling, user_key: str | None = None) -> None:
        self._sampling = sampling
        self._user_key = user_key
        self._origins: WeakKeyDictionary[Snapshot, Origin] = WeakKeyDictionary()

    def shown(self, answered: Answered) -> Shown:
        """The record of an answer."""
        query, snapshot = answered.query, answered.snapshot
        bundle = snapshot.active.bundle
        law = answered.law
        applied = law.scene.weights
        weights = {task: applied.get(task, 0.0) for task in answered.predictions}
        with_candidates, with_rows = self._sampling.of(answered.exposure_id)
        events = bundle.manifest.events
        exposure = Exposure(
            exposure_id=answered.exposure_id,
            request_id=query.request_id,
            time_ms=time_ms_of(answered.exposure_id),
            user=self._kept(query.user_id),
            session=None if query.session_id is None else self._kept(query.session_id),
            unit_hash=law.unit_hash,
            scene=law.name,
            context=_context(query, None if events is None else events.context, snapshot.fusion.conditions),
            bundle_version=bundle.version,
            variant=snapshot.active.engine.variant,
            fusion_version=snapshot.fusion.version,
            revision=snapshot.fusion.revision,
            arms=answered.arms,
            weights={**weights, VIDEO_LEN: law.scene.video_len.weight},
            explored=law.explored,
            degraded=answered.degraded,
            items=answered.items,
            item_len_s=answered.video_len_s[_places(answered)],
            candidates=_candidates(answered, with_rows) if with_candidates else None,
        )
        return Shown(exposure, self._origin(snapshot, answered.beside))

    def _kept(self, name: str) -> str:
        return pseudonym(name, self._user_key) if self._user_key else name

    def _origin(self, snapshot: Snapshot, beside: bool) -> Origin:
        origin = self._origins.get(snapshot)
        if origin is None:
            bundle, fusion = snapshot.active.bundle, snapshot.fusion
            # Feedback is taken by the active bundle's kinds, whichever bundle answered.
            events = None if beside else bundle.manifest.events
            give = partial(canonical_json, fusion.config)
            origin = Origin(tuple(bundle.task_names), events, fusion.version, give)
            self._origins[snapshot] = origin
        return origin


def _context(query: Query, wanted: Sequence[str] | None, conditions: frozenset[str]) -> dict[str, Any]:
    """What the request said of its context, or the features that are wanted of it and of its user.

    What conditions of the fusion config look at is always kept: without it no replay finds the weights.
    """
    given = said_by(query)
    names = query.context if wanted is None else wanted
    return {name: given[name] for name in dict.fromkeys([*names, *sorted(conditions)]) if name in given}


def _places(answered: Answered) -> npt.NDArray[np.int64]:
    """Of the items among the candidates [K]."""
    ids, items, best = answered.query.ids, answered.items, answered.best
    if len(best) == len(items):
        return best
    place_of = dict(zip(ids, range(len(ids)), strict=True))
    return np.array([place_of[item] for item in items], np.int64)


def _candidates(answered: Answered, with_rows: bool) -> Candidates:
    lengths = answered.video_len_s
    predictions = answered.predictions
    if len(answered.scored) < len(lengths):
        predictions = {task: _spread(p, answered.scored, len(lengths)) for task, p in predictions.items()}
    rows = _rows(answered) if with_rows else None
    return Candidates(answered.query.ids, lengths, predictions, rows)


def _spread(p: npt.NDArray[np.float32], scored: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float32]:
    """Predictions of all candidates, NaN where there is none: [N]."""
    spread = np.full(count, np.nan, np.float32)
    spread[scored] = p
    return spread


def _rows(answered: Answered) -> PackedCandidates:
    encoder: Encoder = answered.snapshot.active.bundle.encoder
    user: EncodedRows = answered.rows.user.rows
    items: EncodedRows = answered.rows.items.rows
    return PackedCandidates(
        answered.generation,
        PackedLayout.of(encoder, "users").pack(user).tobytes(),
        PackedLayout.of(encoder, "items").pack(items, answered.video_len_s).tobytes(),
    )
