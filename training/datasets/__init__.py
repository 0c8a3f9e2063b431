"""Readers of data sets: those that are in this folder are known by the name that `data.reader` gives."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from pydantic import BaseModel

from model.errors import FulcrumError, checked
from model.schema import DataSpec, Schema
from training.datasets.reader import READERS, Reader
from training.datasets.source import LogSource, LogStream

__all__ = ["READERS", "read_source", "stream_source"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def read_source(schema: Schema, folder: Path | None) -> LogSource:
    """Read the data set that a schema declares.

    Args:
        schema: of a recipe or a bundle.
        folder: of their files; None for the data sets that need none.

    Raises:
        FulcrumError: unknown reader or option, missing or unreadable files.
    """
    data = schema.data
    reader = _reader(data)
    options = _options(reader, data, folder)
    return reader.read(schema, folder, options)


def stream_source(schema: Schema, folder: Path | None) -> LogStream:
    """Open the data set that a schema declares, to be read piece by piece.

    Raises:
        FulcrumError: as for `read_source`; or its reader needs the whole log.
    """
    data = schema.data
    reader = _reader(data)
    if reader.stream is None:
        streaming = ", ".join(f"`{name}`" for name, each in sorted(READERS.items()) if each.stream)
        raise FulcrumError(
            f"training.stream: the reader {data.reader!r} needs the whole log in memory; "
            f"from Parquet, these stream: {streaming}"
        )
    options = _options(reader, data, folder)
    return reader.stream(schema, folder, options)


def _reader(data: DataSpec) -> Reader:
    if data.reader not in READERS:
        known = ", ".join(sorted(READERS))
        raise FulcrumError(f"data.reader: unknown reader {data.reader!r}; the readers are {known}")
    return READERS[data.reader]


def _options(reader: Reader, data: DataSpec, folder: Path | None) -> BaseModel:
    """The options, once it is known that the folder is there if the reader needs one."""
    if data.options and not reader.options.model_fields:
        option = next(iter(data.options))
        raise FulcrumError(f"data.options.{option}: the reader `{data.reader}` takes no options")
    if reader.needs is not None:
        if folder is None:
            raise FulcrumError(f"this recipe reads {reader.needs}: give the folder that has them as `data`")
        if not folder.is_dir():
            raise FulcrumError(f"data folder {folder}: no such folder; expected a folder with {reader.needs}")
    return checked(reader.options, data.options, at="data.options")
