"""Segments of a folder: what is written reads back, whatever happens to the folder meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest

from model.errors import FulcrumError
from model.events import EventFolder
from model.events.exposures import predictions_of
from model.events.folder import hour_name
from service.events.files import FileSink, make_folder
from tests.support.exposures import CATALOGUE, HOUR, exposure_rows, origin, shown

START = 1_800_000_000_000 // HOUR * HOUR


class Clock:
    """Milliseconds since 1970, as a test wants them."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path / "events")
    return EventFolder(tmp_path / "events")


@pytest.fixture
def sink(folder, clock):
    sink = FileSink(folder.path, clock=clock)
    yield sink
    sink.close()


def write(sink, *records):
    return sink.write([sink.prepare(record) for record in records])


def names(folder):
    return [row["exposure_id"] for row in exposure_rows(folder.path)]


def segments(folder):
    return sorted(folder.exposures.rglob("*.arrow"))


def test_what_is_written_reads_back_to_the_bit(sink, folder):
    made_with = origin()
    records = [shown(number, START + number, made_with, candidates=5) for number in range(70)]
    bare = shown(70, START, made_with, without=True)
    written = write(sink, *records[:69]) + write(sink, records[69], bare)
    rows = exposure_rows(folder.path)
    assert [row["exposure_id"] for row in rows] == [f"x{number}" for number in range(71)]
    for row, record in zip(rows, records, strict=False):
        exposure, candidates = record.exposure, record.exposure.candidates
        assert (row["items"], row["candidates"]) == (exposure.items, candidates.ids)
        assert row["unit_hash"] == exposure.unit_hash
        for task, p in candidates.predictions.items():
            np.testing.assert_array_equal(
                np.array(row[f"p_{task}"], np.float32).view(np.int32), p.view(np.int32)
            )
    assert rows[70]["candidates"] is rows[70]["p_vtr"] is None
    assert rows[70]["items"] == bare.exposure.items
    (segment,) = segments(folder)
    assert segment.stat().st_size == written


def test_the_catalogue_and_the_configs_stand_beside_what_names_them(sink, folder):
    write(sink, shown(0, START, origin(version="sha256:aa")), shown(1, START, origin(version="sha256:bb")))
    found = folder.read_catalogue()
    assert (found.tasks, found.events) == (("vtr", "shr"), CATALOGUE)
    assert folder.config("sha256:aa").read_bytes() == b'{"of":"sha256:aa"}'
    assert sorted(path.name for path in folder.configs.iterdir()) == ["aa.json", "bb.json"]


def test_a_bundle_without_kinds_of_feedback_leaves_the_catalogue_alone(sink, folder):
    made_with = origin()
    write(sink, shown(0, START, type(made_with)(("vtr",), None, "sha256:aa", made_with.fusion)))
    assert not folder.catalogue.exists()
    assert names(folder) == ["x0"]


def test_int16_predictions_are_within_a_step(folder, clock):
    sink = FileSink(folder.path, "int16", clock)
    record = shown(0, START, origin())
    write(sink, record)
    sink.close()
    (row,) = exposure_rows(folder.path)
    p = record.exposure.candidates.predictions["vtr"]
    found = predictions_of(np.array(row["p_vtr"], np.int16))
    np.testing.assert_allclose(found, p, rtol=1 / 256)


def test_each_hour_has_its_segment_and_an_hour_that_is_over_is_closed(sink, folder, clock):
    made_with = origin()
    write(sink, shown(0, START + HOUR - 1, made_with), shown(1, START + HOUR, made_with))
    assert [path.parent.name for path in segments(folder)] == [hour_name(START), hour_name(START + HOUR)]
    sealable = [_is_unlocked(path) for path in segments(folder)]
    assert sealable == [True, False]
    clock.now = START + HOUR + HOUR - 1
    sink.rest()
    assert not _is_unlocked(segments(folder)[1])
    clock.now += 1
    sink.rest()
    assert _is_unlocked(segments(folder)[1])
    assert names(folder) == ["x0", "x1"]


