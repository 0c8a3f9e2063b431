"""Ranker: the life of a request, top to bottom. Knows no HTTP; read this first.

    snapshot -> stored features -> the request's own -> network -> fusion -> the best k -> answer

Everything of one request is computed from one bundle and one fusion config, taken at its beginning, and each
candidate's numbers from the user, the context and itself alone.

Shapes: N candidates, S of them scored, k in the answer.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.bundle import Bundle
from model.fusion import DEFAULT_SCENE, Explanation, explain, top_k
from model.inference import NetworkInputs
from service.control.fusion_file import ActiveFusion, FusionFile
from service.engine import Engine
from service.exposure import new_exposure_id
from service.features.store import FeatureStore, StoredRows
from service.items import scored_items, unscored_items
from service.overrides import encode_context, override_items, override_lengths, override_user
from service.schemas import RankRequest
from service.stopwatch import Stopwatch

__all__ = ["ActiveBundle", "Ranker", "Ranking"]


@dataclass(frozen=True)
class ActiveBundle:
    """A bundle with what serves it: its network on a provider, its users and items."""

    bundle: Bundle
    engine: Engine
    store: FeatureStore


@dataclass(frozen=True)
class Ranking:
    """An answer, and what metrics want to know of it.

    Attributes:
        body: as `schemas.RankResponse` describes it.
        candidates: N.
        default_features: candidates scored without stored features of the user or of themselves.
    """

    body: dict[str, Any]
    candidates: int
    default_features: int


class Ranker:
    """Ranks with the active bundle and the active fusion config.

    Args:
        active: the bundle in service.
        fusion: says which fusion config is in force.
        pool: threads to compute in, so that the event loop stays free.
    """

    def __init__(self, active: ActiveBundle, fusion: FusionFile, pool: Executor) -> None:
        self._active = active
        self._fusion = fusion
        self._pool = pool

    async def rank(self, request: RankRequest, watch: Stopwatch) -> Ranking:
        """Answer one request.

        Raises:
            InvalidRequestError: a feature is unknown to the bundle or of the wrong kind.
        """
        snapshot = _Snapshot(self._active, self._fusion.state.active)
        stored = await _look_up(request, snapshot)
        watch.lap("features")
        in_pool = asyncio.get_running_loop().run_in_executor
        return await in_pool(self._pool, _compute, request, snapshot, stored, watch)


@dataclass(frozen=True)
class _Snapshot:
    """What one request is answered with, whatever becomes active meanwhile."""

    active: ActiveBundle
    fusion: ActiveFusion


@dataclass(frozen=True)
class _Stored:
    """What the store had: the user (one row) and the candidates [N]."""

    user: StoredRows
    items: StoredRows


@dataclass(frozen=True)
class _Features:
    """What the network and the formula see.

    Attributes:
        inputs: user and context (one row), items [N].
        video_len_s: seconds [N], NaN where unknown.
        default: whether the store lacks the user or the candidate, bool [N].
    """

    inputs: NetworkInputs
    video_len_s: npt.NDArray[np.float64]
    default: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Scored:
    """The candidates that have predictions.

    Attributes:
        rows: their places among the candidates, ascending, int64 [S].
        tasks: predictions by task, float32 [S].
        degraded: why S is less than N, if it is.
    """

    rows: npt.NDArray[np.int64]
    tasks: dict[str, npt.NDArray[np.float32]]
    degraded: list[str]


@dataclass(frozen=True)
class _Fused:
    """The scored candidates by the formula.

    Attributes:
        scene: the scene applied.
        explanation: scores and terms [S].
        best: places among the scored of the k best, best first, int64 [k].
        degraded: names the scene that does not exist, if so.
    """

    scene: str
    explanation: Explanation
    best: npt.NDArray[np.int64]
    degraded: list[str]


async def _look_up(request: RankRequest, snapshot: _Snapshot) -> _Stored:
    store = snapshot.active.store
    return _Stored(await store.users([request.user_id]), await store.items(request.ids))


def _compute(request: RankRequest, snapshot: _Snapshot, stored: _Stored, watch: Stopwatch) -> Ranking:
    watch.lap("wait")
    features = _override(request, snapshot, stored)
    watch.lap("features")
    scored = _predict(request, snapshot, features, watch)
    watch.lap("network")
    fused = _fuse(request, snapshot, features, scored)
    watch.lap("fusion")
    return _answer(request, snapshot, features, scored, fused, watch)


def _override(request: RankRequest, snapshot: _Snapshot, stored: _Stored) -> _Features:
    """The store's features with the request's own written over them."""
    encoder = snapshot.active.bundle.encoder
    user, items, video_len_s = stored.user.rows, stored.items.rows, stored.items.video_len_s
    context = encode_context(encoder, request.context)
    override_user(encoder, user, request.user_features)
    if request.candidates is not None:
        override_lengths(encoder, items, video_len_s, request.candidates)
        override_items(encoder, items, request.candidates)
    one_user = np.zeros(len(items), np.int64)
    inputs = NetworkInputs(user.beside(context), items, one_user)
    return _Features(inputs, video_len_s, ~(stored.items.found & stored.user.found))


def _predict(request: RankRequest, snapshot: _Snapshot, features: _Features, watch: Stopwatch) -> _Scored:
    """The network's predictions, as far as the deadline lets it come."""
    deadline = None if request.timeout_ms is None else watch.arrived_at + request.timeout_ms / 1000.0
    predicted = snapshot.active.engine.predict(features.inputs, deadline)
    degraded = [] if predicted.scored == len(features.default) else ["deadline"]
    finite = np.ones(predicted.scored, np.bool_)
    for predictions in predicted.tasks.values():
        finite &= np.isfinite(predictions)
    if finite.all():
        return _Scored(np.arange(predicted.scored), predicted.tasks, degraded)
    # A damaged row must not rank by a score that is no number, nor take the other candidates with it.
    tasks = {task: predictions[finite] for task, predictions in predicted.tasks.items()}
    return _Scored(np.flatnonzero(finite), tasks, [*degraded, "non_finite_predictions"])


