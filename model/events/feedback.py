"""Feedback: what a viewer did with an item that was shown, and whether an event can be taken.

Knows the catalogue, and neither HTTP nor where events are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from model.errors import listed, shown
from model.events.catalogue import EventCatalogue, FeedbackKind

MAX_EVENTS = 1_000
"""Events of one request."""
MAX_ID_BYTES = 256
"""Bytes of an id, UTF-8."""
KEYS = ("event_id", "exposure_id", "item_id", "kind", "value", "time_ms")
_LARGEST_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class Feedback:
    """One event as it was taken.

    Attributes:
        event_id: the sender's; of several events of one id the first received counts.
        exposure_id: the answer in which the item stood.
        item_id: the item.
        kind: of the catalogue.
        value: flags are 0 and 1.
        time_ms: when it happened, by the sender's clock, milliseconds since 1970.
        received_ms: when the service took it, by its own clock.
    """

    event_id: str
    exposure_id: str
    item_id: str
    kind: str
    value: float
    time_ms: int
    received_ms: int


class FeedbackJudge:
    """Says which events can be taken.

    Args:
        catalogue: the kinds.
        clock: milliseconds since 1970.
    """

    def __init__(self, catalogue: EventCatalogue, clock: Callable[[], int]) -> None:
        self._catalogue = catalogue
        self._kinds = {kind.kind: kind for kind in catalogue.kinds}
        self._clock = clock

    def judge(self, event: Any) -> Feedback | str:
        """The event as it is kept, or why it cannot be.

        Args:
            event: as JSON gives it.
        """
        now = self._clock()
        if not isinstance(event, Mapping):
            return f"expected an object with {listed(KEYS)}, found {shown(event)}"
        unknown = [key for key in event if key not in KEYS]
        if unknown:
            return f"unknown key {shown(unknown[0])}; the keys are {listed(KEYS)}"
        missing = [key for key in KEYS if key not in event]
        if missing:
            return f"{missing[0]} is missing; expected {listed(KEYS)}"
        for key in ("event_id", "exposure_id", "item_id"):
            problem = _id_problem(event[key])
            if problem:
                return f"{key}: {problem}"
        kind = self._kinds.get(event["kind"]) if isinstance(event["kind"], str) else None
        if kind is None:
            return f"unknown kind {shown(event['kind'])}; the kinds are {listed(self._kinds)}"
        value = _value(kind, event["value"])
        if value is None:
            return f"value: {kind.kind} takes {_EXPECTED[kind.type]}, found {shown(event['value'])}"
        time_ms = event["time_ms"]
        if type(time_ms) is not int:
            return f"time_ms: expected whole milliseconds since 1970, found {shown(time_ms)}"
        if time_ms > now + self._catalogue.clock_skew_s * 1000:
            ahead, most = (time_ms - now) / 1000.0, self._catalogue.clock_skew_s
            return f"time_ms lies {ahead:,.0f} s ahead of the service's clock; expected at most {most} s"
        if time_ms < now - self._catalogue.max_age_s * 1000:
            age, most = (now - time_ms) / 1000.0, self._catalogue.max_age_s
            return f"time_ms lies {age:,.0f} s back; expected at most {most:,} s"
        return Feedback(
            event["event_id"], event["exposure_id"], event["item_id"], kind.kind, value, time_ms, now
        )


_EXPECTED = {
    "flag": "true or false",
    "integer": f"a whole number from -2^53 to 2^53 ({_LARGEST_INTEGER:,})",
    "number": "a finite number",
}


def _id_problem(text: Any) -> str | None:
    if not isinstance(text, str) or not text:
        return f"expected text, found {shown(text)}"
    try:
        if len(text) > MAX_ID_BYTES // 4 and len(text.encode()) > MAX_ID_BYTES:
            return f"an id is at most {MAX_ID_BYTES} bytes of UTF-8, found {len(text.encode())}"
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        return "expected text of whole Unicode characters, found half of a surrogate pair"
    return "expected text without a null character" if "\0" in text else None


def _value(kind: FeedbackKind, value: Any) -> float | None:
    if kind.type == "flag":
        return float(value) if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind.type == "integer":
        whole = isinstance(value, int) and -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER
        return float(value) if whole else None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
