"""Event logs for tests: made by chance, written as the service writes them, joined by plain code."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from pyarrow import ipc

from model.events import Candidates, EventCatalogue, EventFolder, Exposure, Feedback
from model.events.exposures import VIDEO_LEN, Precision, batch, layout
from model.events.feedback_table import insert, open_feedback

START_MS = 1_767_225_600_000 - 3_600_000
"""An hour before midnight."""
TASKS = ("vtr", "vcr")
CONFIG = "sha256:" + "ab" * 32
CATALOGUE = EventCatalogue.model_validate(
    {
        "kinds": [
            {"kind": "play_time_ms", "type": "integer", "window_s": 1800},
            {"kind": "is_click", "window_s": 1800},
            {"kind": "is_share", "window_s": 7200, "column": "shared", "absent": None},
            {"kind": "watched", "type": "number", "window_s": 7200, "combine": "sum"},
        ]
    }
)
KINDS = tuple(kind.kind for kind in CATALOGUE.kinds)


@dataclass
class EventLog:
    """Exposures and feedback as they came about."""

    exposures: list[Exposure]
    events: list[Feedback]


def exposure_id(time_ms: int, chance: random.Random) -> str:
    bits = (time_ms << 80) | (7 << 76) | (chance.getrandbits(12) << 64) | (2 << 62) | chance.getrandbits(62)
    return str(uuid.UUID(int=bits))


def make_log(
    exposures: int, seed: int = 0, items: int = 4, hours: float = 3.0, tasks: Sequence[str] = TASKS
) -> EventLog:
    """Some exposures, a quarter of them with candidates, and an event for two in five impressions."""
    chance, log = random.Random(seed), EventLog([], [])
    for number in range(exposures):
        time_ms = START_MS + int(hours * 3_600_000 * number / exposures)
        identity = exposure_id(time_ms, chance)
        ids = [f"v{item}" for item in chance.sample(range(10_000), items * 3)]
        shown = [math.nan if chance.random() < 0.1 else chance.uniform(3, 90) for _ in ids]
        candidates = Candidates(
            ids,
            np.array(shown),
            {task: np.array([chance.random() for _ in ids], np.float32) for task in tasks},
        )
        log.exposures.append(
            Exposure(
                identity,
                f"r{number}" if number % 2 else None,
                time_ms,
                f"u{number % 20}",
                chance.getrandbits(64),
                "feed",
                {"tab": chance.choice(["1", "2"]), "hour": chance.randrange(24), "warm": None},
                "sha256:bundle",
                "fp32",
                CONFIG,
                None if number % 3 else number,
                ["l/e:a"] if number % 5 == 0 else [],
                dict.fromkeys((*tasks, VIDEO_LEN), 1.5),
                number % 7 == 0,
                ["deadline"] if number % 11 == 0 else [],
                ids[:items],
                np.array(shown[:items]),
                candidates if number % 4 == 0 else None,
                f"s{number % 9}" if number % 3 else None,
            )
        )
    for number in range(int(exposures * items * 0.4)):
        shown_in = chance.choice(log.exposures)
        kind = CATALOGUE.kinds[chance.randrange(len(KINDS))]
        after_ms = int(chance.expovariate(1 / 900_000)) - 200_000
        at_ms = shown_in.time_ms + after_ms
        value = (
            1.0
            if kind.type == "flag"
            else float(chance.randrange(10**6)) / (1 if kind.type == "integer" else 7)
        )
        orphan = chance.random() < 0.05
        log.events.append(
            Feedback(
                f"e{number}",
                exposure_id(at_ms, chance) if orphan and number % 2 else shown_in.exposure_id,
                "none" if orphan else chance.choice(list(shown_in.items)),
                kind.kind,
                value,
                at_ms,
                max(at_ms, shown_in.time_ms) + int(chance.expovariate(1 / 3_600_000)),
            )
        )
    return log


def write_folder(
    path: Path, tasks: Sequence[str] = TASKS, catalogue: EventCatalogue = CATALOGUE
) -> EventFolder:
    """An empty folder of events."""
    folder = EventFolder(path)
    folder.write_catalogue(tasks, catalogue)
    folder.configs.mkdir(exist_ok=True)
    folder.config(CONFIG).write_bytes(b"{}")
    return folder


def write_exposures(
    folder: EventFolder,
    exposures: Sequence[Exposure],
    tasks: Sequence[str] = TASKS,
    batch_rows: int = 50,
    precision: Precision = "float32",
) -> list[Path]:
    """A segment for each hour of them, as one worker writes it."""
    paths = []
    hours = {folder.hour(one.time_ms): one for one in exposures}
    for hour in hours:
        hour.mkdir(parents=True, exist_ok=True)
        of_hour = [one for one in exposures if folder.hour(one.time_ms) == hour]
        path = hour / f"{of_hour[0].time_ms}-{uuid.uuid4().hex[:8]}.arrow"
        schema = layout(tasks, precision)
        with (
            path.open("wb") as file,
            ipc.new_stream(file, schema, options=ipc.IpcWriteOptions(compression="zstd")) as stream,
        ):
            for first in range(0, len(of_hour), batch_rows):
                stream.write_batch(batch(of_hour[first : first + batch_rows], schema))
        paths.append(path)
    return paths


def write_events(folder: EventFolder, events: Iterable[Feedback]) -> None:
    database = open_feedback(folder.feedback)
    insert(database, events)
    database.close()


def naive_join(log: EventLog, as_of_ms: int, catalogue: EventCatalogue = CATALOGUE) -> list[dict[str, Any]]:
    """The rows of impressions, one after the other."""
    events = {}
    for event in log.events:
        if event.received_ms <= as_of_ms:
            events.setdefault(event.event_id, event)
    by_item: dict[tuple[str, str, str], list[Feedback]] = {}
    for event in events.values():
        by_item.setdefault((event.exposure_id, event.item_id, event.kind), []).append(event)
    rows = []
    seen = {one.exposure_id: one for one in log.exposures if one.time_ms <= as_of_ms}
    for one in sorted(seen.values(), key=lambda one: one.exposure_id):
        for place, item in enumerate(one.items):
            row: dict[str, Any] = {
                "exposure_id": one.exposure_id,
                "request_id": one.request_id,
                "item_id": item,
                "position": place + 1,
                "user_id": one.user,
                "session_id": one.session,
                "unit_hash": one.unit_hash,
                "scene": one.scene,
                "time_ms": one.time_ms,
                "video_len_s": _number(one.item_len_s[place]),
                "bundle_version": one.bundle_version,
                "variant": one.variant,
                "fusion_version": one.fusion_version,
                "revision": one.revision,
                "arms": list(one.arms),
                "explored": one.explored,
                "degraded": list(one.degraded),
                "context_json": orjson.dumps(one.context).decode(),
                "mature": one.time_ms + catalogue.longest_window_s * 1000 <= as_of_ms,
                **{f"w_{term}": weight for term, weight in one.weights.items()},
            }
            for task in TASKS:
                logged = one.candidates
                at = list(logged.ids).index(item) if logged is not None else None
                row[f"p_{task}"] = None if at is None else _number(logged.predictions[task][at])
            row |= {name: one.context[name] for name in ("hour", "tab")}
            for kind in catalogue.kinds:
                values = sorted(
                    event.value
                    for event in by_item.get((one.exposure_id, item, kind.kind), ())
                    if -catalogue.clock_skew_s * 1000 <= event.time_ms - one.time_ms <= kind.window_s * 1000
                )
                whole = float if kind.type == "number" else int
                combined = sum(values) if kind.combine == "sum" else max(values, default=0)
                row[kind.name] = whole(combined) if values else kind.absent
            rows.append(row)
    return rows


def impressions(out: Path) -> pl.DataFrame:
    """All rows of a joined log, in order."""
    return pl.read_parquet(out / "impressions", hive_partitioning=False).sort("exposure_id", "position")


def candidates(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "candidates", hive_partitioning=False).sort("exposure_id", "input_index")


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)
