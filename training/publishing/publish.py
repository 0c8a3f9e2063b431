"""Publishing: users and items, encoded by the bundle's encoder, into a feature store: a folder or Redis.

What the store has already, bit by bit, is not written again; entities that the data lacks keep their rows.
Knows how entities are prepared, not how they are served.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.bundle import Bundle
from model.errors import FulcrumError
from model.files import check_folder
from model.redis_url import RedisUrl, folder_or_redis
from model.schema import Side
from model.store.packed import PackedLayout, TableName, current_generation, update_store
from training.datasets import read_source
from training.datasets.source import LogSource
from training.preparation.columns import key_strings
from training.preparation.entities import Entities, prepare_entities
from training.progress import Advanced, Observer, Warned, silent
from training.publishing.redis_writer import RedisWriter

_CHUNK = 100_000
_Table = tuple[TableName, Sequence[str], npt.NDArray[np.void]]


@dataclass(frozen=True)
class Published:
    """What a publishing did.

    Attributes:
        generation: its name; that of the publishing before where nothing changed.
        users: users of the data.
        items: items of the data.
        changed: rows that were new or different, of both.
        seconds: that writing took, packing included.
    """

    generation: str
    users: int
    items: int
    changed: int
    seconds: float


def publish(bundle: Bundle, folder: Path | None, target: str, observer: Observer = silent) -> Published:
    """Encode all users and items of a data set and bring a store up to date with them.

    Args:
        bundle: whose encoder packs the rows.
        folder: the log's files; None where the data set needs none.
        target: the store's folder, or a Redis URL.
        observer: called with progress.

    Raises:
        FulcrumError: the data does not fit the bundle's schema, or the target cannot be written.
    """
    try:
        store = folder_or_redis(target)
    except FulcrumError as error:
        raise FulcrumError(f"feature store: {error}") from error
    writer: RedisWriter | None = None
    if isinstance(store, RedisUrl):
        writer = RedisWriter(store, bundle.encoder)
    else:
        check_folder(store, "feature store")
    source = read_source(bundle.schema, folder)
    began, rows = time.perf_counter(), dict.fromkeys(("users", "items"), 0)
    tables = _counted(packed_tables(bundle, source, observer), rows)
    if writer is None:
        changed = sum(update_store(Path(target), bundle.encoder, tables).values())
        generation = current_generation(Path(target), bundle.encoder) or ""
    else:
        if writer.doubt:
            observer(Warned(f"feature store {store}: {writer.doubt}"))
        changed = _write(writer, tables, observer)
        generation = writer.finish(bool(changed))
    return Published(generation, rows["users"], rows["items"], changed, time.perf_counter() - began)


def _write(writer: RedisWriter, tables: Iterator[_Table], observer: Observer) -> int:
    changed = 0
    for name, keys, records in tables:
        done = 0
        for rows, news in writer.write(name, keys, records):
            done, changed = done + rows, changed + news
            observer(Advanced(f"writing {name}", done, len(keys), "rows"))
    return changed


def _counted(tables: Iterator[_Table], written: dict[str, int]) -> Iterator[_Table]:
    for name, keys, records in tables:
        written[name] = len(keys)
        yield name, keys, records


def packed_tables(bundle: Bundle, source: LogSource, observer: Observer = silent) -> Iterator[_Table]:
    """Users, then items, of a data set: name, ids, and a record for each, as the feature store holds it.

    Raises:
        FulcrumError: the data does not fit the bundle's schema.
    """
    names: tuple[TableName, TableName] = ("users", "items")
    for name in names:
        layout = PackedLayout.of(bundle.encoder, name)
        if name == "items" and bundle.schema.data.item is None:
            yield name, [], np.zeros(0, layout.dtype)
            continue
        entities = prepare_entities(bundle.schema, source, name)
        for doubt in entities.doubts:
            observer(Warned(doubt))
        keys, kept = _unique_keys(entities)
        yield name, keys, _pack(bundle, name, layout, entities, observer)[kept]


def _unique_keys(entities: Entities) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Keys as requests name them, and their rows; of 3 and 3.0 the later row counts."""
    rows = {key: row for row, key in enumerate(key_strings(entities.keys)) if key is not None}
    return list(rows), np.fromiter(rows.values(), np.int64, count=len(rows))


def _pack(
    bundle: Bundle, name: TableName, layout: PackedLayout, entities: Entities, observer: Observer
) -> npt.NDArray[np.void]:
    side: Side = "user" if name == "users" else "item"
    encoder = bundle.encoder.sides[side]
    total = len(entities.keys)
    records = np.zeros(total, layout.dtype)
    for start in range(0, total, _CHUNK):
        part = slice(start, min(start + _CHUNK, total))
        columns = {feature: column.take(part) for feature, column in entities.columns.items()}
        rows = encoder.encode(columns, part.stop - part.start)
        lengths = entities.video_len_s[part] if entities.video_len_s is not None else None
        records[part] = layout.pack(rows, lengths)
        observer(Advanced(f"packing {name}", part.stop, total, "rows"))
    return records
