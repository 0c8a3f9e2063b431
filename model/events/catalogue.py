"""The catalogue of events: which kinds of feedback there are, and what is logged of a request.

A recipe declares it under `events:`, its bundles carry it, and the service writes it beside the events. Holds
no event.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from model.frozen import Frozen, Name

ROW_COLUMNS = (
    "exposure_id",
    "request_id",
    "item_id",
    "position",
    "user_id",
    "session_id",
    "unit_hash",
    "scene",
    "time_ms",
    "video_len_s",
    "bundle_version",
    "variant",
    "fusion_version",
    "revision",
    "arms",
    "explored",
    "degraded",
    "mature",
    "context_json",
    "day",
)
"""Columns of the joined log that are there whatever the catalogue says."""


class FeedbackKind(Frozen):
    """One thing that a viewer may do with an item that was shown."""

    kind: Name
    """As feedback names it."""
    type: Literal["flag", "integer", "number"] = "flag"
    """Of its values: `flag` is true or false."""
    unit: str | None = None
    """Of a number, for people."""
    window_s: Annotated[int, Field(gt=0, le=366 * 86_400)] = 86_400
    """Seconds after the exposure in which it counts, by the event's own time."""
    column: Name | None = None
    """Column of the joined log that it becomes; its name where absent."""
    combine: Literal["max", "sum"] = "max"
    """What several events of one kind on one impression become: a player that reports its progress sends
    growing values, one that reports each replay sends parts."""
    absent: Literal[0] | None = 0
    """The column's value where no event came."""

    @property
    def name(self) -> str:
        """The column that it becomes."""
        return self.column or self.kind


class EventCatalogue(Frozen):
    """`events:` of a recipe."""

    kinds: Annotated[tuple[FeedbackKind, ...], Field(min_length=1, max_length=256)]
    context: tuple[str, ...] | None = None
    """Features of a request, of its context or its user, that its exposure keeps as they were given; all
    context features of the bundle where absent."""
    clock_skew_s: Annotated[int, Field(ge=0, le=86_400)] = 300
    """Seconds by which a caller's clock may differ from the service's."""
    max_age_s: Annotated[int, Field(gt=0, le=3 * 366 * 86_400)] = 30 * 86_400
    """Age in seconds from which an event is refused."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what, names in (
            ("kind", [kind.kind for kind in self.kinds]),
            ("column", [kind.name for kind in self.kinds]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} {twice[0]!r} is declared twice; expected each once")
        for name in (kind.name for kind in self.kinds):
            if name in ROW_COLUMNS or name.startswith(("p_", "w_")):
                raise ValueError(
                    f"column {name!r} is the joined log's own, as are {', '.join(ROW_COLUMNS)}, p_... and "
                    "w_...; name another"
                )
        return self

    @property
    def longest_window_s(self) -> int:
        """Seconds after an exposure from which nothing counts for it any more."""
        return max(kind.window_s for kind in self.kinds)

    def kind(self, name: str) -> FeedbackKind | None:
        """The kind of that name, if there is one."""
        return next((kind for kind in self.kinds if kind.kind == name), None)
