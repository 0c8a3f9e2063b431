"""Replay: the order that the service would have given by a fusion config, for many requests at once.

The same formula (`model.fusion.score`), called once for all requests whose weights are the same, and request
by request for a network; where that fails, its fallback ranks. Weights of explored requests are drawn again
from their unit's hash. Knows neither files nor what orders are worth.

Shapes: R requests, N candidates of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from model.errors import FulcrumError, listed
from model.fusion import DEFAULT_SCENE, FusionConfig, FusionError, LearnedFormula, Scene, Scorer, score
from training.events.columns import context_of
from training.tuning.requests import Flags, Floats, Ints, Requests, Texts

_VIDEO_LEN = "video_len"
_Rows = slice | Ints


@dataclass(frozen=True, eq=False)
class Replayed:
    """What a config makes of requests.

    Attributes:
        requests: these.
        value: what the order goes by, the highest first, NaN without a score [N].
        segment: whose weights they are, None for the scene's own [R].
        explored: whether they were drawn [R].
        failed: whether the network of a learned formula failed, so that its fallback ranked [R].
        weights: as applied, by term [R].
        calibrated: predictions of the tasks that the config calibrates for any of these requests [N].
    """

    requests: Requests
    value: Floats
    segment: Texts
    explored: Flags
    failed: Flags
    weights: Mapping[str, Floats]
    calibrated: Mapping[str, Floats]

    @cached_property
    def order(self) -> Ints:
        """Candidates, request after request, best first [N]. Ties keep the order of the input."""
        of_request = np.repeat(np.arange(len(self.requests)), self.requests.sizes)
        return np.lexsort((-self.value, of_request))  # NaN last


class Replay:
    """A config that requests are replayed under.

    Args:
        config: the fusion config.
        tasks: that there are predictions of.
        source: what the config is called in errors.
        scorers: networks of learned formulas, by the checksum of their files.

    Attributes:
        needs: tasks that it weighs or calibrates.

    Raises:
        FulcrumError: it weighs a task without predictions, or lacks a network.
    """

    def __init__(
        self,
        config: FusionConfig,
        tasks: Sequence[str],
        source: str = "fusion config",
        scorers: Mapping[str, Scorer] | None = None,
    ) -> None:
        self.config, self._tasks, self._scorers = config, tasks, scorers or {}
        self.needs: set[str] = set()
        for name, scene in config.scenes.items():
            for task in (*scene.tasks, *(scene.calibration or ())):
                if task not in tasks:
                    raise FulcrumError(
                        f"{source}: scene {name} has the task {task!r}, which there are no predictions of; "
                        f"there is {listed(tasks)}"
                    )
                self.needs.add(task)
            if isinstance(scene, LearnedFormula) and scene.sha256 not in self._scorers:
                raise FulcrumError(f"{source}: the network {scene.file} of scene {name} is not at hand")

    def of(self, requests: Requests) -> Replayed:
        """Score the candidates of these requests."""
        count, candidates = len(requests), len(requests.item)
        value = np.full(candidates, np.nan)
        segment = np.full(count, None, np.object_)
        explored, failed = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        weights = {term: np.zeros(count) for term in (*self._tasks, _VIDEO_LEN)}
        calibrated: dict[str, Floats] = {}
        scored, sizes = requests.scored, requests.sizes
        of_request = np.repeat(np.arange(count), sizes)
        for rows, law, part, drawn in self._laws(requests):
            at = _candidates(requests.start, rows, scored)
            p = {task: values[at] for task, values in requests.predictions.items()}
            lengths, of_list = requests.video_len_s[at], of_request[at]
            scene, name = law, part
            try:
                value[at] = self._scored(scene, p, lengths, of_list)
            except FusionError:
                if not isinstance(law, LearnedFormula):
                    raise
                failed[rows] = True
                said = context_of(requests.said[rows][0])  # of the one request
                scene, name = self.config.scenes[law.fallback].of_request(said)
                value[at] = self._scored(scene, p, lengths, of_list)
            segment[rows], explored[rows] = name, drawn
            for task, weight in scene.weights.items():
                weights[task][rows] = weight
            weights[_VIDEO_LEN][rows] = scene.video_len.weight
            for task, maps in (scene.calibration or {}).items():
                if task not in calibrated:
                    calibrated[task] = requests.predictions[task].astype(np.float64)
                calibrated[task][at] = maps.apply(p[task], lengths)
        return Replayed(requests, value, segment, explored, failed, weights, calibrated)

    def _scored(
        self, scene: Scene, p: Mapping[str, npt.NDArray[np.float32]], video_len_s: Floats, of_request: Ints
    ) -> Floats:
        """What the order goes by, of candidates of these requests."""
        lists = of_request if scene.looks_at_the_list else None
        scorer = self._scorers.get(scene.sha256) if isinstance(scene, LearnedFormula) else None
        return score(scene, p, video_len_s, lists=lists, scorer=scorer).order

    def _laws(self, requests: Requests) -> Iterator[tuple[_Rows, Scene, str | None, bool]]:
        """Rows with the same weights: the scene as it holds for them, their segment, and if it was drawn."""
        for rows, scene, segment in groups(self.config, requests):
            if isinstance(scene, LearnedFormula):
                # A network rounds otherwise where it has other rows beside.
                for row in np.arange(len(requests))[rows]:
                    yield np.array([row]), scene, segment, False
                continue
            if scene.explore is None:
                yield rows, scene, segment, False
                continue
            numbers = np.arange(len(requests))[rows]
            drawn = scene.explore.take(requests.unit_hash[numbers]) & ~requests.fixed[numbers]
            if not drawn.any():
                yield rows, scene, segment, False
                continue
            if not drawn.all():
                yield numbers[~drawn], scene, segment, False
            means, numbers = scene.parameters(), numbers[drawn]
            units, unit = np.unique(requests.unit_hash[numbers], return_inverse=True)
            weights = scene.explore.draw(np.array(list(means.values())), units, scene.least()).tolist()
            by_unit = np.split(numbers[np.argsort(unit, kind="stable")], np.cumsum(np.bincount(unit))[:-1])
            for own, rows_of_unit in zip(weights, by_unit, strict=True):
                parameters = dict(zip(means, own, strict=True))
                yield rows_of_unit, scene.with_parameters(parameters), segment, True


def groups(config: FusionConfig, requests: Requests) -> Iterator[tuple[_Rows, Scene, str | None]]:
    """Rows of one scene whose conditions' values are all the same, the scene as it holds, its segment."""
    said: dict[str, Mapping[str, Any]] = {}
    found: dict[tuple[str, bytes], list[int]] = {}
    names = {name: sorted(scene.names_of_conditions()) for name, scene in config.scenes.items()}
    for row, (asked, text) in enumerate(zip(requests.scene, requests.said, strict=True)):
        scene = asked if asked in config.scenes else DEFAULT_SCENE
        values = b""
        if names[scene]:
            if text not in said:
                said[text] = context_of(text)
            values = orjson.dumps([said[text].get(name) for name in names[scene]])
        found.setdefault((scene, values), []).append(row)
    for (name, _), rows in found.items():
        request = said.get(requests.said[rows[0]], {})
        scene_, segment = config.scenes[name].of_request(request)
        whole = len(rows) == len(requests)
        yield (slice(None) if whole else np.array(rows, np.int64)), scene_, segment


def _candidates(start: Ints, rows: _Rows, scored: Flags) -> _Rows:
    """Scored candidates of these requests, in their order."""
    if isinstance(rows, slice):
        return rows if scored.all() else np.flatnonzero(scored)
    first = start[rows]
    sizes = start[rows + 1] - first
    before = np.cumsum(sizes) - sizes
    at = np.repeat(first - before, sizes) + np.arange(sizes.sum())
    inside: Ints = at[scored[at]]
    return inside
