"""Ranker: the life of a request, top to bottom. Knows no HTTP; read this first.

    admission -> snapshot, by its arms -> stored features -> the request's own -> network -> fusion
    -> the best k -> answer

Everything of one request is computed from one bundle and one fusion config, taken at its beginning, and each
candidate's numbers from the user, the context and itself alone. A request's time is a budget: the store may
take half of what is left, more where that is very little, the network chunk by chunk what remains, and no
answer is ever empty.

Shapes: N candidates, S of them scored, k in the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from model.bundle.inputs import NetworkInputs
from model.events import Shown
from service.contract.errors import OverloadedError
from service.contract.fields import Best
from service.contract.query import Query
from service.control.snapshot import Snapshot, Snapshots
from service.features.store import LookUp
from service.inference.engine import CHUNK
from service.ranking.admission import Admission, Ticket
from service.ranking.assigning import Assigned, assigned
from service.ranking.execution import Execution
from service.ranking.exposures import Answered, Exposures
from service.ranking.fusing import Ordered, fuse, law_of
from service.ranking.items import add_terms, scored_items, unscored_items
from service.ranking.overrides import encode_context, override_items, override_lengths, override_user
from service.ranking.predicted import OnPredicted, Predicted
from service.ranking.stopwatch import Stopwatch

_FEATURES_SHARE = 0.5
"""Share of a request's remaining time that the feature store may take."""

_FEATURES_LEAST_S = 0.005
"""Seconds that it may take where half would be less than a healthy store needs, up to ..."""

_FEATURES_MOST = 0.8
"""... this share: features are worth more than time to score without them, but not all of it."""

_T = TypeVar("_T")
_Steps = Generator[None, None, _T]
_Predictions = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Ranking:
    """An answer, and what metrics want to know of it.

    Attributes:
        body: JSON, as `responses.RankResponse` describes it.
        exposure_id: the answer's.
        candidates: N.
        scored: S.
        best_score: of the first item; None where none is scored.
        degraded: what went wrong.
        default_features: candidates scored without stored features of the user or of themselves.
        cache_hits: candidates whose features this process remembered.
        cache_misses: candidates for which it had to ask a store beyond it.
        arms: labels of the request's arms in experiments.
        shown: its record, where records are kept.
    """

    body: bytes
    exposure_id: str
    candidates: int
    scored: int
    best_score: float | None
    degraded: list[str]
    default_features: int
    cache_hits: int
    cache_misses: int
    arms: Sequence[str] = ()
    shown: Shown | None = None


