"""Units: what each unit of an experiment did so far, in which arms it was seen; day by day.

Rows of one unit are not independent, its sums are: statistics take one row a unit. Sums are added up in any
order of days; no day is added twice by whoever reads the log. Knows no metrics and no tests.
Shapes: R rows of a day, U units, A arms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Units:
    """Sums by unit.

    Attributes:
        arms: names, the control first.
        unit: distinct, ascending [U].
        rows: in which each was seen, by arm [U, A].
        sums: by column [U] each.
    """

    arms: Sequence[str]
    unit: npt.NDArray[Any]
    rows: Ints
    sums: Mapping[str, Floats]

    @classmethod
    def none(cls, arms: Sequence[str], columns: Sequence[str]) -> Self:
        """Before the first day."""
        rows = np.zeros((0, len(arms)), np.int64)
        return cls(arms, np.zeros(0, np.object_), rows, {name: np.zeros(0) for name in columns})

    def add(self, unit: npt.NDArray[Any], arm: Ints, columns: Mapping[str, Floats]) -> Self:
        """With more rows.

        Args:
            unit: of each row, such as requests [R].
            arm: its place among `arms` [R].
            columns: values [R] each, by the names that there are.
        """
        every = np.concatenate([self.unit, unit]) if len(self.unit) else unit
        found, place = np.unique(every, return_inverse=True)
        old, new = place[: len(self.unit)], place[len(self.unit) :]
        count, width = len(found), len(self.arms)
        rows = np.bincount(new * width + arm, minlength=count * width).reshape(count, width).astype(np.int64)
        rows[old] += self.rows
        sums: dict[str, Floats] = {}
        for name, before in self.sums.items():
            total = np.bincount(new, columns[name], count).astype(np.float64)
            total[old] += before
            sums[name] = total
        return replace(self, unit=found, rows=rows, sums=sums)

    @property
    def crossed(self) -> npt.NDArray[np.bool_]:
        """Whether a unit was seen in several arms, which no assignment does [U]; it counts in none."""
        return np.asarray((self.rows > 0).sum(axis=1) > 1, np.bool_)

    def counts(self) -> Ints:
        """Units by arm [A]."""
        return np.bincount(self._arm(), minlength=len(self.arms) + 1)[1:].astype(np.int64)

    def of_arm(self, name: str) -> dict[str, Floats]:
        """Sums of an arm's units, and how many `rows` each has."""
        place = list(self.arms).index(name)
        mine = self._arm() == place + 1
        return {
            **{column: of[mine] for column, of in self.sums.items()},
            "rows": self.rows[mine, place] * 1.0,
        }

    def _arm(self) -> Ints:
        """Place of each unit's arm, from 1; 0 for those that crossed [U]."""
        arm = (self.rows > 0).argmax(axis=1).astype(np.int64) + 1
        return np.where(self.crossed, 0, arm)