def _fuse(request: RankRequest, snapshot: _Snapshot, features: _Features, scored: _Scored) -> _Fused:
    """One score a candidate, and the k best of them."""
    scene, known = snapshot.fusion.config.scene(request.scene)
    explanation = explain(scene, scored.tasks, features.video_len_s[scored.rows])
    best = top_k(explanation.fused.log_score, request.top_k)
    return _Fused(
        request.scene if known else DEFAULT_SCENE, explanation, best, [] if known else ["unknown_scene"]
    )


def _answer(
    request: RankRequest,
    snapshot: _Snapshot,
    features: _Features,
    scored: _Scored,
    fused: _Fused,
    watch: Stopwatch,
) -> Ranking:
    """The contract's answer: the best k, then as many without a score as top_k leaves room for."""
    bundle = snapshot.active.bundle
    best = scored.rows[fused.best]
    items = scored_items(
        request, fused.explanation, fused.best, best, features.default[best], features.video_len_s[best]
    )
    items += unscored_items(request, scored.rows, len(items))
    body: dict[str, Any] = {
        "request_id": request.request_id,
        "exposure_id": new_exposure_id(),
        "took_ms": round(watch.elapsed * 1000.0, 3),
        "model": {"name": bundle.manifest.name, "version": bundle.version, "variant": "fp32"},
        "fusion": {
            "revision": None,
            "version": snapshot.fusion.version,
            "scene": fused.scene,
            "experiments": [],
        },
        "degraded": scored.degraded + fused.degraded,
        "scored": len(scored.rows),
        "items": items,
    }
    return Ranking(body, len(features.default), int(features.default[scored.rows].sum()))
