"""Calibrating: which maps of a bundle's predictions are worth having, and the fusion config with them.

A map is judged on users that it was not fitted on: users are dealt into five folds, and predictions of each
are mapped by what the other four say. It is kept where the interval of the difference in loss, over resampled
users, lies below 0; what is written is then fitted on all rows. A segment's map has to beat its task's.

Shapes: n rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model.errors import FulcrumError, listed
from model.fusion import FusionConfig
from model.fusion.calibration import CalibratedSegment, CalibrationMap, TaskCalibration
from model.fusion.conditions import LENGTH
from model.schema import RegressionTask, TaskSpec
from training.metrics.calibration import LENGTHS_S, Bin, by_prediction
from training.metrics.comparison import Difference, compare_losses
from training.metrics.task_metrics import surprises
from training.progress import Advanced, Observer, silent
from training.tuning.fitted_maps import Kind, fit
from training.tuning.logged_predictions import Predicted
from training.tuning.outcomes import users_in_folds

VIDEO_LEN = "video_len"
"""What `by` says for buckets of the video's length."""
LEAST_EVENTS = 50
"""Rows of the rarer label, or of a share, that a map is fitted on."""
_FOLDS = 5
_MOST_VALUES = 64
_FORMULAS = ("log_power", "weighted_sum")
"""Formulas whose scenes get maps where none is named: ranks need none, and a network learned without."""

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class JudgedMap:
    """One map, or that there is none.

    Attributes:
        when: for which rows; empty for all of the task.
        rows: how many.
        events: those of the rarer label; of a share all rows.
        map: None where none is worth having.
        reason: why there is none.
        loss: log loss, or mean squared error of a share, with the map and without, on held-out users.
        before, after: deciles of the prediction, without the map and with it, on held-out users.
        bias: mean prediction less mean label of all rows, likewise, each with its interval.
    """

    when: Mapping[str, Any]
    rows: int
    events: int
    map: CalibrationMap | None
    reason: str
    loss: Difference | None
    before: Sequence[Bin]
    after: Sequence[Bin]
    bias: tuple[Bin | None, Bin | None]

    def report(self) -> dict[str, Any]:
        """As JSON."""
        overall = [
            None
            if one is None
            else {key: one[key] for key in ("mean_prediction", "mean_label", "bias", "bias_interval")}
            for one in self.bias
        ]
        return {
            "when": dict(self.when),
            "rows": self.rows,
            "events": self.events,
            "map": None if self.map is None else self.map.model_dump(mode="json"),
            "reason": self.reason,
            "loss": None if self.loss is None else self.loss.report(),
            "before": {"all": overall[0], "deciles": list(self.before)},
            "after": {"all": overall[1], "deciles": list(self.after)},
        }


@dataclass(frozen=True)
class TaskMaps:
    """What was found for a task.

    Attributes:
        task: its name.
        whole: the map of all its rows.
        segments: those of segments.
    """

    task: str
    whole: JudgedMap
    segments: Sequence[JudgedMap] = field(default=())

    @property
    def calibration(self) -> TaskCalibration | None:
        """For a fusion config; None where no map is worth having."""
        segments = tuple(
            CalibratedSegment(when=dict(one.when), map=one.map)
            for one in self.segments
            if one.map is not None
        )
        if self.whole.map is None:
            return TaskCalibration(segments=segments) if segments else None
        return TaskCalibration(map=self.whole.map, segments=segments)

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return self.whole.report() | {"segments": [one.report() for one in self.segments]}


def chosen_tasks(tasks: Sequence[TaskSpec], names: Sequence[str]) -> list[TaskSpec]:
    """The tasks named, or all that predict a probability or a share.

    Raises:
        FulcrumError: one is no task, predicts something else, or none is left.
    """
    known = {task.name: task for task in tasks}
    for name in names:
        if name not in known:
            raise FulcrumError(f"--tasks: unknown task {name!r}; the bundle has {listed(known)}")
        if not _is_share(known[name]):
            low, high = getattr(known[name], "bounds", (0.0, 1.0))
            raise FulcrumError(
                f"--tasks: {name} is a quantity from {low:g} to {high:g}; maps are of probabilities and of "
                "shares, from 0 to 1"
            )
    chosen = [known[name] for name in names] or [task for task in tasks if _is_share(task)]
    if not chosen:
        raise FulcrumError(
            "no task of the bundle is a probability or a share, from 0 to 1: nothing to calibrate"
        )
    return chosen


