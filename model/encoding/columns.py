"""Raw columns: values as they were found, in forms that let each distinct value be looked at once.

Knows nothing of what a value means.

Shapes: R rows, V distinct values, E elements of lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_T = TypeVar("_T", bound=np.generic)
Rows = npt.NDArray[np.bool_] | npt.NDArray[np.int64] | slice
"""Which rows: marked ones, numbered ones, or neighbours."""


@dataclass(frozen=True)
class Column:
    """Raw values of one feature, dictionary-coded where many rows share few values.

    Attributes:
        values: raw Python values or a one-dimensional array, [V].
        codes: position in `values` of each row, int64 [R]; None where each row has its own (R = V).
    """

    values: Sequence[Any] | npt.NDArray[Any]
    codes: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values if self.codes is None else self.codes)

    def take(self, rows: Rows) -> Column:
        """These rows; values that none of them has stay, with a count of 0."""
        if self.codes is not None:
            return Column(self.values, self.codes[rows])
        if isinstance(self.values, np.ndarray):
            return Column(self.values[rows])
        return Column([self.values[row] for row in np.arange(len(self.values))[rows].tolist()])

    def spread(self, encoded: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """From one entry a value [V] to one a row [R]."""
        return encoded if self.codes is None else encoded[self.codes]

    def counts(self) -> npt.NDArray[np.int64]:
        """Rows of each value, [V]."""
        if self.codes is None:
            return np.ones(len(self.values), np.int64)
        return np.bincount(self.codes, minlength=len(self.values))

    def value(self, row: int) -> Any:
        """A row's raw value, as Python has it."""
        found = self.values[row if self.codes is None else int(self.codes[row])]
        return found.item() if isinstance(found, np.generic) else found


@dataclass(frozen=True)
class ListColumn:
    """Raw lists of one feature. Rows may share elements: a history's lists are windows onto one sequence.

    Attributes:
        elements: of all lists, [E].
        first, stop: row r holds the elements `first[r]` up to, not including, `stop[r]`; int64 [R].
    """

    elements: Column
    first: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: Rows) -> ListColumn:
        """These rows; elements that none of them has stay."""
        return ListColumn(self.elements, self.first[rows], self.stop[rows])

    def element_counts(self) -> npt.NDArray[np.int64]:
        """In how many rows each element stands, [E]."""
        places = len(self.elements) + 1
        change = np.bincount(self.first, minlength=places) - np.bincount(self.stop, minlength=places)
        return np.cumsum(change)[:-1]

    def value(self, row: int) -> list[Any]:
        """A row's raw list."""
        return [self.elements.value(place) for place in range(self.first[row], self.stop[row])]


RawColumn = Column | ListColumn
