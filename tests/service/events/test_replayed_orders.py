"""Replay of what several workers logged: real processes, every formula, exactly their orders and weights."""

from __future__ import annotations

import time

import pytest

from tests.support.event_log import candidates
from tests.support.replaying import CONFIG, NETWORK, answered, replayed_wrong, requests
from tests.support.service_process import serving
from training.events.join import join_events

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("workers", "count"), [(2, 300), pytest.param(4, 10_000, marks=pytest.mark.long)], ids=["2", "4"]
)
def test_answers_of_several_workers_are_replayed_exactly(watched, tmp_path, workers, count):
    fusion, events, out = tmp_path / "fusion.yaml", tmp_path / "events", tmp_path / "out"
    fusion.write_text(CONFIG)
    (tmp_path / "score.onnx").write_bytes(NETWORK)
    with serving(
        tmp_path / "log",
        bundle=watched.bundle,
        features=watched.features,
        fusion=fusion,
        workers=workers,
        events=events,
        exposure_candidates=1.0,
        events_salt="pepper",
    ) as service:
        answers = answered(service.url, requests(count))
        assert service.stop() == 0
    join_events(events, out, int(time.time() * 1000))
    assert replayed_wrong(out, answers) == (count, 0, 0)
    assert candidates(out)["p_vtr"].null_count() > 0  # some had no time
