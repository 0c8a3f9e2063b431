"""Publishing: users and items, encoded by the bundle's encoder, into a feature store.

Knows the packed format (`model.packed`) and how entities are prepared, not how they are served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from model.bundle import Bundle
from model.encoding import Column
from model.errors import FulcrumError
from model.packed import PackedLayout, TableName, write_store
from model.schema import Side
from training.columns import key_strings
from training.datasets import read_source
from training.datasets.source import LogSource
from training.preparation import Entities, prepare_entities

__all__ = ["Published", "publish"]

_CHUNK = 100_000
_Table = tuple[TableName, Sequence[str], npt.NDArray[np.void]]


@dataclass(frozen=True)
class Published:
    """What a publishing wrote: the generation's folder and rows a table."""

    generation: Path
    users: int
    items: int


def publish(bundle: Bundle, folder: Path | None, target: str, console: Console) -> Published:
    """Encode all users and items of a data set and make them the store's current generation.

    Args:
        bundle: whose encoder packs the rows.
        folder: `--data`; None where the data set needs none.
        target: the store's folder.
        console: where progress goes.

    Raises:
        FulcrumError: the data does not fit the bundle's schema, or the target is no folder.
    """
    if "://" in target:
        raise FulcrumError(f"--to {target}: this release publishes to a folder; Redis is not built yet")
    root = Path(target)
    if root.exists() and not root.is_dir():
        raise FulcrumError(f"--to {target}: expected a folder, found a file")
    source = read_source(bundle.schema.data, folder)
    written: dict[str, int] = {}
    with Progress(console=console, transient=True) as progress:
        tables = _tables(bundle, source, progress, written)
        generation = write_store(root, bundle.encoder, tables)
    return Published(generation, written["users"], written["items"])


def _tables(
    bundle: Bundle, source: LogSource, progress: Progress, written: dict[str, int]
) -> Iterator[_Table]:
    names: tuple[TableName, TableName] = ("users", "items")
    for name in names:
        layout = PackedLayout.of(bundle.encoder, name)
        if name == "items" and bundle.schema.data.item is None:
            keys: list[str] = []
            records = np.zeros(0, layout.dtype)
        else:
            entities = prepare_entities(bundle.schema, source, name)
            keys, kept = _unique_keys(entities)
            records = _pack(bundle, name, layout, entities, progress)[kept]
        written[name] = len(keys)
        yield name, keys, records


def _unique_keys(entities: Entities) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Keys as requests name them, and their rows; of 3 and 3.0 the later row counts."""
    rows = {key: row for row, key in enumerate(key_strings(entities.keys)) if key is not None}
    return list(rows), np.fromiter(rows.values(), np.int64, count=len(rows))


def _pack(
    bundle: Bundle, name: TableName, layout: PackedLayout, entities: Entities, progress: Progress
) -> npt.NDArray[np.void]:
    side: Side = "user" if name == "users" else "item"
    encoder = bundle.encoder.sides[side]
    total = len(entities.keys)
    bar = progress.add_task(f"packing {name}", total=total)
    records = np.zeros(total, layout.dtype)
    for start in range(0, total, _CHUNK):
        part = slice(start, min(start + _CHUNK, total))
        columns = {
            feature: Column(column.values, column.codes[part])
            if column.codes is not None
            else Column(column.values[part])
            for feature, column in entities.columns.items()
        }
        rows = encoder.encode(columns, part.stop - part.start)
        lengths = entities.video_len_s[part] if entities.video_len_s is not None else None
        records[part] = layout.pack(rows, lengths)
        progress.update(bar, completed=part.stop)
    return records
