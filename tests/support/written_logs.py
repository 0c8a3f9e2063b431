"""A log of a synthetic world, written as `fulcrum events join` writes it, so that commands can read it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from model.events import EventCatalogue
from model.fusion import canonical_json
from tests.support.world_logs import WorldLog
from training.events.columns import Columns
from training.events.parquet import TableFile
from training.tuning.requests import Ints, Requests
from training.viewers.feedback import BEHAVIOURS, known_kinds

_HOUR_MS = 3_600_000


def write_joined(log: WorldLog, folder: Path, bundle_version: str) -> None:
    """As `fulcrum events join` writes it, so that commands can read it."""
    requests, catalogue = log.outcomes.requests, EventCatalogue(kinds=known_kinds(None))
    columns = Columns(tuple(requests.predictions), {"hour": "int", "tab": "text"}, catalogue)
    answers = pl.DataFrame(
        {
            "exposure_id": pl.Series(requests.ids, dtype=pl.String),
            "user_id": [f"u{user}" for user in requests.user.tolist()],
            "unit_hash": requests.unit_hash,
            "scene": pl.Series(requests.scene, dtype=pl.String),
            "time_ms": requests.time_ms,
            "bundle_version": [bundle_version] * len(requests),
            "fusion_version": pl.Series(requests.version, dtype=pl.String),
            "explored": requests.explored,
            "mature": [True] * len(requests),
            "context_json": pl.Series(requests.said, dtype=pl.String),
            **{f"w_{term}": weights for term, weights in requests.weights.items()},
        }
    ).with_columns(
        pl.col("context_json")
        .str.json_decode(pl.Struct({"hour": pl.Int64, "tab": pl.String}))
        .struct.unnest()
    )
    candidates = _rows(
        requests, np.arange(len(requests.item)), np.repeat(np.arange(len(requests)), requests.sizes)
    )
    candidates = candidates.with_columns(input_index=pl.int_range(pl.len()).over("request"))
    shown = _rows(requests, log.outcomes.at, log.outcomes.of_request).with_columns(
        pl.Series("position", log.outcomes.position + 1),
        *(pl.Series(name, getattr(log.did, name).astype(np.int64)) for name in BEHAVIOURS),
    )
    of = answers.with_row_index("request").with_columns(
        pl.col("request").cast(pl.Int64), hours=pl.col("time_ms") // _HOUR_MS
    )
    for hours in of["hours"].unique().sort().to_list():
        when = datetime.fromtimestamp(hours * 3_600, UTC)
        some = of.filter(pl.col("hours") == hours)
        for name, frame, kinds in (
            ("candidates", candidates, columns.candidates()),
            ("impressions", shown, columns.impressions()),
        ):
            path = folder / name / f"day={when:%Y-%m-%d}" / f"{when:%H}.parquet"
            with TableFile(path, kinds) as file:
                both = frame.join(some, on="request", maintain_order="left")
                file.write(
                    both.select(
                        (pl.col(c) if c in both.columns else pl.lit(None)).cast(kind).alias(c)
                        for c, kind in kinds.items()
                    )
                )
                file.replace()
    (folder / "configs").mkdir(exist_ok=True)
    for name, config in log.outcomes.configs.items():
        (folder / "configs" / f"{name.removeprefix('sha256:')}.json").write_bytes(canonical_json(config))


def _rows(requests: Requests, at: Ints, request: Ints) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "request": request,
            "item_id": pl.Series(requests.item[at]).cast(pl.String).str.replace("^", "v"),
            "video_len_s": requests.video_len_s[at],
            **{f"p_{task}": p[at] for task, p in requests.predictions.items()},
        }
    )
