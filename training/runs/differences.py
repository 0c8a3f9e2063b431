"""Differences between two documents, in words that name each place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import shown

_ABSENT = object()


def differences(there: Any, here: Any, path: str = "") -> Iterator[str]:
    """`training.epochs is 3 there and 5 here`, for each value that is not the same."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in {**there, **here}:
            place = f"{path}.{key}" if path else key
            yield from differences(there.get(key, _ABSENT), here.get(key, _ABSENT), place)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for number, (one, other) in enumerate(zip(there, here, strict=True)):
            name = one.get("name", number) if isinstance(one, Mapping) else number
            yield from differences(one, other, f"{path}.{name}")
    elif there != here:
        yield f"{path} is {_said(there)} there and {_said(here)} here"


def _said(value: Any) -> str:
    return "absent" if value is _ABSENT else shown(value)