def test_a_full_segment_gives_way_to_another_and_bundles_of_other_tasks_have_their_own(folder, clock):
    sink = FileSink(folder.path, clock=clock, segment_bytes=1)
    for number in range(3):
        clock.now += 1
        write(sink, shown(number, START, origin()))
    assert len(segments(folder)) == 3
    sink = FileSink(folder.path, clock=clock)
    for number in range(3, 7):
        clock.now += 1
        write(sink, shown(number, START, origin(tasks=("vtr",) if number % 2 else ("vtr", "shr"))))
    sink.close()
    assert len(segments(folder)) == 5
    assert sorted(names(folder)) == [f"x{number}" for number in range(7)]


def test_a_closed_segment_ends_as_arrow_wants_it(sink, folder):
    write(sink, shown(0, START, origin()))
    sink.close()
    (segment,) = segments(folder)
    with pa.OSFile(str(segment)) as file:
        assert pa.ipc.open_stream(file).read_all().num_rows == 1  # raises where the end is missing
    assert segment.read_bytes()[-8:] == b"\xff\xff\xff\xff\0\0\0\0"


def test_what_cannot_be_written_is_an_error_and_the_folder_that_is_back_takes_it(sink, folder):
    made_with = origin()
    write(sink, shown(0, START, made_with))
    for number, (spoil, heal) in enumerate(_damages(folder), 1):
        spoil()
        with pytest.raises(OSError, match=r".") as raised:
            write(sink, shown(number, START, made_with))
        assert raised.value.errno in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST)
        with pytest.raises(OSError, match=r"."):
            write(sink, shown(number, START, made_with))
        heal()
        write(sink, shown(number, START, made_with))
        assert f"x{number}" in names(folder)
        assert folder.config("sha256:aa").exists()
        assert folder.catalogue.exists()


def _damages(folder):
    away = folder.path.with_name("away")
    yield lambda: folder.path.rename(away), lambda: away.rename(folder.path)
    yield lambda: shutil.rmtree(folder.path), folder.path.mkdir

    def put_a_file():
        folder.path.rename(away)
        folder.path.write_text("")

    def put_back():
        folder.path.unlink()
        away.rename(folder.path)

    yield put_a_file, put_back

    def put_a_file_inside():
        folder.exposures.rename(away)
        folder.exposures.write_text("")

    def put_back_inside():
        folder.exposures.unlink()
        away.rename(folder.exposures)

    yield put_a_file_inside, put_back_inside


def test_a_segment_that_was_removed_is_not_written_to(sink, folder):
    write(sink, shown(0, START, origin()))
    segments(folder)[0].unlink()
    write(sink, shown(1, START, origin()))
    assert names(folder) == ["x1"]
    shutil.rmtree(folder.exposures)
    write(sink, shown(2, START, origin()))
    assert names(folder) == ["x2"]


def test_a_full_disk_tears_no_batch_that_was_whole(sink, folder):
    write(sink, shown(0, START, origin()))
    size = segments(folder)[0].stat().st_size
    with _largest_file(size + 500), pytest.raises(OSError, match="too large"):
        write(sink, shown(1, START, origin(), candidates=400))
    assert names(folder) == ["x0"]
    assert _is_unlocked(segments(folder)[0])
    with _largest_file(500), pytest.raises(OSError, match="too large"):
        write(sink, shown(1, START, origin(), candidates=400))
    assert len(segments(folder)) == 1, "a file without a batch is removed"
    write(sink, shown(1, START, origin(), candidates=400))
    assert sorted(names(folder)) == ["x0", "x1"]


def test_a_torn_tail_reads_up_to_the_tear(sink, folder):
    made_with = origin()
    sizes = [write(sink, shown(number, START, made_with)) for number in range(3)]
    (segment,) = segments(folder)
    content = segment.read_bytes()
    assert len(content) == sum(sizes)
    for kept in (sum(sizes[:2]), sum(sizes[:2]) + 1, sum(sizes) - 1):
        segment.write_bytes(content[:kept])
        assert names(folder) == ["x0", "x1"]


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FulcrumError, match="expected a folder, found"):
        make_folder(tmp_path / "file" / "events")


@contextmanager
def _largest_file(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _is_unlocked(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
