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

__all__ = ["COLUMNS", "Best", "FieldName", "ItemFields", "asked"]


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The best candidates, best first.

    Attributes:
        scores: [k].
        default: whether they were scored without stored features [k].
        predictions: by task [k].
        video_len_s: their lengths in seconds, NaN where unknown [k].
    """

    scores: Sequence[float]
    default: Sequence[bool]
    predictions: Mapping[str, npt.NDArray[np.float32]]
    video_len_s: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Column:
    """How a field is filled: its value for each of the best, in their order; an unscored item has null."""

    of: Callable[[Best], Iterable[Any]]


def _predictions(best: Best) -> Iterable[dict[str, float]]:
    tasks = list(best.predictions)
    rows = zip(*(column.tolist() for column in best.predictions.values()), strict=True)
    return (dict(zip(tasks, row, strict=True)) for row in rows)


class ItemFields(BaseModel):
    """The fields by name, each with its type, how it is filled and its description."""

    predictions: Annotated[dict[str, float] | None, _Column(_predictions)] = Field(
        default=None, description="By task; null if unscored."
    )


COLUMNS = {
    name: next(part.of for part in field.metadata if isinstance(part, _Column))
    for name, field in ItemFields.model_fields.items()
}
"""What fills each field, in the order in which items have them."""

if TYPE_CHECKING:
    FieldName = str
else:
    FieldName = Literal[tuple(COLUMNS)]


def asked(names: Collection[str]) -> tuple[str, ...]:
    """The named fields, each once, in the order in which items have them."""
    return tuple(name for name in COLUMNS if name in names)
