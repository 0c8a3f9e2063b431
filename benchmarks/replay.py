"""Replay: what it takes to read a log of a million candidates and score it under two configs.

    python -m benchmarks.replay [--requests 16667] [--candidates 60]

Seconds of all threads are what is judged: those on the clock say how busy the machine was.
"""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import orjson
import polars as pl
import typer
from rich.table import Table

from benchmarks.rig import Broken, finish
from model.events import EventCatalogue, FeedbackKind
from model.fusion import parse_fusion
from tests.support.event_log import START_MS, exposure_id
from tests.support.replaying import CONFIG, SCENES
from training.events.columns import Columns
from training.events.parquet import TableFile
from training.tuning.joined_log import JoinedLog
from training.tuning.replay import Replay

TASKS = ("vtr", "vcr", "shr", "cmr")
BOUND_S = 10.0
"""Seconds that a million candidates under two configs may take."""
PLAIN = """
schema_version: 1
scenes:
  default:
    tasks: {vtr: {weight: 1.0}, vcr: {weight: 0.5}, shr: {weight: 0.3, smoothing: 0.01}, cmr: {weight: 0.2}}
    video_len: {kind: log, scale_s: 30.0, weight: 1.0}
    explore: {share: 0.05, noise: 0.2}
"""


ALL = CONFIG[: CONFIG.index("  plain:")]
"""All but a network, whose pace is its own."""


def main(requests: int = typer.Option(16_667), candidates: int = typer.Option(60, help="Of each.")) -> None:
    """Print how long reading and scoring takes, config by config."""
    table = Table(
        "configs", "candidates", "seconds", "on the clock", "MiB at most", title="Replay of a joined log"
    )
    broken: Broken = []
    pairs = {"weights alone, 5 % explored": (PLAIN, PLAIN), "every formula, most explored": (PLAIN, ALL)}
    with TemporaryDirectory() as folder:
        made_log(Path(folder), requests, candidates)
        for name, texts in pairs.items():
            began, clock = time.process_time(), time.perf_counter()
            log = JoinedLog(Path(folder))
            replays = [Replay(parse_fusion(text), log.tasks) for text in texts]
            for batch in log.batches(set(TASKS)):
                for replay in replays:
                    assert len(replay.of(batch).order) == len(batch.item)
            seconds, passed = time.process_time() - began, time.perf_counter() - clock
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            table.add_row(
                name, f"{log.counts['candidates']:,}", f"{seconds:.2f}", f"{passed:.2f}", f"{most:,.0f}"
            )
            if seconds > BOUND_S:
                broken.append(f"{name}: {seconds:.1f} s, over {BOUND_S}")
    finish(table, broken)


def made_log(out: Path, requests: int, candidates: int, items: int = 50_000, seed: int = 0) -> None:
    """A joined log of these requests, ten items shown each, as `fulcrum events join` writes it."""
    draw, chance = np.random.default_rng(seed), random.Random(seed)
    columns = Columns(
        TASKS, {"hour": "int", "tab": "text"}, EventCatalogue(kinds=(FeedbackKind(kind="is_share"),))
    )
    names = np.array([f"v{item}" for item in range(items)], np.object_)
    lengths = draw.uniform(3, 120, items)
    ids = sorted(exposure_id(START_MS + row % 3_600_000, chance) for row in range(requests))
    of = np.repeat(np.arange(requests), candidates)
    item = np.concatenate([draw.choice(items, candidates, replace=False) for _ in range(requests)])
    ranked = pl.DataFrame(
        {
            "exposure_id": np.array(ids, np.object_)[of],
            "item_id": names[item],
            "input_index": np.tile(np.arange(candidates), requests),
            "video_len_s": lengths[item],
            **{f"p_{task}": draw.beta(1, 8, len(item)).astype(np.float32) for task in TASKS},
        }
    )
    hours, tabs = draw.integers(0, 24, requests), draw.integers(0, 3, requests)
    context = [
        orjson.dumps({"hour": hour, "tab": str(tab)}).decode()
        for hour, tab in zip(hours.tolist(), tabs.tolist(), strict=True)
    ]
    answers = pl.DataFrame(
        {
            "exposure_id": ids,
            "user_id": [f"u{row % 5_000}" for row in range(requests)],
            "unit_hash": draw.integers(0, 2**64 - 1, requests, np.uint64),
            "scene": [SCENES[row % 5] for row in range(requests)],
            "time_ms": START_MS,
            "fusion_version": "sha256:" + "00" * 32,
            "explored": False,
            "context_json": context,
            "hour": hours,
            "tab": tabs.astype(str),
        }
    )
    shown = ranked.filter(pl.col("input_index") < 10).select(
        "exposure_id", "item_id", "video_len_s", position=pl.col("input_index") + 1
    )
    written = {"candidates": (ranked, columns.candidates())}
    written["impressions"] = (shown.join(answers, on="exposure_id"), columns.impressions())
    for folder, (frame, kinds) in written.items():
        with TableFile(out / folder / "day=2025-12-31" / "23.parquet", kinds) as file:
            file.write(
                frame.select(
                    (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
                    for name, kind in kinds.items()
                )
            )
            file.replace()


if __name__ == "__main__":
    typer.run(main)
