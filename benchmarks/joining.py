"""Joining: rate and memory of `fulcrum events join` on a large folder of events, seen from outside.

Makes a folder of exposures and feedback under build/joining, chunk by chunk, so that its size costs no
memory: 10 items an answer, 5 % of the answers with 60 candidates, segments of four workers, .25 events an
impression; of these 30 % are sent twice, all are shuffled, some come late, some belong to nothing. Then joins
it in a child process.

    python -m benchmarks.joining [--impressions 20000000] [--hours 4] [--batch 250]
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import ipc

from model.events.catalogue import EventCatalogue
from model.events.exposures import layout
from model.events.folder import HOUR_MS, EventFolder

HOME = Path("build/joining")
TASKS = ("vtr", "vcr", "shr", "cmr")
ITEMS, CANDIDATES, CANDIDATE_SHARE = 10, 60, 0.05
EVENTS, TWICE, LATE, ORPHANS = 0.25, 0.3, 0.05, 0.01
WORKERS, CHUNK = 4, 20_000
START_MS = 1_767_225_600_000
CONFIG = "sha256:" + "0" * 64
CATALOGUE = EventCatalogue.model_validate(
    {
        "kinds": [
            {"kind": "play_time_ms", "type": "integer", "unit": "ms", "window_s": 1800},
            {"kind": "is_click", "window_s": 1800},
            {"kind": "is_like", "window_s": 86400},
            {"kind": "is_share", "window_s": 86400},
            {"kind": "is_comment", "window_s": 86400},
        ]
    }
)
KINDS = [kind.kind for kind in CATALOGUE.kinds]
SQL = (
    "CREATE TABLE IF NOT EXISTS feedback (event_id TEXT PRIMARY KEY, exposure_id TEXT, item_id TEXT, kind TEXT, "
    "value REAL, time_ms INTEGER, received_ms INTEGER)"
)
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint8).reshape(256, 2)


def uuids(times: npt.NDArray[np.int64], random: np.random.Generator) -> npt.NDArray[np.bytes_]:
    """UUIDv7 of these milliseconds, as text [N]."""
    raw = random.integers(0, 256, (len(times), 16), np.uint8)
    for place in range(6):
        raw[:, place] = (times >> (8 * (5 - place))) & 255
    raw[:, 6] = (raw[:, 6] & 15) | 0x70
    raw[:, 8] = (raw[:, 8] & 63) | 0x80
    text = _HEX[raw].reshape(len(times), 32)
    dash = np.full((len(times), 1), ord("-"), np.uint8)
    parts = [text[:, :8], dash, text[:, 8:12], dash, text[:, 12:16], dash, text[:, 16:20], dash, text[:, 20:]]
    return np.ascontiguousarray(np.concatenate(parts, 1)).view("S36")[:, 0]


def make(home: Path, impressions: int, hours: int, batch: int, seed: int = 7) -> None:
    """Write the folder."""
    folder = EventFolder(home)
    folder.write_catalogue(TASKS, CATALOGUE)
    folder.configs.mkdir(exist_ok=True)
    folder.config(CONFIG).write_bytes(b"{}")
    random = np.random.default_rng(seed)
    rows = impressions // ITEMS
    database = sqlite3.connect(folder.feedback)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=OFF")
    database.execute("PRAGMA user_version=1")
    database.execute(SQL)
    schema = layout(TASKS)
    open_segments: dict[int, tuple[str, ipc.RecordBatchStreamWriter]] = {}
    held: list[tuple[object, ...]] = []
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        times = START_MS + (np.arange(start, start + count) * (hours * HOUR_MS) // rows).astype(np.int64)
        ids = uuids(times, random)
        items = _items(random, count, ITEMS)
        table = _exposures(random, schema, times, ids, items)
        for first in range(0, count, batch):
            worker = (start + first) // batch % WORKERS
            part = table.slice(first, batch)
            _append(folder, open_segments, worker, int(times[first]), part)
        fresh = list(_feedback(random, times, ids, items))
        late = random.random(len(fresh)) < LATE
        now = [event for event, is_late in zip(fresh, late, strict=True) if not is_late]
        held += [event for event, is_late in zip(fresh, late, strict=True) if is_late]
        database.executemany("INSERT OR IGNORE INTO feedback VALUES (?,?,?,?,?,?,?)", now)
        database.commit()
    database.executemany("INSERT OR IGNORE INTO feedback VALUES (?,?,?,?,?,?,?)", held)
    database.commit()
    database.close()
    for _, writer in open_segments.values():
        writer.close()


def _items(random: np.random.Generator, count: int, each: int) -> npt.NDArray[np.int64]:
    """Distinct items of each answer [count, each]."""
    start = random.integers(0, 1_000_000, (count, 1))
    return start + np.cumsum(random.integers(1, 5_000, (count, each)), 1)


def _texts(prefix: str, numbers: npt.NDArray[np.int64]) -> pa.Array:
    return pa.compute.binary_join_element_wise(prefix, pa.array(numbers.ravel()).cast(pa.string()), "")


def _append(
    folder: EventFolder,
    open_segments: dict[int, tuple[str, ipc.RecordBatchStreamWriter]],
    worker: int,
    time_ms: int,
    part: pa.Table,
) -> None:
    hour = folder.hour(time_ms)
    name, writer = open_segments.get(worker, ("", None))
    if name != hour.name:
        if writer is not None:
            writer.close()
        hour.mkdir(parents=True, exist_ok=True)
        path = hour / f"{time_ms}-{worker:08x}.arrow"
        writer = ipc.new_stream(path.open("wb"), part.schema, options=ipc.IpcWriteOptions(compression="zstd"))
        open_segments[worker] = (hour.name, writer)
    writer.write_batch(part.combine_chunks().to_batches()[0])


def _exposures(
    random: np.random.Generator,
    schema: pa.Schema,
    times: npt.NDArray[np.int64],
    ids: npt.NDArray[np.bytes_],
    items: npt.NDArray[np.int64],
) -> pa.Table:
    count = len(times)
    ends = pa.array(np.arange(0, count * ITEMS + 1, ITEMS, dtype=np.int32))
    logged = random.random(count) < CANDIDATE_SHARE
    candidates = np.concatenate(
        [items[logged], items[logged][:, -1:] + _items(random, int(logged.sum()), CANDIDATES - ITEMS)], 1
    )
    offsets = pa.array(np.concatenate([[0], np.cumsum(logged * CANDIDATES)]).astype(np.int32))
    mask = pa.array(~logged)
    size = candidates.size
    text = pa.array([identity.decode() for identity in ids])
    none = pa.nulls(count, pa.string())
    lists = pa.array([[]] * count, pa.list_(pa.string()))
    columns: dict[str, pa.Array] = {
        "exposure_id": text,
        "request_id": _texts("r", times),
        "time_ms": pa.array(times),
        "user_id": _texts("u", random.integers(0, 100_000, count)),
        "unit_hash": pa.array(random.integers(0, 2**64, count, np.uint64)),
        "scene": pa.array(["feed"] * count),
        "context": pa.array(
            [f'{{"tab":"{tab}","hour":{hour}}}' for tab, hour in random.integers(0, 24, (count, 2))]
        ),
        "bundle_version": pa.array([CONFIG] * count),
        "variant": pa.array(["fp32"] * count),
        "fusion_version": pa.array([CONFIG] * count),
        "revision": pa.array(np.ones(count, np.int64)),
        "arms": lists,
        "explored": pa.array(np.zeros(count, np.bool_)),
        "degraded": lists,
        "items": pa.ListArray.from_arrays(ends, _texts("v", items)),
        "item_len_s": pa.ListArray.from_arrays(ends, pa.array(random.uniform(5, 90, items.size).round(1))),
        "candidates": pa.ListArray.from_arrays(offsets, _texts("v", candidates), mask=mask),
        "candidate_len_s": pa.ListArray.from_arrays(
            offsets, pa.array(random.uniform(5, 90, size).round(1)), mask=mask
        ),
        "generation": none,
        "user_row": none.cast(pa.binary()),
        "item_rows": none.cast(pa.binary()),
    }
    for field in schema:
        if field.name.startswith("w_"):
            columns[field.name] = pa.array(np.ones(count))
        elif field.name.startswith("p_"):
            p = pa.array(random.random(size).astype(np.float32))
            columns[field.name] = pa.ListArray.from_arrays(offsets, p, mask=mask)
    return pa.Table.from_arrays([columns[field.name].cast(field.type) for field in schema], schema=schema)


def _feedback(
    random: np.random.Generator,
    times: npt.NDArray[np.int64],
    ids: npt.NDArray[np.bytes_],
    items: npt.NDArray[np.int64],
) -> Iterator[tuple[object, ...]]:
    count = int(items.size * EVENTS)
    rows, places = random.integers(0, len(times), count), random.integers(0, ITEMS, count)
    kinds = random.integers(0, len(KINDS), count)
    after = random.exponential(600_000, count).astype(np.int64)
    events = uuids(times[rows] + after, random)
    lost = random.random(count) < ORPHANS
    values = np.where(kinds == 0, random.integers(0, 90_000, count), 1).astype(np.float64)
    made = [
        (
            events[at].decode(),
            ids[rows[at]].decode(),
            "nothing" if lost[at] else f"v{items[rows[at], places[at]]}",
            KINDS[kinds[at]],
            values[at],
            int(times[rows[at]] + after[at]),
            int(times[rows[at]] + after[at]),
        )
        for at in range(count)
    ]
    twice = random.choice(count, int(count * TWICE), replace=False)
    order = random.permutation(count + len(twice))
    for at in order:
        if at < count:
            yield made[at]
        else:
            event = made[twice[at - count]]
            yield (*event[:6], int(str(event[6])) + 5_000)