def _is_share(task: TaskSpec) -> bool:
    return not isinstance(task, RegressionTask) or task.bounds == (0.0, 1.0)


def find_maps(
    predicted: Predicted,
    tasks: Sequence[TaskSpec],
    kind: Kind | Literal["auto"] = "auto",
    by: str | None = None,
    observer: Observer = silent,
) -> list[TaskMaps]:
    """The maps of some tasks.

    Args:
        predicted: rows with predictions and labels.
        tasks: of its tasks.
        kind: of maps; `auto` takes isotonic ones only where they beat Platt's.
        by: `video_len`, or the context feature whose values `predicted` has; no segments where None.
        observer: called with progress.

    Raises:
        FulcrumError: the feature has too many values.
    """
    segments = segments_by(by, predicted)
    folds = users_in_folds(predicted.users, _FOLDS)
    names = [task.name for task in predicted.tasks]
    found = []
    for place, task in enumerate(tasks):
        observer(Advanced("calibrating", place, len(tasks), "tasks"))
        column = names.index(task.name)
        inside = predicted.masks[:, column] & np.isfinite(predicted.predictions[task.name])
        rows = _TaskRows(
            "regression" if isinstance(task, RegressionTask) else "binary",
            predicted.predictions[task.name][inside],
            predicted.labels[inside, column],
            predicted.users[inside],
            folds[inside],
        )
        whole, standing = rows.judge(np.ones(len(rows.p), bool), {}, kind, rows.p)
        found.append(
            TaskMaps(
                task.name,
                whole,
                [rows.judge(chosen[inside], when, kind, standing)[0] for when, chosen in segments],
            )
        )
    return found


def segments_by(by: str | None, predicted: Predicted) -> list[tuple[dict[str, Any], Rows]]:
    """Conditions and their rows [n], for rows that have any; an unknown value is in none.

    Raises:
        FulcrumError: the feature has too many values, or none that a condition can name.
    """
    if by is None:
        return []
    if by == VIDEO_LEN:
        ends = zip((None, *LENGTHS_S), (*LENGTHS_S, None), strict=True)
        named = []
        for low, high in ends:
            test = {key: end for key, end in (("from", low), ("below", high)) if end is not None}
            seconds = predicted.video_len_s
            named.append(
                (
                    {LENGTH: test},
                    (seconds >= (low or -np.inf)) & (seconds < (np.inf if high is None else high)),
                )
            )
        return [(when, rows) for when, rows in named if rows.any()]
    values = predicted.values
    known = sorted({(type(one).__name__, one) for one in values if isinstance(one, str | int | float)})
    if not 0 < len(known) <= _MOST_VALUES:
        raise FulcrumError(
            f"--by {by}: it has {len(known)} values that conditions can name; expected 1 to {_MOST_VALUES}"
        )
    return [
        ({by: value}, np.array([one == value and type(one).__name__ == kind for one in values]))
        for kind, value in known
    ]


