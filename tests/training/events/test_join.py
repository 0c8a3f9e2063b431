from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from model.errors import FulcrumError
from tests.support.event_log import (
    CATALOGUE,
    KINDS,
    START_MS,
    candidates,
    impressions,
    make_log,
    naive_join,
    write_events,
    write_exposures,
    write_folder,
)
from training.events.join import join_events

END_MS = START_MS + 30 * 86_400_000
HOUR_MS = 3_600_000


def naive_frame(log, as_of_ms, like):
    return pl.DataFrame(naive_join(log, as_of_ms), schema=like.schema)


def test_the_rows_are_those_of_a_naive_join_on_ten_thousand_impressions(tmp_path):
    log = make_log(2_500)
    folder = write_folder(tmp_path / "events")
    write_exposures(folder, log.exposures)
    write_events(folder, log.events)
    as_of_ms = START_MS + 2 * HOUR_MS

    summary = join_events(folder.path, tmp_path / "out", as_of_ms, slice_bytes=20_000)

    found = impressions(tmp_path / "out")
    assert_frame_equal(found, naive_frame(log, as_of_ms, found))
    assert (
        found.columns[:17]
        == (
            "exposure_id request_id item_id position user_id unit_hash scene time_ms video_len_s bundle_version variant "
            "fusion_version revision arms explored degraded mature"
        ).split()
    )
    assert found.columns[17:] == [
        *(
            "w_vtr",
            "w_vcr",
            "w_video_len",
            "p_vtr",
            "p_vcr",
            "hour",
            "tab",
            "play_time_ms",
            "is_click",
            "shared",
        ),
        "watched",
    ]
    assert found["mature"].any() is False
    assert found["is_click"].sum() > 20
    counts = summary.counts
    assert counts["impressions"] == found.height
    assert counts["candidates"] == candidates(tmp_path / "out").height
    assert counts["events"] == sum(event.received_ms <= as_of_ms for event in log.events)
    parts = ("joined", "orphans", "outside_window", "of_unknown_kinds")
    assert sum(counts[part] for part in parts) == counts["events"]
