"""The synthetic short-video world as a data set: the embedded default of the demo. Needs no files."""

from __future__ import annotations

from model.schema import Schema
from training.datasets.reader import reader
from training.datasets.source import LogSource, SourceTable
from training.simulation import World, WorldConfig, items_table, simulate_log, users_table


@reader("synthetic", options=WorldConfig)
def read_synthetic(_schema: Schema, _folder: None, config: WorldConfig) -> LogSource:
    """Simulate the log of a world."""
    world = World.create(config)
    return LogSource(simulate_log(world), world_tables(world), f"synthetic:{config.model_dump_json()}")


def world_tables(world: World) -> tuple[SourceTable, ...]:
    """What is observed of its users and videos."""
    return (
        SourceTable("users", users_table(world), "user_id"),
        SourceTable("items", items_table(world), "video_id"),
    )
