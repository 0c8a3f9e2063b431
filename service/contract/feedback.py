"""The contract of `POST /v1/feedback`: what a request may hold. The answer is in `answers.py`.

Says nothing of single events: `model.events.FeedbackJudge` takes each or rejects it.
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field
from pydantic.config import JsonDict

from model.errors import shown
from model.events.catalogue import EventCatalogue
from model.events.feedback import KEYS, MAX_EVENTS, MAX_ID_BYTES
from model.frozen import Strict
from service.contract.errors import FieldProblem, InvalidRequestError

_EVENT: JsonDict = {
    "type": "object",
    "properties": {
        "event_id": {"type": "string", "description": "Yours; of several events of one id the first counts."},
        "exposure_id": {"type": "string", "description": "Of the answer in which the item stood."},
        "item_id": {"type": "string", "description": "The item."},
        "kind": {"type": "string", "description": "One that the bundle's recipe declares under `events`."},
        "value": {"description": "true or false of a flag, a whole number of an integer, else a number."},
        "time_ms": {"type": "integer", "description": "When it happened: milliseconds since 1970, UTC."},
    },
    "required": list(KEYS),
    "additionalProperties": False,
    "description": f"What a viewer did. Ids have 1 to {MAX_ID_BYTES} bytes.",
}


class FeedbackRequest(Strict):
    """What viewers did with items that were shown to them."""

    events: list[Any] = Field(
        max_length=MAX_EVENTS,
        description="Events; one that is not as described is rejected by its index and stops no other.",
        json_schema_extra={"items": {"anyOf": [_EVENT, {"description": "Anything else is rejected."}]}},
    )


def events_of(document: Any) -> list[Any]:
    """The events of a JSON document, as they stand in it.

    Raises:
        InvalidRequestError: it is not an object that holds a list of events and no more; names the field.
    """
    if not isinstance(document, dict):
        raise _invalid("body", f"expected an object with the key events, found {shown(document)}")
    if "events" not in document:
        raise _invalid("events", "is missing; expected a list of events")
    unknown = next((key for key in document if key != "events"), None)
    if unknown is not None:
        raise _invalid(unknown[:80], "unknown key; expected events alone")
    events = document["events"]
    if not isinstance(events, list):
        raise _invalid("events", f"expected a list, found {shown(events)}")
    if len(events) > MAX_EVENTS:
        raise _invalid("events", f"at most {MAX_EVENTS:,} events, found {len(events):,}; send the rest after")
    return events


def example_event(catalogue: EventCatalogue, exposure_id: str, item_id: str) -> dict[str, Any]:
    """An event on this item that is taken now."""
    kind = catalogue.kinds[0]
    return {
        "event_id": f"{exposure_id}/{item_id}/{kind.kind}",
        "exposure_id": exposure_id,
        "item_id": item_id,
        "kind": kind.kind,
        "value": True if kind.type == "flag" else 1,
        "time_ms": time.time_ns() // 1_000_000,
    }


def _invalid(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(FieldProblem(field, message))
