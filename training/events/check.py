"""Check: what a folder of events holds, what is wrong with it, and how late feedback comes.

Counts as the join does, slice by slice, and writes nothing beside the events.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import polars as pl

from model.events.folder import HOUR_MS, EventFolder, hour_start_ms
from training.events.attribution import Slice, attribute
from training.events.columns import Columns
from training.events.feedback_database import FeedbackDatabase
from training.events.join import maintained
from training.events.received import Received, events_of
from training.events.sealing import is_open
from training.events.sources import (
    SLICE_BYTES,
    Indexed,
    Reader,
    id_bound,
    id_time,
    index,
    scan,
    slices,
    source_files,
)
from training.progress import Advanced, Observer, silent

LATENESS_S: npt.NDArray[np.float64] = np.concatenate([[0.0], np.geomspace(0.01, 31 * 86_400, 300)])
"""Bounds of the bins in which lateness is counted, seconds: 5 % apart."""
QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass
class OfKind:
    """Feedback of one kind.

    Attributes:
        states: events by what became of them, as the join counts them.
        impressions: that at least one of them counts for.
        lateness: events by seconds from when they happened to their receipt, in bins of `LATENESS_S`.
    """

    states: Counter[str] = field(default_factory=Counter)
    impressions: int = 0
    lateness: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(LATENESS_S) + 1, np.int64))

    def late_s(self, quantile: float) -> float | None:
        """Seconds that this share of the events is late at most, to 5 %; None of no events."""
        total = int(self.lateness.sum())
        if not total:
            return None
        at = int(np.searchsorted(np.cumsum(self.lateness), quantile * total))
        return float(LATENESS_S[min(at, len(LATENESS_S) - 1)])


@dataclass
class Checked:
    """What was found.

    Attributes:
        counts: as the join counts, and `with_feedback`, `degraded` exposures, `clocks` (exposures whose time
            is not that of their id), `received_early` (events received before their exposure), and files:
            `open`, `segments`, `sealed`, `torn_bytes`.
        kinds: by name; those that feedback names and the catalogue does not, too.
        degraded: exposures by what went wrong with them.
        hours: exposures and events by hour of the exposure.
        damaged: files that cannot be read, one line each.
        warnings: what else is wrong, one line each.
    """

    counts: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, OfKind] = field(default_factory=dict)
    degraded: Counter[str] = field(default_factory=Counter)
    hours: dict[str, tuple[int, int]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_events(events: Path, now_ms: int, observer: Observer = silent) -> Checked:
    """Look through a folder of events.

    Args:
        events: the folder.
        now_ms: milliseconds since 1970.
        observer: called with progress.

    Raises:
        FulcrumError: it holds no events, or its feedback is damaged.
    """
    folder = EventFolder(events)
    catalogue = folder.read_catalogue()
    checked = Checked(kinds={kind.kind: OfKind() for kind in catalogue.events.kinds})
    columns = Columns((), {}, catalogue.events)
    tasks: set[str] = set()
    configs: set[str] = set()
    with maintained(events), TemporaryDirectory(prefix="fulcrum-") as home:
        received, hours = Received(Path(home)), folder.hours()
        received.copy(FeedbackDatabase(folder.feedback), 0, {hour.name for hour in hours}, observer)
        for number, hour in enumerate(hours):
            observer(Advanced("hours", number, len(hours), "hours"))
            files = [index(path, now_ms) for path in source_files(hour)]
            _files(checked, files)
            tasks.update(task for file in files for task in file.tasks)
            configs.update(version for file in files for version in file.configs)
            _hour(checked, files, hour, received.copies(hour.name), columns, now_ms)
        later = received.later(now_ms)
        checked.counts.update(events=later, orphans=later)
    missing = sorted(version for version in configs if not folder.config(version).exists())
    checked.warnings += [f"fusion config {version} is not in {folder.configs}" for version in missing]
    if unknown := sorted(tasks - set(catalogue.tasks)):
        checked.warnings.append(
            f"predictions of tasks that the catalogue no longer has: {', '.join(unknown)}"
        )
    checked.warnings += _warnings(checked.counts)
    return checked


def _files(checked: Checked, files: list[Indexed]) -> None:
    for file in files:
        checked.counts["sealed" if file.path.suffix == ".parquet" else "segments"] += 1
        checked.counts["open"] += is_open(file.path)
        checked.counts["torn_bytes"] += file.torn
        checked.counts["torn"] += file.torn > 0 and not is_open(file.path)
        checked.counts["misplaced"] += file.misplaced
        if file.damaged:
            checked.damaged.append(f"{file.path}: cannot be read ({file.damaged})")
            continue
        for rows, _, _ in scan(file.path, ["exposure_id", "time_ms"]) if file.rows else ():
            frame = pl.DataFrame(pl.from_arrow(rows)).select(differs=pl.col("time_ms") != id_time())
            checked.counts["clocks"] += int(frame["differs"].sum())


def _hour(
    checked: Checked, files: list[Indexed], hour: Path, copies: list[Path], columns: Columns, now_ms: int
) -> None:
    start = hour_start_ms(hour.name)
    seen = Counter[str]()
    with Reader() as reader:
        for low, high, parts in slices(files, id_bound(start), id_bound(start + HOUR_MS), SLICE_BYTES):
            frames = [columns.frame(), *(columns.frame(rows) for rows in reader.read(parts, low, high))]
            joined = attribute(pl.concat(frames), events_of(copies, low, high), columns, now_ms)
            seen += joined.counts
            _outcomes(checked, joined)
        checked.damaged += reader.damaged
    checked.counts.update(seen)
    checked.hours[hour.name] = (seen["exposures"], seen["events"])


def _outcomes(checked: Checked, joined: Slice) -> None:
    degraded = joined.exposures["degraded"]
    checked.counts["degraded"] += int((degraded.list.len() > 0).sum())
    checked.degraded.update(dict(degraded.explode().drop_nulls().value_counts().iter_rows()))
    events = joined.events
    counted = events.filter(pl.col("state") == "joined")
    checked.counts["with_feedback"] += counted["row"].n_unique()
    checked.counts["received_early"] += int((events["received_ms"] < events["shown_ms"]).sum())
    for (kind,), of_kind in events.partition_by("kind", as_dict=True).items():
        found = checked.kinds.setdefault(kind, OfKind())
        found.states.update(dict(of_kind["state"].value_counts().iter_rows()))
        found.impressions += of_kind.filter(pl.col("state") == "joined")["at"].n_unique()
        late_s = (of_kind["received_ms"] - of_kind["time_ms"]).to_numpy() / 1000.0
        bins = np.searchsorted(LATENESS_S, late_s)
        found.lateness += np.bincount(bins, minlength=len(found.lateness))


def _warnings(counts: Counter[str]) -> list[str]:
    texts = {
        "torn": "segments end in the middle of a record, as after a crash: what follows is lost",
        "misplaced": "exposures lie in the folder of another hour than their id says, and are not joined",
        "clocks": "exposures have another time than their id says; the id counts",
        "received_early": "events were received before their exposure: the clocks of services disagree",
        "of_unknown_kinds": "events are of kinds that the catalogue does not know, and are not joined",
    }
    return [f"{counts[name]:,} {text}" for name, text in texts.items() if counts[name]]
