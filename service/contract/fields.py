"""Response fields: what an item carries beside id, rank, score and status, where `fields` asks for it.

To add one, write it in `ItemFields`. Knows the scored candidates as columns, not where they come from.

Shapes: k best candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The best candidates, best first: `predictions` by task, `video_len_s` in seconds, NaN where unknown."""

    scores: Sequence[float]  # [k]
    default: Sequence[bool]  # [k], whether it was scored without stored features
    predictions: Mapping[str, npt.NDArray[np.float32]]  # [k]
    video_len_s: npt.NDArray[np.float64]  # [k]


def _predictions(best: Best) -> Iterable[dict[str, float]]:
    tasks = list(best.predictions)
    rows = zip(*(column.tolist() for column in best.predictions.values()), strict=True)
    return (dict(zip(tasks, row, strict=True)) for row in rows)


class ItemFields(BaseModel):
    """The fields, each annotated with what fills it: values for the best [k]. Unscored items have null."""

    predictions: Annotated[dict[str, float] | None, _predictions] = Field(
        default=None, description="By task; null if unscored."
    )


COLUMNS: dict[str, Callable[[Best], Iterable[Any]]] = {
    name: field.metadata[0] for name, field in ItemFields.model_fields.items()
}
"""What fills each field, in the order in which items have them."""

if TYPE_CHECKING:
    FieldName = str
else:
    FieldName = Literal[tuple(COLUMNS)]


def asked(names: Collection[str]) -> tuple[str, ...]:
    """The named fields, each once, in the order in which items have them."""
    return tuple(name for name in COLUMNS if name in names)