class Ranker:
    """Ranks with the active bundle and the active fusion config.

    Args:
        control: says what is active.
        execution: computes, so that the event loop stays free.
        admission: says which requests are taken on.
        exposures: makes records of answers; None where nobody keeps them.
        salt: of the hash of units that explored weights depend on.
        on_predicted: called with the predictions of each answer by the active bundle; None where nobody wants
            them.
        on_failed: called with the arms of a request that gets no answer.
    """

    def __init__(
        self,
        control: Snapshots,
        execution: Execution,
        admission: Admission,
        exposures: Exposures | None = None,
        salt: str = "",
        on_predicted: OnPredicted | None = None,
        on_failed: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._control = control
        self._execution = execution
        self._admission = admission
        self._exposures = exposures
        self._salt = salt
        self._on_predicted = on_predicted
        self._on_failed = on_failed

    async def rank(self, query: Query, watch: Stopwatch) -> Ranking:
        """Answer one query.

        Raises:
            InvalidRequestError: a feature is unknown to the bundle or of the wrong kind.
            OverloadedError: the request would wait too long for its turn.
        """
        budget = _Budget(watch, query.timeout_ms)
        with self._admission.admit(len(query.ids), budget.left_s) as ticket:
            given = assigned(query, self._control.snapshot())
            try:
                looked_up = await _look_up(query, given.snapshot, budget)
                watch.lap("features")
                steps = self._compute(query, given, looked_up, budget, ticket)
                ranking, busy_s = await self._execution.run(steps, budget.deadline)
            except Exception:
                self._on_failed(given.arms)
                raise
        self._admission.cost.learn(ticket.rows_done, ticket.network_s, busy_s - ticket.network_s)
        return ranking

    async def predict(self, query: Query, watch: Stopwatch) -> Predicted:
        """The predictions for one query and no more, while no ranking waits: rankings come first.

        Raises:
            InvalidRequestError: as `rank`.
            OverloadedError: rankings wait for a thread.
        """
        if self._admission.wait_s > 0.0:
            raise OverloadedError("rankings wait, and they come first; try again later", 1)
        budget = _Budget(watch, query.timeout_ms)
        with self._admission.admit(len(query.ids), budget.left_s) as ticket:
            snapshot = self._control.snapshot()
            looked_up = await _look_up(query, snapshot, budget)
            steps = _predicted(query, snapshot, looked_up, budget, ticket)
            (features, scored), _ = await self._execution.run(steps, budget.deadline)
        return _without_inputs(query, snapshot, features, scored)

    def _compute(
        self, query: Query, given: Assigned, stored: LookUp, budget: _Budget, ticket: Ticket
    ) -> _Steps[Ranking]:
        watch, snapshot = budget.watch, given.snapshot
        features, scored = yield from _predicted(query, snapshot, stored, budget, ticket)
        law = law_of(query, snapshot.fusion.config, given.exposure_id, self._salt)
        lengths = features.video_len_s[scored.rows]
        fused = fuse(query, law, snapshot.fusion, scored.tasks, lengths, budget.allows)
        watch.lap("fusion")
        ranking = _answer(query, given, features, scored, fused, watch, self._exposures)
        if self._on_predicted is not None and not given.beside:
            self._on_predicted(_without_inputs(query, snapshot, features, scored))
        return ranking


class _Budget:
    """A request's time.

    Attributes:
        watch: counts it.
        deadline: of `time.perf_counter`, None without one.
    """

    def __init__(self, watch: Stopwatch, timeout_ms: float | None) -> None:
        self.watch = watch
        self.deadline = None if timeout_ms is None else watch.arrived_at + timeout_ms / 1000.0

    @property
    def left_s(self) -> float | None:
        """Seconds left, negative when they are over; None without a deadline."""
        return None if self.deadline is None else self.deadline - time.perf_counter()

    def allows(self, seconds: float) -> bool:
        """Whether there is time for work of so many seconds."""
        left_s = self.left_s
        return left_s is None or left_s > seconds


@dataclass(frozen=True)
class _Features:
    """What the network and the formula see.

    Attributes:
        inputs: user and context (one row), items [N].
        video_len_s: seconds [N], NaN where unknown.
        default: whether the store lacks the user or the candidate, bool [N].
        stored: what the store gave.
        generation: of the store that gave it.
    """

    inputs: NetworkInputs
    video_len_s: npt.NDArray[np.float64]
    default: npt.NDArray[np.bool_]
    stored: LookUp
    generation: str | None


@dataclass(frozen=True)
class _Scored:
    """The candidates that have predictions.

    Attributes:
        rows: their places among the candidates, ascending, int64 [S].
        tasks: predictions by task, float32 [S].
        degraded: why S is less than N, if it is.
    """

    rows: npt.NDArray[np.int64]
    tasks: _Predictions
    degraded: list[str] = field(default_factory=list)


async def _look_up(query: Query, snapshot: Snapshot, budget: _Budget) -> LookUp:
    share_s = None if budget.left_s is None else share_of_features(max(0.0, budget.left_s))
    return await snapshot.active.store.look_up(query.user_id, query.ids, share_s)


def share_of_features(left_s: float) -> float:
    """Of so many seconds left, those that the feature store may take."""
    return max(left_s * _FEATURES_SHARE, min(left_s * _FEATURES_MOST, _FEATURES_LEAST_S))


def _predicted(
    query: Query, snapshot: Snapshot, stored: LookUp, budget: _Budget, ticket: Ticket
) -> _Steps[tuple[_Features, _Scored]]:
    budget.watch.lap("wait")
    features = _override(query, snapshot, stored)
    budget.watch.lap("features")
    scored = yield from _predict(snapshot, features, budget, ticket)
    budget.watch.lap("network")
    return features, scored


def _override(query: Query, snapshot: Snapshot, stored: LookUp) -> _Features:
    """The store's features with the request's own written over them."""
    encoder = snapshot.active.bundle.encoder
    user, items, video_len_s = stored.user.rows, stored.items.rows, stored.items.video_len_s
    context = encode_context(encoder, query.context)
    override_user(encoder, user, query.user_features)
    if query.video_len_s is not None:
        override_lengths(encoder, items, video_len_s, query.video_len_s)
    if query.features is not None:
        override_items(encoder, items, query.features)
    one_user = np.zeros(len(items), np.int64)
    inputs = NetworkInputs(user.beside(context), items, one_user)
    default = ~(stored.items.found & stored.user.found)
    return _Features(inputs, video_len_s, default, stored, snapshot.active.store.generation)


def _predict(snapshot: Snapshot, features: _Features, budget: _Budget, ticket: Ticket) -> _Steps[_Scored]:
    """The network's predictions, chunk by chunk, as far as the deadline lets it come."""
    total = len(features.default)
    chunks: list[_Predictions] = []
    start = 0
    # The first chunk is worth some delay, the others are not.
    while start < total and budget.allows(ticket.expected_s(CHUNK) if start else 0.0):
        stop = min(start + CHUNK, total)
        began = time.perf_counter()
        inputs = features.inputs if total <= CHUNK else features.inputs.rows(start, stop)
        chunks.append(snapshot.active.engine.predict(inputs))
        ticket.scored(stop - start, time.perf_counter() - began)
        start = stop
        if start < total:
            budget.watch.lap("network")
            yield
            budget.watch.lap("wait")
    tasks = _joined(chunks, snapshot.active.bundle.task_names)
    return _without_damage(_Scored(np.arange(start), tasks, [] if start == total else ["deadline"]))


def _without_inputs(query: Query, snapshot: Snapshot, features: _Features, scored: _Scored) -> Predicted:
    return Predicted(query, snapshot, scored.rows, scored.tasks, features.video_len_s, features.default)


def _joined(chunks: list[_Predictions], names: list[str]) -> _Predictions:
    if len(chunks) == 1:
        return chunks[0]
    nothing = np.zeros(0, np.float32)
    return {name: np.concatenate([nothing, *(chunk[name] for chunk in chunks)]) for name in names}


def _without_damage(scored: _Scored) -> _Scored:
    """A damaged row must not rank by a score that is no number, nor take the other candidates with it."""
    finite = np.ones(len(scored.rows), np.bool_)
    for predictions in scored.tasks.values():
        finite &= np.isfinite(predictions)
    if finite.all():
        return scored
    tasks = {task: predictions[finite] for task, predictions in scored.tasks.items()}
    return _Scored(scored.rows[finite], tasks, [*scored.degraded, "non_finite_predictions"])


def _answer(
    query: Query,
    given: Assigned,
    features: _Features,
    scored: _Scored,
    fused: Ordered,
    watch: Stopwatch,
    exposures: Exposures | None,
) -> Ranking:
    """The contract's answer: the best k, then as many without a score as top_k leaves room for."""
    snapshot, exposure_id, stored = given.snapshot, given.exposure_id, features.stored
    bundle = snapshot.active.bundle
    rows = scored.rows[fused.best]
    scores = fused.scores.score[fused.best].tolist()
    predictions = {task: p[fused.best] for task, p in scored.tasks.items()}
    best = Best(scores, features.default[rows].tolist(), predictions, features.video_len_s[rows])
    items = scored_items(query, rows, best)
    if fused.explanation is not None:
        add_terms(items, fused.explanation, fused.best, best.video_len_s)
    items += unscored_items(query, scored.rows, len(items))
    law = fused.law
    degraded = [*stored.failures, *scored.degraded, *fused.degraded, *snapshot.fusion.degraded]
    body: dict[str, Any] = {
        "request_id": query.request_id,
        "exposure_id": exposure_id,
        "took_ms": round(watch.elapsed * 1000.0, 3),
        "model": {
            "name": bundle.manifest.name,
            "version": bundle.version,
            "variant": snapshot.active.engine.variant,
        },
        "fusion": {
            "revision": snapshot.fusion.revision,
            "version": snapshot.fusion.version,
            "scene": law.name,
            "segment": law.segment,
            "experiments": [*given.arms, *law.experiments],
        },
        "degraded": degraded,
        "scored": len(scored.rows),
        "items": items,
    }
    shown = None
    if exposures is not None:
        shown = exposures.shown(
            Answered(
                query,
                snapshot,
                exposure_id,
                law,
                given.arms,
                degraded,
                [item["id"] for item in items],
                rows,
                features.video_len_s,
                scored.rows,
                scored.tasks,
                stored,
                features.generation,
                given.beside,
            )
        )
    return Ranking(
        orjson.dumps(body),
        exposure_id,
        candidates=len(features.default),
        scored=len(scored.rows),
        best_score=scores[0] if scores else None,
        degraded=degraded,
        default_features=int(np.count_nonzero(features.default[scored.rows])),
        cache_hits=stored.cache_hits,
        cache_misses=stored.cache_misses,
        arms=given.arms,
        shown=shown,
    )
