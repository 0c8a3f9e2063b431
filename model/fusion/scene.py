"""What all formulas have in common: a scene's settings, and what one does with them.

A formula is a class of a module in `formulas/`, with its settings and its terms. Knows no files and no
requests' candidates. Shapes: N candidates.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from model.frozen import Frozen
from model.fusion.bounds import Weight
from model.fusion.calibration import TaskCalibration
from model.fusion.conditions import LENGTH, RequestCondition, holds
from model.fusion.lengths import Floats, LengthKind, NoLength
from model.fusion.names import Name
from model.fusion.noise import LEAST, Explore

VIDEO_LEN = "video_len"
"""The term that is no task."""
_SMOOTHING = "log_smoothing."

TermT = TypeVar("TermT", bound=Frozen)
MOST_SEGMENTS = 100
"""Of a scene."""


def _or_none(calibration: dict[str, TaskCalibration] | None) -> dict[str, TaskCalibration] | None:
    return calibration or None  # one meaning has one hash


class Weighted(Protocol):
    """A task's term, as far as all formulas have it alike."""

    @property
    def weight(self) -> float:
        """How much it counts; 0 leaves the task out."""

    def disturbed(self, weight: float | None, log_smoothing: float | None) -> Self:
        """The same with other values; None leaves one as it is."""


class Term(Frozen):
    """A task's term with a weight."""

    weight: Weight
    """0 leaves the task out."""

    def disturbed(self, weight: float | None, log_smoothing: float | None) -> Self:
        """The same with another weight."""
        del log_smoothing  # there is none
        return self if weight is None else self.model_copy(update={"weight": weight})


class Segment(Frozen, Generic[TermT]):
    """Requests with weights of their own; what it leaves out is the scene's."""

    name: Name
    when: RequestCondition
    tasks: dict[Name, TermT]
    video_len: LengthKind = NoLength()


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What a formula's value is the sum of.

    Attributes:
        tasks: terms [N] of the tasks that count, in the order of their predictions.
        video_len: the length's [N]; None where it does not count.
    """

    tasks: dict[str, Floats]
    video_len: Floats | None


class SceneConfig(Frozen):
    """The whole fusion of one scene."""

    in_logs: ClassVar[bool] = False
    """Whether the terms sum to a logarithm, which is what the order goes by; `score` is its exponential."""
    looks_at_the_list: ClassVar[bool] = False
    """Whether a candidate's terms depend on the other candidates, too."""
    prices: ClassVar[bool] = False
    """Whether tasks' weights are prices, in a unit of their own."""

    formula: str
    video_len: LengthKind = NoLength()
    calibration: Annotated[dict[Name, TaskCalibration] | None, AfterValidator(_or_none)] = None
    """By task: applied before the formula."""
    explore: Explore | None = None

    @property
    def weights(self) -> dict[str, float]:
        """By task: how much it counts, 0 for not at all."""
        return {task: term.weight for task, term in self._weighted.items()}

    @property
    def per_second(self) -> dict[str, float]:
        """By task: what it counts for each second of the video, where it does."""
        return {}

    @property
    def smoothings(self) -> dict[str, float]:
        """By task: what is added to its prediction, where that is above 0."""
        return {}

    @abstractmethod
    def terms(self, p: Mapping[str, Floats], video_len_s: Floats, lists: NDArray[np.int64] | None) -> Terms:
        """The terms of candidates.

        Args:
            p: calibrated predictions [N] of the tasks that count.
            video_len_s: lengths in seconds [N], NaN where unknown.
            lists: the list that each candidate belongs to [N]; None where there is one.
        """

    def of_request(self, request: Mapping[str, Any]) -> tuple[Self, str | None]:
        """What holds for a request that says this of its context: no conditions but of lengths are left.

        Returns:
            the scene with the weights of the first segment that holds, and that segment's name.
        """
        held = next((one for one in self.segmented if holds(one.when, request)), None)
        changes: dict[str, Any] = {}
        if self.segmented:
            changes["segments"] = None
        if held is not None:
            changes |= {"tasks": held.tasks, "video_len": held.video_len}
        if self.calibration:
            changes["calibration"] = {
                task: each.of_request(request) for task, each in self.calibration.items()
            }
        name = None if held is None else held.name
        return self.model_copy(update=changes) if changes else self, name

    def explored(self, unit_hash: int) -> Self | None:
        """The scene with the weights of an explored unit; None where it is not explored."""
        if self.explore is None or not self.explore.takes(unit_hash):
            return None
        means, least = self.parameters(), self.least()
        drawn = self.explore.draw(np.array(list(means.values())), np.array([unit_hash], np.uint64), least)
        return self.with_parameters(dict(zip(means, drawn[0].tolist(), strict=True)))

    def parameters(self) -> dict[str, float]:
        """What exploring disturbs, in the order of the names, however the config was written.

        Weights of tasks that count as `vtr`, that of the length as `video_len`, logarithms of smoothings as
        `log_smoothing.vtr`.
        """
        length = self.video_len.weight if self.video_len.kind != "none" else 0.0
        found = {
            **{task: weight for task, weight in self.weights.items() if weight},
            **({VIDEO_LEN: length} if length else {}),
            **{f"{_SMOOTHING}{task}": math.log(value) for task, value in self.smoothings.items()},
        }
        return dict(sorted(found.items()))

    def least(self) -> Floats:
        """By parameter: the size that counts at least where it is disturbed, see `noise.LEAST`; [K]."""
        return np.array(
            [0.0 if name in self._weighted and self.prices else LEAST for name in self.parameters()]
        )

    def with_parameters(self, values: Mapping[str, float]) -> Self:
        """The same scene with other values of `parameters`."""
        tasks = {
            task: term.disturbed(values.get(task), values.get(f"{_SMOOTHING}{task}"))
            for task, term in self._weighted.items()
        }
        changes: dict[str, Any] = {"tasks": tasks}
        if VIDEO_LEN in values:
            changes["video_len"] = self.video_len.model_copy(update={"weight": values[VIDEO_LEN]})
        return self.model_copy(update=changes)

    @property
    def _weighted(self) -> Mapping[str, "Weighted"]:
        tasks: Mapping[str, Weighted] = getattr(self, "tasks")  # noqa: B009 (each formula has its own terms)
        return tasks

    @property
    def segmented(self) -> Sequence[Segment[Any]]:
        """Segments, the first that holds before the others."""
        return getattr(self, "segments", None) or ()

    def names_of_conditions(self) -> set[str]:
        """What a request must say for the scene's conditions: names of features."""
        named = [segment.when for segment in self.segmented]
        for calibration in (self.calibration or {}).values():
            named += [segment.when for segment in calibration.segments]
        return {name for when in named for name in when} - {LENGTH}


def unlike_names(segments: Sequence[Segment[Any]] | None) -> Sequence[Segment[Any]] | None:
    """The segments, if no two have one name; None for no segments."""
    names = [segment.name for segment in segments or ()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two segments are named {twice}; expected a name for each")
    return segments or None
