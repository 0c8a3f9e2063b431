"""`rank_ensemble`: reciprocal ranks, weighted (Cormack, Clarke and Buettcher 2009, "Reciprocal rank fusion").

    score = sum over tasks of weight / (k + rank of p)  +  weight / (k + rank of f(video_len))

Ranks count from 1, the highest p first; equal values share the mean of their ranks. Needs no calibration, and
is the exception to the rule that a candidate's score depends on itself alone: ranks are within the request's
scored candidates. Shapes: N candidates, L lists.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from model.fusion.bounds import NonNegative
from model.fusion.lengths import Floats, duration_factor
from model.fusion.names import Name
from model.fusion.scene import MOST_SEGMENTS, SceneConfig, Segment, Term, Terms, unlike_names


class RankTerm(Term):
    """How the rank of one predicted behaviour enters: `weight / (k + rank)`."""


class RankEnsemble(SceneConfig):
    """The weighted sum of reciprocal ranks."""

    looks_at_the_list: ClassVar[bool] = True

    formula: Literal["rank_ensemble"] = "rank_ensemble"
    tasks: dict[Name, RankTerm]
    """Terms by task name. A task left out has weight 0."""
    k: NonNegative = 60.0
    """How little the first ranks count more than those after them."""
    segments: Annotated[
        tuple[Segment[RankTerm], ...] | None, Field(max_length=MOST_SEGMENTS), AfterValidator(unlike_names)
    ] = None

    def terms(  # noqa: D102
        self, p: Mapping[str, Floats], video_len_s: Floats, lists: NDArray[np.int64] | None
    ) -> Terms:
        tasks = {task: self._of(self.tasks[task].weight, values, lists) for task, values in p.items()}
        weight = self.video_len.weight
        if not weight or self.video_len.kind == "none":
            return Terms(tasks, None)
        return Terms(tasks, self._of(weight, duration_factor(self.video_len, video_len_s), lists))

    def _of(self, weight: float, values: Floats, lists: NDArray[np.int64] | None) -> Floats:
        terms: Floats = weight / (self.k + ranks(values, lists)) + 0.0
        return terms


def ranks(values: Floats, lists: NDArray[np.int64] | None = None) -> Floats:
    """Ranks within each list, from 1 for the highest; equal values share their mean rank; of NaN, NaN. [N].

    Args:
        values: [N].
        lists: the list of each [N]; None where there is one.
    """
    if not len(values):
        return np.zeros(0)
    group = np.zeros(len(values), np.int64) if lists is None else lists
    order = np.lexsort((-values, group))  # [N], NaN last in its list
    ordered, of_list = values[order], group[order]
    place = np.arange(len(values))
    new_list = np.append(True, of_list[1:] != of_list[:-1])
    new_value = new_list | np.append(True, ordered[1:] != ordered[:-1])
    list_start = place[new_list][np.cumsum(new_list) - 1]
    first = place[new_value]  # of each run of equal values
    last = np.append(first[1:], len(values)) - 1
    middle = (first + last)[np.cumsum(new_value) - 1] / 2.0
    found = np.empty(len(values))
    found[order] = middle - list_start + 1.0
    found[np.isnan(values)] = np.nan
    return found
