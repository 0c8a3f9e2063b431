"""A joined log, read as requests with their candidates: piece by piece, so that memory is bounded.

Knows what `fulcrum events join` writes; nothing of how requests are replayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import FulcrumError, listed
from model.fusion import FusionConfig, load_fusion, version
from training.progress import Advanced, Observer, silent
from training.tuning.requests import Numbers, Requests

ROWS = 1 << 18
"""Candidates that are read at once: some 100 MiB with what is made of them."""
_OF_REQUESTS = (
    *("exposure_id", "user_id", "time_ms", "scene", "context_json", "unit_hash", "degraded"),
    *("fusion_version", "explored"),
)
_FAILED = "fusion_model"
"""What ranked by a learned formula's fallback says so in `degraded`, with this beginning."""


class JoinedLog:
    """A joined log.

    Args:
        folder: that `fulcrum events join EVENTS --out` wrote.
        scene: reads the requests of this one alone; of all where None.

    Attributes:
        tasks: whose predictions are logged, in the order in which terms are summed.
        exposures: logged, of the scene.
        versions: of the fusion configs that ranked, with their exposures; the newest exposure's last.
        items, users: their numbers.
        counts: what was read so far: `requests`, `candidates`, and `lacking`, requests that were left out
            since their bundle lacks a task.

    Raises:
        FulcrumError: the folder holds no joined log, or one without such requests or without candidates.
    """

    def __init__(self, folder: Path, scene: str | None = None) -> None:
        self.folder, self._scene = folder, scene
        self._files = sorted(folder.glob("candidates/day=*/*.parquet"))
        if not self._files:
            raise FulcrumError(
                f"--log {folder}: no candidates/day=*/*.parquet in it; expected what `fulcrum events join "
                f"EVENTS --out {folder}` writes"
            )
        columns = list(self._columns(self._files[0]))
        self.tasks = tuple(name.removeprefix("p_") for name in columns if name.startswith("p_"))
        self._terms = [
            name
            for name in self._columns(self._impressions(self._files[0]))
            if name.startswith("w_") and name.removeprefix("w_") in (*self.tasks, "video_len")
        ]
        self.items, self.users = Numbers(), Numbers()
        self.counts: Counter[str] = Counter()
        self._highest = np.zeros(0, np.int64)
        self.exposures, self.versions = self._look()
        self._of_file = [pq.read_metadata(path).num_rows for path in self._files]
        if not sum(self._of_file):
            raise FulcrumError(
                f"--log {folder}: none of {self.exposures:,} exposures holds its candidates; replay needs "
                "them: serve with FULCRUM_EXPOSURE_CANDIDATES above 0"
            )

    @property
    def candidates(self) -> int:
        """Rows of candidates, of all scenes."""
        return sum(self._of_file)

    def newest(self) -> FusionConfig:
        """The config that ranked the newest exposure.

        Raises:
            FulcrumError: the log lacks it.
        """
        return self.config(list(self.versions)[-1])

    def config(self, name: str) -> FusionConfig:
        """The config of this version.

        Raises:
            FulcrumError: the log lacks it, or it is another one.
        """
        path = self._config(name)
        if not path.is_file():
            raise FulcrumError(
                f"{path}: the log names this fusion config, and it is not there; join again from events that "
                "hold their configs/, or name a file"
            )
        config = load_fusion(path)
        if version(config) != name:
            raise FulcrumError(f"{path}: this is config {version(config)}; expected the one its name says")
        return config

    def configs(self) -> list[FusionConfig]:
        """All that ranked, as far as the log has them."""
        return [self.config(name) for name in self.versions if self._config(name).is_file()]

    def batches(self, needed: set[str], observer: Observer = silent, rows: int = ROWS) -> Iterator[Requests]:
        """All requests that were logged with their candidates, in the order of time.

        Args:
            needed: tasks; requests of bundles that lack one are left out.
            observer: called with progress.
            rows: candidates at once, and those of the last request.
        """
        for path in self._files:
            requests = self._requests(path)
            for frame in _whole_requests(path, rows):
                batch = self._batch(frame, requests)
                if batch is not None:
                    kept = batch.with_predictions_of(needed)
                    self.counts["lacking"] += len(batch) - len(kept)
                    self.counts["requests"] += len(kept)
                    self.counts["candidates"] += len(kept.item)
                    if len(kept):
                        yield kept
                self.counts["rows"] += frame.height
                observer(Advanced("replaying", self.counts["rows"], self.candidates, "candidates"))

    def _config(self, name: str) -> Path:
        return self.folder / "configs" / f"{name.removeprefix('sha256:')}.json"

    def shown(self, top: int) -> npt.NDArray[np.bool_]:
        """Items, by number, that an answer read so far had among its first `top`."""
        highest = np.pad(self._highest, (0, len(self.items) - len(self._highest)), constant_values=top + 1)
        return highest <= top

    def _impressions(self, candidates: Path) -> Path:
        return self.folder / "impressions" / candidates.parent.name / candidates.name

    def _columns(self, path: Path) -> dict[str, Any]:
        try:
            found = pl.read_parquet_schema(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise FulcrumError(f"{path}: cannot be read as parquet ({str(error).splitlines()[0]})") from error
        if path.parts[-3] == "impressions" and "context_json" not in found:
            raise FulcrumError(
                f"--log {self.folder}: joined by an earlier version, which left out what replay needs "
                "(context_json); run `fulcrum events join` again"
            )
        return dict(found)

    def _of_scene(self, path: Path) -> pl.LazyFrame:
        frame = pl.scan_parquet(path, hive_partitioning=False)
        return frame if self._scene is None else frame.filter(pl.col("scene") == self._scene)

    def _look(self) -> tuple[int, dict[str, int]]:
        """Exposures, and those of each config, the newest exposure's last."""
        exposures, newest, scenes = 0, dict[str, int](), set[str]()
        counts: Counter[str] = Counter()
        for path in map(self._impressions, self._files):
            found = (
                pl.scan_parquet(path, hive_partitioning=False)
                .filter(pl.col("position") == 1)
                .group_by("fusion_version", "scene")
                .agg(pl.len(), pl.col("time_ms").max())
                .collect()
            )
            for name, scene, count, time_ms in found.iter_rows():
                scenes.add(scene)
                if self._scene in (None, scene):
                    exposures += count
                    counts[name] += count
                    newest[name] = max(time_ms, newest.get(name, time_ms))
        if not scenes:
            raise FulcrumError(
                f"--log {self.folder}: holds no exposures; expected what was served, joined by "
                "`fulcrum events join`"
            )
        if not exposures:
            raise FulcrumError(
                f"--scene {self._scene}: no request of the log was ranked by it; there is "
                f"{listed(sorted(scenes))}"
            )
        return exposures, {name: counts[name] for name in sorted(newest, key=newest.__getitem__)}

    def _requests(self, path: Path) -> pl.DataFrame:
        """A row per exposure of an hour, with the numbers of the items it showed."""
        shown = self._of_scene(self._impressions(path)).select(
            *_OF_REQUESTS, *self._terms, "item_id", "position"
        )
        # Rows lie in the order of exposures and positions.
        frame = shown.collect()
        item = self.items.of(frame["item_id"])
        self._highest = np.pad(
            self._highest, (0, len(self.items) - len(self._highest)), constant_values=np.iinfo(np.int64).max
        )
        np.minimum.at(self._highest, item, frame["position"].to_numpy())
        frame = frame.with_columns(item=pl.Series(item))
        grouped = frame.group_by("exposure_id", maintain_order=True)
        return grouped.agg(pl.exclude("item", "item_id", "position").first(), pl.col("item"))

    def _batch(self, frame: pl.DataFrame, requests: pl.DataFrame) -> Requests | None:
        """Candidates with their requests; None where no request is of the scene."""
        known = frame.filter(pl.col("exposure_id").is_in(requests["exposure_id"].implode()))
        frame = frame if known.height == frame.height else known
        if not frame.height:
            return None
        runs = frame["exposure_id"].rle().struct.unnest()
        start = np.append(0, np.cumsum(runs["len"].to_numpy())).astype(np.int64)
        of = runs.select(exposure_id="value").join(
            requests, on="exposure_id", how="left", maintain_order="left"
        )
        shown = of["item"].list.len().to_numpy()
        return Requests(
            ids=of["exposure_id"].to_numpy(),
            user=self.users.of(of["user_id"]),
            time_ms=of["time_ms"].to_numpy(),
            scene=of["scene"].to_numpy(),
            said=of["context_json"].to_numpy(),
            unit_hash=of["unit_hash"].to_numpy(),
            fixed=_failed(of["degraded"]),
            start=start,
            item=self.items.of(frame["item_id"]),
            video_len_s=_floats(frame["video_len_s"]),
            predictions={task: _floats(frame[f"p_{task}"]) for task in self.tasks},
            version=of["fusion_version"].to_numpy(),
            explored=of["explored"].to_numpy(),
            weights={name.removeprefix("w_"): _floats(of[name]) for name in self._terms},
            shown=of["item"].explode(empty_as_null=False).to_numpy(),
            shown_start=np.append(0, np.cumsum(shown)).astype(np.int64),
        )


def _failed(degraded: pl.Series) -> Any:
    """Where a learned formula's fallback ranked."""
    return degraded.list.eval(pl.element().str.starts_with(_FAILED)).list.any().fill_null(False).to_numpy()


def _floats(values: pl.Series) -> Any:
    """With NaN for null."""
    return values.fill_null(float("nan")).to_numpy()


def _whole_requests(path: Path, rows: int) -> Iterator[pl.DataFrame]:
    """Rows of candidates, in pieces that end with a request."""
    left = pl.DataFrame()
    with pq.ParquetFile(path) as file:
        for part in file.iter_batches(batch_size=rows):
            frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([part])))
            frame = pl.concat([left, frame]) if left.height else frame
            last = frame["exposure_id"] == frame["exposure_id"][-1]
            whole = frame.height - int(last.sum())
            left, frame = frame.slice(whole), frame.slice(0, whole)
            if frame.height:
                yield frame
    if left.height:
        yield left
