"""Priors and histories: columns that a recipe makes of the log itself, strictly before each row's time.

Declares them; `training.preparation.past` makes them.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from model.frozen import Frozen, Name

MOST_VALUES = 1000
"""Values that a history, a multi-valued or a sequence feature holds, at most."""


class _Past(Frozen):
    name: Name
    """The column that it makes; features read it by `column`, or by its name."""
    by: tuple[str, ...] = Field(min_length=1)
    """Columns of the log or its tables whose values together say which earlier rows are meant."""
    of: str
    """Polars SQL over the log and its tables: what is taken of an earlier row. Where it is null, the row does
    not count."""
    where: str | None = None
    """Polars SQL: which earlier rows count."""
    delay_s: float = Field(default=0.0, ge=0.0)
    """Seconds after which a row is known: labels come late, and publishing takes its time."""

    @field_validator("by", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class HistorySpec(_Past):
    """A list of what the earlier rows of the same key gave: the last ones, in the order of time."""

    last: int = Field(default=50, ge=1, le=MOST_VALUES)
    """Values kept, the latest."""
    seed: str | None = None
    """A list column of the key (of a table, say) that the log goes on from: what was before it, oldest first.
    A key's list is the first that a row of it has, and counts from that row on."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it makes."""
        return (self.name,)


class PriorSpec(_Past):
    """The mean of the earlier rows of the same key, drawn to the mean of all earlier rows, and their count.

    Makes `NAME`, `NAME_count` and `NAME_age_s`, the seconds since the last of them.
    """

    smoothing: float = Field(default=20.0, ge=0.0)
    """How many rows of the common mean are added to the key's own."""
    half_life_days: float | None = Field(default=None, gt=0.0)
    """Days after which a row counts half, in means and count; a row counts alike forever where absent."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it makes: mean, count, age."""
        return (self.name, f"{self.name}_count", f"{self.name}_age_s")
