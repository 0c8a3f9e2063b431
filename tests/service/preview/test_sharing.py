"""What workers remember, and the one sample that they make of it."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest

from service.preview.recording import Recorder
from service.preview.sample import MOST_REQUESTS, newest, read_sample
from service.preview.sharing import Samples
from service.processes.board import Board
from service.processes.fleet import Fleet
from service.ranking.predicted import Predicted


def predicted(
    ids: list[str], scored: list[int] | None = None, bundle: str = "sha256:aa", **said: Any
) -> Predicted:
    rows = np.arange(len(ids)) if scored is None else np.array(scored, np.int64)
    query = SimpleNamespace(ids=ids, scene="feed", context=said, user_features={"age": 3})
    active = SimpleNamespace(bundle=SimpleNamespace(version=bundle))
    p = {task: np.linspace(0.1, 0.9, len(rows), dtype=np.float32) for task in ("vtr", "shr")}
    lengths = np.arange(len(ids), dtype=np.float64)
    return Predicted(query, SimpleNamespace(active=active), rows, p, lengths, lengths > 1)  # type: ignore[arg-type]


def recorder(*ids: str, bundle: str = "sha256:aa", pace_s: float = 0.0) -> Recorder:
    """One that has seen a request for each of these candidates."""
    made = Recorder(pace_s)
    made.start()
    for one in ids:
        made.offer(predicted([one], bundle=bundle))
    return made


def test_a_record_has_the_scored_candidates_and_what_conditions_look_at():
    made = recorder()
    made.offer(predicted(["a", "b", "c"], [0, 2], tab="1", history=["x", "y"], essay="z" * 5000))
    made.offer(predicted(["a"], []))  # nothing was scored
    (record,) = made.records
    assert (orjson.loads(record.ids), record.predictions.shape) == (["a", "c"], (2, 2))
    assert orjson.loads(record.said) == {"age": 3, "tab": "1"}
    assert (record.video_len_s.tolist(), record.default.tolist()) == ([0.0, 2.0], [False, True])


def test_memory_is_bounded_in_number_in_bytes_and_in_pace():
    many = recorder(*map(str, range(MOST_REQUESTS + 50)))
    assert len(many.records) == MOST_REQUESTS
    assert orjson.loads(many.records[-1].ids) == [str(MOST_REQUESTS + 49)]
    small = Recorder(0.0, most_bytes=10_000)
    small.start()
    for number in range(50):
        small.offer(predicted([f"{number}-{place}" for place in range(50)]))
    assert 0 < sum(record.nbytes for record in small.records) <= 10_000
    small.offer(predicted([str(place) for place in range(5000)]))  # alone more than all
    assert len(orjson.loads(small.records[-1].ids)) == 50
    assert len(recorder("a", "b", "c", pace_s=60.0).records) == 1
    unstarted = Recorder(0.0)
    unstarted.offer(predicted(["a"]))
    assert unstarted.records == []


def test_a_sample_holds_the_newest_requests_of_the_bundle_that_serves():
    records = [*recorder("a", bundle="sha256:aa").records, *recorder("b", bundle="sha256:bb").records]
    assert [record.ids for record in newest(records, "sha256:bb")] == [b'["b"]']


@pytest.fixture
def fleet(tmp_path: Path) -> list[Fleet]:
    board = Board(2)
    workers = [Fleet(tmp_path, worker, board) for worker in range(2)]
    for worker in workers:
        worker.report(ready=True)
    return workers


def test_all_workers_read_one_sample_and_the_one_before_it_stays(fleet, tmp_path):
    sides = [Samples(recorder(name), worker, 0.0) for name, worker in zip("ab", fleet, strict=True)]
    for side in sides:
        side.start()
    try:
        names = []
        for _ in range(3):
            found = sides[0].freeze("sha256:aa")
            assert found is not None
            names.append(found.name)
            sample = read_sample(found.path)
            assert (sample.name, sorted(sample.ids)) == (found.name, [b'["a"]', b'["b"]'])
            other = sides[1].named(found.name, "sha256:aa")
            assert other is not None
            assert other.path == found.path
        assert [sides[1].named(name, "sha256:aa") is not None for name in names] == [False, True, True]
        assert sides[1].named(names[-1], "sha256:bb") is None
        assert sides[1].named("../etc", "sha256:aa") is None
        assert sides[0].freeze("sha256:cc") is None  # nobody has seen requests of it
    finally:
        for side in sides:
            side.stop()


def test_those_who_want_a_sample_at_once_get_the_same(fleet):
    sides = [Samples(recorder(name), worker) for name, worker in zip("ab", fleet, strict=True)]
    for side in sides:
        side.start()
    found: list[Any] = []
    callers = [
        threading.Thread(target=lambda side=side: found.append(side.freeze("sha256:aa"))) for side in sides
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for side in sides:
        side.stop()
    assert len({one.name for one in found}) == 1
    assert all(side.fresh("sha256:aa") is not None for side in sides)


def test_a_worker_without_others_leaves_no_file_behind():
    side = Samples(recorder("a"), Fleet())
    found = side.freeze("sha256:aa")
    assert found is not None
    assert found.path.exists()
    side.stop()
    assert not found.path.parent.exists()
