"""Outcomes: requests that were ranked, and what came of what they showed, in memory.

Everything that decides about weights starts here: a joined log is read once, what cannot speak for the fusion
in force is left out, and why is said. Knows neither orders nor what they are worth elsewhere.

Shapes: R requests, N candidates of all of them, K items shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.bundle import Bundle
from model.errors import FulcrumError
from model.fusion import FusionConfig
from model.schema import Schema
from training.datasets import read_source
from training.preparation.worth import labels_of, reward_of, worth_of
from training.progress import Note, Observer, Stage, Warned, silent
from training.tuning.joined_log import JoinedLog
from training.tuning.requests import Flags, Floats, Ints, Requests, joined_requests

MOST_CANDIDATES = 8_000_000
"""That are held in memory at once: some 600 MiB; of a longer log, the newest."""
MOST_DEGRADED = 0.5
RARE = 0.1
"""Share of the answers that have a place, at least, for it to count."""
SEEN = "seen"
_DAY_MS = 86_400_000


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Requests with their candidates, and what came of those that were shown.

    Attributes:
        requests: of one scene, with predictions of one bundle.
        at: row among the candidates of each item shown [K].
        position: from 0 [K].
        reward: what it was worth [K].
        labels: by task, NaN outside its sample space [K].
        seen: whether it was looked at, where that is logged [K].
        configs: that ranked, by version; all of one formula in the scene.
        source: where they are from, for people.
        left_out: what was, by reason, in requests.
    """

    requests: Requests
    at: Ints
    position: Ints
    reward: Floats
    labels: Mapping[str, Floats]
    seen: Flags | None
    configs: Mapping[str, FusionConfig]
    source: str
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def of_request(self) -> Ints:
        """The request of each item shown [K]."""
        return np.repeat(np.arange(len(self)), np.diff(self.requests.shown_start))

    @property
    def day(self) -> Ints:
        """Days since 1970, in UTC [R]."""
        return np.asarray(self.requests.time_ms // _DAY_MS, np.int64)

    @property
    def slots(self) -> int:
        """Items of the longest answer."""
        return int(np.diff(self.requests.shown_start).max(initial=0))

    def kept(self, rows: Flags) -> Outcomes:
        """Those of the requests [R] that are true."""
        if rows.all():
            return self
        shown = rows[self.of_request]
        new = np.cumsum(np.repeat(rows, self.requests.sizes)) - 1
        return replace(
            self,
            requests=self.requests.kept(rows),
            at=new[self.at[shown]],
            position=self.position[shown],
            reward=self.reward[shown],
            labels={name: values[shown] for name, values in self.labels.items()},
            seen=None if self.seen is None else self.seen[shown],
        )

    def usual(self) -> Outcomes:
        """Without what stands in places that few answers have, of which a few long ones say nothing."""
        shown = np.bincount(self.position, minlength=1)
        places = int(np.count_nonzero(shown >= RARE * len(self)))
        if places == len(shown):
            return self
        inside, requests = self.position < places, self.requests
        sizes = np.minimum(np.diff(requests.shown_start), places)
        return replace(
            self,
            requests=replace(
                requests,
                shown=requests.shown[inside],
                shown_start=np.append(0, np.cumsum(sizes)).astype(np.int64),
            ),
            at=self.at[inside],
            position=self.position[inside],
            reward=self.reward[inside],
            labels={name: values[inside] for name, values in self.labels.items()},
            seen=None if self.seen is None else self.seen[inside],
        )

    def per_request(self, values: npt.NDArray[Any]) -> Floats:
        """Sums of values of items shown [K] -> [R]."""
        return np.bincount(self.of_request, values, len(self)).astype(np.float64)


def read_outcomes(
    bundle: Bundle,
    folder: Path,
    scene: str,
    reward: str | None = None,
    *,
    open_too: bool = False,
    observer: Observer = silent,
) -> Outcomes:
    """What a joined log says of the fusion in force.

    Left out are: requests whose windows are open, of other bundles, whose answers were degraded, that another
    formula ranked than the newest, that lack candidates or predictions.

    Args:
        bundle: whose predictions and labels count.
        folder: what `fulcrum events join` wrote.
        scene: whose requests.
        reward: over labels, feedback columns and `video_len_s`; the recipe's where None.
        open_too: also impressions whose windows were open when they were joined.
        observer: called with progress.

    Raises:
        FulcrumError: no joined log, nothing in it that may speak, or a reward that is no finite number.
    """
    observer(Stage(f"Reading what was served and what came of it: {folder}"))
    log = JoinedLog(folder, scene)
    shown, left_out = _shown(bundle, folder, log, scene, reward, open_too)
    configs = {name: log.config(name) for name in shown["fusion_version"].unique().sort().to_list()}
    known = shown["exposure_id"].unique()
    parts = list(_newest(log, set(bundle.task_names), observer))
    requests = joined_requests(parts)
    having = pl.Series(requests.ids, dtype=pl.String).is_in(known.implode()).to_numpy()
    if not having.any():
        raise FulcrumError(
            f"--log {folder}: no request has its candidates, their predictions by {bundle.path} and its "
            "feedback; serve with FULCRUM_EXPOSURE_CANDIDATES above 0, and join when windows have closed "
            "(or take them as they are with --open)"
        )
    requests = requests.kept(having)
    left_out["without candidates or predictions"] = len(known) - len(requests)
    found = _outcomes(requests, shown, configs, f"{len(requests):,} requests served, in {folder}").usual()
    found = replace(found, left_out={why: count for why, count in left_out.items() if count})
    for why, count in found.left_out.items():
        observer(Note(f"{count:,} requests are left out: {why}"))
    return found


def _shown(
    bundle: Bundle, folder: Path, log: JoinedLog, scene: str, reward: str | None, open_too: bool
) -> tuple[pl.DataFrame, Counter[str]]:
    """Impressions that may speak, with their labels and rewards, and requests that may not, by reason."""
    schema = _as_served(bundle.schema)
    frame = read_source(schema, folder).log.filter(pl.col("scene") == scene)
    requests = frame.group_by("exposure_id", maintain_order=True).agg(
        pl.col("bundle_version", "fusion_version").first(),
        degraded=pl.col("degraded").first().list.len().fill_null(0) > 0,
        mature=pl.col("mature").all(),
    )
    formula = log.newest().scene(scene)[0].formula
    others = [name for name in log.versions if _formula(log, name, scene) != formula]
    reasons = {
        "their windows were open when they were joined (--open takes them as they are)": ~pl.col("mature")
        & (not open_too),
        "another bundle served them": pl.col("bundle_version") != bundle.version,
        "their answers were degraded": pl.col("degraded"),
        f"another formula than {formula}, the newest, ranked them": pl.col("fusion_version").is_in(others),
    }
    left_out: Counter[str] = Counter()
    for why, condition in reasons.items():
        before = requests.height
        requests = requests.filter(~condition)
        left_out[why] = before - requests.height
        if before and not requests.height:
            raise FulcrumError(f"--log {folder}: none of its requests may speak for {bundle.path}: {why}")
    total = frame["exposure_id"].n_unique()
    if left_out["their answers were degraded"] > MOST_DEGRADED * total:
        raise FulcrumError(
            f"--log {folder}: {left_out['their answers were degraded']:,} of {total:,} answers were "
            "degraded; what is left is not what viewers are served: repair that first (docs/reliability.md)"
        )
    frame = frame.filter(pl.col("exposure_id").is_in(requests["exposure_id"].implode()))
    labels = labels_of(schema, frame)
    lengths = frame["video_len_s"].fill_null(float("nan")).to_numpy()
    text = reward_of(schema, reward)
    worth = worth_of(text, frame, labels, lengths)
    if unknown := int(np.isnan(worth).sum()):
        raise FulcrumError(
            f"reward {text!r}: unknown for {unknown:,} of {len(worth):,} impressions, where a label is; "
            "write coalesce(NAME, 0) for those that are known in a part of the rows alone"
        )
    kept = ["exposure_id", "position", "fusion_version", *([SEEN] if SEEN in frame.columns else [])]
    return frame.select(
        *kept,
        pl.Series("_reward", worth),
        *(pl.Series(f"_{name}", values) for name, values in labels.items()),
    ), left_out


def _formula(log: JoinedLog, name: str, scene: str) -> str | None:
    try:
        return log.config(name).scene(scene)[0].formula
    except FulcrumError:
        return None  # the log lacks it


def _as_served(schema: Schema) -> Schema:
    """The bundle's labels over a joined log, mature or not."""
    changes: dict[str, Any] = {
        "options": {"mature": False},
        "priors": (),
        "histories": (),
        "past_until": None,
    }
    if schema.data.reader != "served":
        changes |= {"reader": "served", "keep": None, "tables": (), "time": "time_ms", "time_unit": "ms"}
    return schema.model_copy(update={"data": schema.data.model_copy(update=changes)})


def _newest(log: JoinedLog, needed: set[str], observer: Observer) -> Iterator[Requests]:
    """Batches of the newest requests, as many as are held at once."""
    parts: list[Requests] = []
    for batch in log.batches(needed, observer):
        parts.append(batch)
        while sum(len(one.item) for one in parts) > MOST_CANDIDATES and len(parts) > 1:
            parts.pop(0)
    if log.counts["candidates"] > sum(len(one.item) for one in parts):
        observer(Warned(f"of a long log, the newest {sum(len(one) for one in parts):,} requests count"))
    yield from parts


def _outcomes(
    requests: Requests, shown: pl.DataFrame, configs: Mapping[str, FusionConfig], source: str
) -> Outcomes:
    sizes = np.diff(requests.shown_start)
    of_request = np.repeat(np.arange(len(requests)), sizes)
    position = np.arange(sizes.sum()) - np.repeat(requests.shown_start[:-1], sizes)
    keys = pl.DataFrame(
        {"exposure_id": pl.Series(requests.ids, dtype=pl.String).gather(of_request), "position": position + 1}
    )
    found = keys.join(
        shown.with_columns(pl.col("position").cast(pl.Int64)),
        on=("exposure_id", "position"),
        how="left",
        maintain_order="left",
    )
    if found["_reward"].null_count():
        raise FulcrumError("the joined log has answers without some of their impressions; join it again")
    values = {name: found[name].to_numpy() for name in found.columns if name.startswith("_")}
    return Outcomes(
        requests=requests,
        at=rows_of(requests, of_request, requests.shown),
        position=np.asarray(position, np.int64),
        reward=values.pop("_reward").astype(np.float64),
        labels={name.removeprefix("_"): one.astype(np.float64) for name, one in values.items()},
        seen=(found[SEEN].fill_null(0) > 0).to_numpy() if SEEN in found.columns else None,
        configs=configs,
        source=source,
    )


def rows_of(requests: Requests, of_request: Ints, item: Ints) -> Ints:
    """Where items stand among the candidates of their requests: of requests [K] and items [K] -> [K]."""
    number = np.int64(max(int(requests.item.max(initial=0)), int(item.max(initial=0))) + 1)
    keys = np.repeat(np.arange(len(requests)), requests.sizes) * number + requests.item
    order = np.argsort(keys, kind="stable")
    wanted = of_request * number + item
    place = np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))
    rows = order[place]
    if not (keys[rows] == wanted).all():
        raise FulcrumError("the joined log shows items that are not among their request's candidates")
    return np.asarray(rows, np.int64)


def users_in_folds(users: Ints, folds: int, seed: int = 0) -> Ints:
    """The fold of each row's user [n], the same at each run."""
    _, number = np.unique(users, return_inverse=True)
    count = int(number.max(initial=-1)) + 1
    dealt = np.random.default_rng(seed).permutation(count) % folds
    return np.asarray(dealt[number], np.int64)
