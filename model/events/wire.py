"""Events as messages: JSON, one event each, for brokers and for programs without this package.

Numbers of an exposure are spelled so that they read back to the bit. Knows no broker.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from model.events.catalogue import EventCatalogue
from model.events.exposures import Candidates, Exposure, PackedCandidates
from model.events.feedback import Feedback
from model.events.folder import WrittenCatalogue

_PLAIN = (
    "exposure_id",
    "request_id",
    "time_ms",
    "user",
    "unit_hash",
    "scene",
    "context",
    "bundle_version",
    "variant",
    "fusion_version",
    "revision",
    "arms",
    "weights",
    "explored",
    "degraded",
    "items",
)
"""Keys whose values are JSON already."""
_LATER = ("session",)
"""Such keys that messages of older services lack."""


def exposure_message(exposure: Exposure) -> bytes:
    """An exposure as JSON: its attributes by name; null where a length or a prediction is missing."""
    document = {name: getattr(exposure, name) for name in (*_PLAIN, *_LATER)}
    document["item_len_s"] = np.ascontiguousarray(exposure.item_len_s)
    document["candidates"] = None if exposure.candidates is None else _candidates(exposure.candidates)
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def read_exposure(message: bytes) -> Exposure:
    """The exposure that `exposure_message` made a message of.

    Raises:
        ValueError: it is no such message.
    """
    try:
        document = orjson.loads(message)
        plain = {name: document[name] for name in _PLAIN}
        plain |= {name: document.get(name) for name in _LATER}
        found = document["candidates"]
        candidates = None if found is None else _read_candidates(found)
        exposure = Exposure(**plain, item_len_s=_numbers(document["item_len_s"]), candidates=candidates)
        texts = (exposure.exposure_id, exposure.user, exposure.session or "", exposure.scene, *exposure.items)
        if not (isinstance(exposure.time_ms, int) and all(isinstance(text, str) for text in texts)):
            raise ValueError("expected texts and a whole number of milliseconds")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an exposure: {type(error).__name__} {error}") from error
    return exposure


def catalogue_message(tasks: Sequence[str], events: EventCatalogue) -> bytes:
    """What the events are, as `catalogue.json` of a folder holds it."""
    return orjson.dumps(WrittenCatalogue(tasks=tuple(tasks), events=events).model_dump(mode="json"))


def feedback_message(event: Feedback) -> bytes:
    """One event that the service took, as JSON."""
    return orjson.dumps(
        {
            "event_id": event.event_id,
            "exposure_id": event.exposure_id,
            "item_id": event.item_id,
            "kind": event.kind,
            "value": event.value,
            "time_ms": event.time_ms,
            "received_ms": event.received_ms,
        }
    )


def _candidates(candidates: Candidates) -> dict[str, Any]:
    rows = candidates.rows
    return {
        "ids": candidates.ids,
        "video_len_s": np.ascontiguousarray(candidates.video_len_s),
        "predictions": {task: np.ascontiguousarray(p) for task, p in candidates.predictions.items()},
        "rows": None
        if rows is None
        else {
            "generation": rows.generation,
            "user": b64encode(rows.user).decode(),
            "items": b64encode(rows.items).decode(),
        },
    }


def _read_candidates(document: Mapping[str, Any]) -> Candidates:
    rows = document["rows"]
    return Candidates(
        document["ids"],
        _numbers(document["video_len_s"]),
        {task: _numbers(p).astype(np.float32) for task, p in document["predictions"].items()},
        None
        if rows is None
        else PackedCandidates(rows["generation"], b64decode(rows["user"]), b64decode(rows["items"])),
    )


def _numbers(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values], np.float64)
