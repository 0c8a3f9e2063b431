"""Records of a control store as JSON. Knows no store."""

from __future__ import annotations

from typing import TypeVar

import orjson

from model.errors import FulcrumError, checked
from model.frozen import Frozen
from service.control.state.desired import StateError

Record = TypeVar("Record", bound=Frozen)


def dumped(record: Frozen) -> bytes:
    """A record as the stores keep it."""
    return record.model_dump_json().encode()


def parsed(record: type[Record], content: bytes | str, source: str) -> Record:
    """What a store has kept.

    Raises:
        StateError: it is no such record, or one of a newer version of this program; begins with `source`.
    """
    try:
        return checked(record, orjson.loads(content))
    except orjson.JSONDecodeError as error:
        raise StateError(f"{source}: the {record.__name__.lower()} is not JSON ({error})") from error
    except FulcrumError as error:
        raise StateError(
            f"{source}: the {record.__name__.lower()} cannot be understood ({error}); "
            "was it written by a newer version?"
        ) from error
