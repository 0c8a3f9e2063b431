"""Feedback: what viewers did as events, and what befalls events on their way. Sends nothing.

Shapes: K videos shown, F kinds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model.events import EventCatalogue, FeedbackKind
from model.frozen import Frozen
from training.simulation import Behaviour
from training.simulation.population import FloatArray

Share = Annotated[float, Field(ge=0, le=1)]
Event = dict[str, Any]

BEHAVIOURS = ("play_time_ms", "is_click", "is_like", "is_share", "is_comment")
"""What viewers do, by the column of the log that it becomes."""
_DEFAULT = EventCatalogue(
    kinds=tuple(
        FeedbackKind(kind=name, type="integer" if name == "play_time_ms" else "flag") for name in BEHAVIOURS
    )
)


CHANCES = 3
"""Uniform numbers that decide on an event."""


class Mishaps(Frozen):
    """What befalls events on their way."""

    late: Share = 0.0
    """Share of events that are sent when all requests have been answered."""
    double: Share = 0.0
    """Share of events that are sent twice: once more when all requests have been answered."""
    lost: Share = 0.0
    """Share of events that are never sent."""
    shuffle: bool = False
    """Whether events are sent in any order."""


def known_kinds(catalogue: EventCatalogue | None) -> tuple[FeedbackKind, ...]:
    """The kinds that viewers know how to send: those whose column is one of `BEHAVIOURS`."""
    return tuple(kind for kind in (catalogue or _DEFAULT).kinds if kind.name in BEHAVIOURS)


def events_of(
    did: Behaviour,
    kinds: Sequence[FeedbackKind],
    exposure_id: str,
    items: Sequence[str],
    time_ms: int,
    mishaps: Mishaps,
    chances: FloatArray,
) -> Iterator[tuple[Event, bool]]:
    """What happened, each event as often as it is sent, and whether it is late.

    Args:
        did: what the viewer did with each video [K].
        kinds: to send [F].
        exposure_id: of the answer.
        items: ids of the videos [K].
        time_ms: when it happened.
        mishaps: what befalls events.
        chances: uniform numbers, [K, 3 F].
    """
    values = np.stack([getattr(did, kind.name).astype(np.int64) for kind in kinds], axis=1)  # [K, F]
    for row, column in np.argwhere(values > 0).tolist():
        kind = kinds[column]
        lost, double, late = chances[row, column * CHANCES :][:CHANCES].tolist()
        if lost < mishaps.lost:
            continue
        value: bool | int = int(values[row, column])
        event = {
            "event_id": f"{exposure_id}:{items[row]}:{kind.kind}",
            "exposure_id": exposure_id,
            "item_id": items[row],
            "kind": kind.kind,
            "value": True if kind.type == "flag" else value,
            "time_ms": time_ms,
        }
        yield event, late < mishaps.late
        if double < mishaps.double:
            yield event, True