@dataclass(frozen=True, eq=False)
class _TaskRows:
    """Rows of a task's sample space [n]."""

    kind: Literal["binary", "regression"]
    p: Floats
    labels: Floats
    users: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]

    def judge(
        self, rows: Rows, when: Mapping[str, Any], kind: Kind | Literal["auto"], standing: Floats
    ) -> tuple[JudgedMap, Floats]:
        """The map of some rows, and the predictions [n] that then hold, of held-out users.

        Args:
            rows: [n].
            when: their condition.
            kind: of maps.
            standing: predictions that hold without it [n].
        """
        p, y, users = self.p[rows], self.labels[rows], self.users[rows]
        events = len(y) if self.kind == "regression" else int(min((y > 0.5).sum(), (y <= 0.5).sum()))
        without = standing[rows]
        before = by_prediction(self.kind, without, y, users)
        all_before = by_prediction(self.kind, without, y, users, bins=1)
        nothing = JudgedMap(
            when, len(y), events, None, "", None, before, before, (_first(all_before), _first(all_before))
        )
        if events < LEAST_EVENTS:
            few = f"too few events: {events}, expected {LEAST_EVENTS}"
            return replace(nothing, reason=few), standing
        chosen, held_out = self._choose(rows, kind)
        loss = self._compare(held_out, without, y, users)
        if loss.verdict != "better":
            return replace(nothing, reason="nothing better", loss=loss), standing
        holds = standing.copy()
        holds[rows] = held_out
        after = by_prediction(self.kind, held_out, y, users)
        all_after = by_prediction(self.kind, held_out, y, users, bins=1)
        kept = replace(
            nothing,
            map=fit(chosen, p, y),
            loss=loss,
            after=after,
            bias=(_first(all_before), _first(all_after)),
        )
        return kept, holds

    def _choose(self, rows: Rows, kind: Kind | Literal["auto"]) -> tuple[Kind, Floats]:
        """The kind, and its predictions of held-out users."""
        if kind != "auto":
            return kind, self._held_out(rows, kind)
        platt, isotonic = self._held_out(rows, "platt"), self._held_out(rows, "isotonic")
        better = self._compare(isotonic, platt, self.labels[rows], self.users[rows]).verdict == "better"
        return ("isotonic", isotonic) if better else ("platt", platt)

    def _held_out(self, rows: Rows, kind: Kind) -> Floats:
        p, y, folds = self.p[rows], self.labels[rows], self.folds[rows]
        mapped = p.copy()  # where all users are of one fold
        for fold in range(_FOLDS):
            inside = folds == fold
            if inside.any() and not inside.all():
                mapped[inside] = fit(kind, p[~inside], y[~inside]).apply(p[inside])
        return mapped

    def _compare(self, ours: Floats, theirs: Floats, y: Floats, users: npt.NDArray[np.int64]) -> Difference:
        if self.kind == "regression":
            return compare_losses((ours - y) ** 2, (theirs - y) ** 2, users, np.ones(len(y), bool))
        return compare_losses(surprises(ours, y), surprises(theirs, y), users, y > 0.5, y <= 0.5)


def _first(bins: Sequence[Bin]) -> Bin | None:
    return bins[0] if bins else None


def fill(
    config: FusionConfig, found: Sequence[TaskMaps], scene: str | None = None
) -> tuple[FusionConfig, list[str]]:
    """The config with the maps in its scenes, and these; what it has for other tasks stays.

    Args:
        config: of all scenes.
        found: maps by task.
        scene: this one alone; where None, all whose formula takes predictions for what they are.

    Raises:
        FulcrumError: there is no such scene, or none counts a task that has a map.
    """
    if scene is not None and scene not in config.scenes:
        raise FulcrumError(f"--scene {scene}: the config has {listed(config.scenes)}")
    maps = {one.task: one.calibration for one in found}
    scenes, written = dict(config.scenes), []
    for name, each in config.scenes.items():
        if name != scene and (scene is not None or each.formula not in _FORMULAS):
            continue
        counted = {*each.tasks, *(task for segment in each.segmented for task in segment.tasks)}
        new = {task: one for task, one in maps.items() if one is not None and task in counted}
        if new:
            scenes[name] = each.model_copy(update={"calibration": {**(each.calibration or {}), **new}})
            written.append(name)
    if not written:
        mapped = listed(task for task, one in maps.items() if one is not None)
        where = f"scene {scene}" if scene is not None else f"a scene of {' or '.join(_FORMULAS)}"
        raise FulcrumError(
            f"{where} counts none of the tasks that have a map: {mapped}; name another with --scene"
        )
    return config.model_copy(update={"scenes": scenes}), written
