"""Joined logs that were never served, and configs to replay them under."""

from __future__ import annotations

import pytest

from model.fusion import canonical_json, version
from tests.support.event_log import START_MS, write_events, write_exposures, write_folder
from training.events.join import join_events


@pytest.fixture
def joined(tmp_path):
    """Write and join a log; the configs lie in it by their versions."""

    def write(log, *configs, tasks=("vtr", "vcr"), name="out"):
        folder = write_folder(tmp_path / f"{name}-events", tasks)
        for config in configs:
            folder.config(version(config)).write_bytes(canonical_json(config))
        write_exposures(folder, log.exposures, tasks)
        write_events(folder, log.events)
        join_events(folder.path, tmp_path / name, START_MS + 30 * 86_400_000)
        return tmp_path / name

    return write
