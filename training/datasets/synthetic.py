"""The synthetic short-video world as a data set: the embedded default of the demo. Needs no files."""

from __future__ import annotations

from pathlib import Path

from model.errors import checked
from model.schema import DataSpec
from training.datasets.source import LogSource, SourceTable
from training.simulation import WorldConfig, simulate

__all__ = ["read_synthetic"]


def read_synthetic(data: DataSpec, folder: Path | None) -> LogSource:
    """Simulate the log of a world; `data.options` are the fields of `WorldConfig`.

    Raises:
        FulcrumError: an unknown option, or one out of range.
    """
    del folder  # it has no files
    config = checked(WorldConfig, data.options, at="data.options")
    synthetic = simulate(config)
    tables = (
        SourceTable("users", synthetic.users, "user_id"),
        SourceTable("items", synthetic.items, "video_id"),
    )
    return LogSource(synthetic.log, tables, f"synthetic:{config.model_dump_json()}")
