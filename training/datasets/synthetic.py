"""The synthetic short-video world as a data set: the embedded default of the demo. Needs no files."""

from __future__ import annotations

from model.schema import Schema
from training.datasets.reader import reader
from training.datasets.source import LogSource, SourceTable
from training.simulation import WorldConfig, simulate


@reader("synthetic", options=WorldConfig)
def read_synthetic(_schema: Schema, _folder: None, config: WorldConfig) -> LogSource:
    """Simulate the log of a world."""
    synthetic = simulate(config)
    tables = (
        SourceTable("users", synthetic.users, "user_id"),
        SourceTable("items", synthetic.items, "video_id"),
    )
    return LogSource(synthetic.log, tables, f"synthetic:{config.model_dump_json()}")
