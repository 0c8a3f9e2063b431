"""Fusing: the weights that hold for a request, one score a candidate by them, and the k best.

Knows the fusion config and the request; knows neither the network's inputs nor the answer's words.

Shapes: S candidates with predictions, k in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.events.exposures import unit_hash
from model.fusion import (
    DEFAULT_SCENE,
    Explanation,
    Fused,
    FusionConfig,
    FusionError,
    LearnedFormula,
    Scene,
    explain,
    score,
    top_k,
)
from model.fusion.noise import week_of
from service.contract.query import Query
from service.control.fusion.state import ActiveFusion
from service.ranking.exposure_id import time_ms_of

_Predictions = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Law:
    """What scores one request.

    Attributes:
        name: of the scene applied.
        scene: its formula, with the weights that hold for this request.
        segment: whose weights these are, if a segment's.
        unit_hash: of the unit that they depend on.
        explored: whether they were drawn from the scene's noise law.
        degraded: names the scene that does not exist, if so.
    """

    name: str
    scene: Scene
    segment: str | None
    unit_hash: int
    explored: bool
    degraded: list[str] = field(default_factory=list)

    @property
    def experiments(self) -> list[str]:
        """What the answer says of it."""
        return [f"explore/{self.name}"] if self.explored else []


@dataclass(frozen=True)
class Ordered:
    """The scored candidates by the formula.

    Attributes:
        law: that scored them.
        scores: [S].
        explanation: the scores' terms [S], where the request wants them.
        best: places among the scored of the k best, best first, int64 [k].
        degraded: what went wrong.
    """

    law: Law
    scores: Fused
    explanation: Explanation | None
    best: npt.NDArray[np.int64]
    degraded: list[str]


def law_of(query: Query, config: FusionConfig, exposure_id: str, salt: str) -> Law:
    """What scores this request.

    Args:
        query: says scene, context and whose request it is.
        config: of all scenes.
        exposure_id: of the answer: a unit of its own.
        salt: of hashes.
    """
    found, known = config.scene(query.scene)
    name = query.scene if known else DEFAULT_SCENE
    degraded = [] if known else ["unknown_scene"]
    scene, segment = found.of_request(said_by(query))
    if scene.explore is None:
        return Law(name, scene, segment, unit_hash(salt, "", query.user_id), False, degraded)
    unit = _unit(scene.explore.unit, query, exposure_id)
    hashed = unit_hash(salt, f"explore/{name}", unit)
    drawn = scene.explored(hashed)
    return Law(name, drawn or scene, segment, hashed, drawn is not None, degraded)


def said_by(query: Query) -> dict[str, Any]:
    """What conditions look at: the request's context, and what it says of its user."""
    return {**query.user_features, **query.context}


def _unit(kind: str, query: Query, exposure_id: str) -> str:
    if kind == "user_week":
        return f"{week_of(time_ms_of(exposure_id))} {query.user_id}"
    if kind == "session" and query.session_id is not None:
        return query.session_id
    return exposure_id


def fuse(
    query: Query,
    law: Law,
    fusion: ActiveFusion,
    predictions: _Predictions,
    video_len_s: npt.NDArray[np.float64],
    allows: Callable[[float], bool],
) -> Ordered:
    """One score a candidate, and the k best of them.

    Args:
        query: how many, and whether to explain.
        law: what scores; where it is a network that fails or has no time, its fallback does.
        fusion: the config in force, with its networks.
        predictions: by task [S].
        video_len_s: [S], NaN where unknown.
        allows: whether there is time for so many seconds of work.
    """
    if not isinstance(law.scene, LearnedFormula):
        return _ordered(query, law, fusion, predictions, video_len_s)
    network = fusion.scorers.get(law.scene.sha256)
    runs = len(law.scene.inputs) + 1 if query.explain else 1
    if network is not None and not allows(network.expected_s(len(video_len_s)) * runs):
        failure = "fusion_model_deadline"
    else:
        try:
            return _ordered(query, law, fusion, predictions, video_len_s)
        except FusionError:
            failure = "fusion_model_failed"
    name = law.scene.fallback
    scene, segment = fusion.config.scenes[name].of_request(said_by(query))
    instead = replace(law, name=name, scene=scene, segment=segment, degraded=[*law.degraded, failure])
    return _ordered(query, instead, fusion, predictions, video_len_s)


def _ordered(
    query: Query,
    law: Law,
    fusion: ActiveFusion,
    predictions: _Predictions,
    video_len_s: npt.NDArray[np.float64],
) -> Ordered:
    scorer = fusion.scorers.get(law.scene.sha256) if isinstance(law.scene, LearnedFormula) else None
    explanation = explain(law.scene, predictions, video_len_s, scorer=scorer) if query.explain else None
    scores = explanation.fused if explanation else score(law.scene, predictions, video_len_s, scorer=scorer)
    return Ordered(law, scores, explanation, top_k(scores.order, query.top_k), law.degraded)
