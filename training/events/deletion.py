"""Deletion: a user's exposures and what came of them, or hours that are old enough. Deleted is deleted.

Also from the joined logs that are named: they are joined again, as of the time that they were joined as of.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from model.errors import FulcrumError
from model.events.folder import HOUR_MS, EventFolder, hour_start_ms
from model.events.pseudonym import pseudonym
from model.files import read_file
from training.events.feedback_database import FeedbackDatabase
from training.events.join import join_events, maintained
from training.events.sealing import is_open, layouts, rewrite
from training.events.sources import DAMAGED, id_bound, scan, source_files, torn_at_once
from training.progress import Advanced, Observer, Stage, silent

_MOST_BYTES = 1 << 20


@dataclass
class Deleted:
    """What is no more.

    Attributes:
        exposures: of a user; of hours they are not counted.
        events: of feedback.
        hours: of which some or all was deleted.
        open: segments of the user or of these hours that some worker still writes to.
    """

    exposures: int = 0
    events: int = 0
    hours: int = 0
    open: list[Path] = field(default_factory=list)


def forget(
    events: Path, user: str, keys: Sequence[str] = (), outs: Sequence[Path] = (), observer: Observer = silent
) -> Deleted:
    """Delete what was shown to a user and what came of it.

    Args:
        events: a folder of events.
        user: as rankings named them.
        keys: under which ids of users were hashed, if they were.
        outs: joined logs, which are joined again.
        observer: called with progress.

    Raises:
        FulcrumError: `events` holds none, or one of `outs` is no joined log.
    """
    folder, done = EventFolder(events), Deleted()
    folder.read_catalogue()
    times = [_joined_as_of(out) for out in outs]
    users = pa.array([user, *(pseudonym(user, key) for key in keys)])
    found: list[Path] = []
    ids: set[str] = set()
    with maintained(events):
        hours = folder.hours()
        for number, hour in enumerate(hours):
            observer(Advanced("hours", number, len(hours), "hours"))
            for path in source_files(hour):
                theirs = set() if torn_at_once(path) else _of_users(path, users)
                ids |= theirs
                if theirs:
                    (done.open if is_open(path) else found).append(path)
        # First feedback: without the exposures nobody could tell any more which is theirs.
        done.events = FeedbackDatabase(folder.feedback).delete(
            "exposure_id IN (SELECT exposure_id FROM gone)", exposures=ids
        )
        for hour in sorted({path.parent for path in found}):
            theirs_too = [path for path in found if path.parent == hour]
            rewrite(hour, layouts(theirs_too), lambda rows: rows.filter(pc.invert(_are(rows, users))))
            done.hours += 1
        done.exposures = len(ids)
    for out, as_of_ms in zip(outs, times, strict=True):
        observer(Stage(f"joining {out} again"))
        join_events(events, out, as_of_ms, observer)
    return done


def expire(events: Path, before_ms: int) -> Deleted:
    """Delete hours that end at or before a time, and their feedback.

    Raises:
        FulcrumError: `events` holds none.
    """
    folder, done = EventFolder(events), Deleted()
    folder.read_catalogue()
    start_ms = before_ms // HOUR_MS * HOUR_MS
    with maintained(events):
        # First exposures: without their feedback they would look as if nothing had come of them.
        for hour in folder.hours():
            if hour_start_ms(hour.name) >= start_ms:
                continue
            if held := [path for path in source_files(hour) if is_open(path)]:
                done.open += held
                continue
            shutil.rmtree(hour)
            done.hours += 1
        done.events = FeedbackDatabase(folder.feedback).delete(
            "exposure_id < ? OR received_ms < ?", (id_bound(start_ms), start_ms)
        )
    return done


def _of_users(path: Path, users: pa.Array) -> set[str]:
    try:
        return {
            identity
            for rows, _, _ in scan(path, ["exposure_id", "user_id"])
            for identity in rows.filter(_are(rows, users))["exposure_id"].to_pylist()
        }
    except DAMAGED as error:
        raise FulcrumError(
            f"{path}: cannot be read ({error}), so nothing is deleted; move it away"
        ) from error


def _are(rows: pa.Table, users: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(rows["user_id"], users)


def _joined_as_of(out: Path) -> int:
    try:
        return int(orjson.loads(read_file(out / "join.json", _MOST_BYTES))["as_of_ms"])
    except (OSError, orjson.JSONDecodeError, KeyError) as error:
        raise FulcrumError(
            f"{out}: no joined log; expected a folder that `fulcrum events join` wrote"
        ) from error
