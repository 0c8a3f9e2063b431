"""A reader: how one data set becomes a `LogSource`, under the name that a recipe's `data.reader` gives.

A function in a file of this folder is a reader by its decorator, `@reader(name, ...)`; nothing else lists it.
It is called with a folder and options that `training.datasets` has checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from model.frozen import Frozen
from model.schema import Schema
from training.datasets.source import LogSource, LogStream

Read = Callable[[Schema, Any, Any], LogSource]
Stream = Callable[[Schema, Any, Any], LogStream]


@dataclass(frozen=True)
class Reader:
    """How a data set is read.

    Attributes:
        read: takes the schema, the folder (a Path; None where none is needed) and the options.
        needs: what the data folder must hold, for errors; None for a data set that needs no files.
        options: the fields of `data.options`; `Frozen` has none.
        stream: opens it to be read piece by piece; None where it needs the whole log in memory.
    """

    read: Read
    needs: str | None
    options: type[BaseModel]
    stream: Stream | None


READERS: dict[str, Reader] = {}
"""All readers by name."""


def reader(
    name: str, *, needs: str | None = None, options: type[BaseModel] = Frozen, stream: Stream | None = None
) -> Callable[[Read], Read]:
    """Register the decorated function; the arguments are the attributes of `Reader`."""

    def register(read: Read) -> Read:
        if name in READERS:
            raise ValueError(f"two readers of the name {name!r}")
        READERS[name] = Reader(read, needs, options, stream)
        return read

    return register
