"""Events of Kafka land in a folder of events, whatever ends the landing in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from model.errors import FulcrumError
from model.events import EventCatalogue, EventFolder, Feedback, FeedbackKind
from model.events.exposures import read_segment
from model.events.feedback_table import open_feedback
from model.events.kafka import KafkaUrl
from model.events.wire import exposure_message, feedback_message
from tests.model.events.test_wire import EXPOSURE
from tests.support.kafka_broker import running_kafka
from training.events import landing
from training.events.join import join_events
from training.events.landing import land

pytestmark = pytest.mark.slow

CATALOGUE = EventCatalogue(
    kinds=(FeedbackKind(kind="is_share"), FeedbackKind(kind="play_time_ms", type="integer"))
)
VERSION = f"sha256:{'0' * 64}"
START = EXPOSURE.time_ms


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with running_kafka() as host:
        yield host


def _sent(url: KafkaUrl, count: int, tmp_path: Path) -> None:
    written = EventFolder(tmp_path / "service")
    written.write_catalogue(["vtr"], CATALOGUE)
    producer = url.producer(lambda _: None)
    producer.produce(url.topic("catalogue"), written.catalogue.read_bytes(), key=b"catalogue")
    producer.produce(url.topic("catalogue"), b"{}", key=VERSION.encode())
    for number in range(count):
        one = dataclasses.replace(EXPOSURE, exposure_id=f"x{number}", time_ms=START + number * 60_000)
        producer.produce(url.topic("exposures"), exposure_message(one), key=b"u1")
        event = Feedback(f"e{number}", f"x{number}", "v3", "is_share", 1.0, START, START)
        producer.produce(url.topic("feedback"), feedback_message(event), key=b"x")
    assert producer.flush(20) == 0


def _exposures(folder: EventFolder) -> set[str]:
    found: set[str] = set()
    for path in folder.exposures.rglob("*.arrow"):
        for batch in read_segment(path):
            assert {path.parent.name} == {_hour(ms) for ms in batch["time_ms"].to_pylist()}
            found.update(batch["exposure_id"].to_pylist())
    return found


def _hour(time_ms: int) -> str:
    return EventFolder(Path()).hour(time_ms).name


def _feedback(folder: EventFolder) -> list[tuple[Any, ...]]:
    connection = open_feedback(folder.feedback)
    try:
        return connection.execute(
            "SELECT event_id, value, received_ms FROM feedback ORDER BY rowid"
        ).fetchall()
    finally:
        connection.close()


def test_everything_lands_once_and_only_the_news_lands_later(broker: str, tmp_path: Path) -> None:
    url, folder = KafkaUrl(f"kafka://{broker}/once"), EventFolder(tmp_path / "landed")
    _sent(url, 100, tmp_path)
    first = land(url, folder)
    assert (first.exposures, first.feedback, first.refused) == (100, 100, 0)
    assert _exposures(folder) == {f"x{number}" for number in range(100)}
    assert sorted(_feedback(folder)) == sorted((f"e{number}", 1.0, START) for number in range(100))
    assert folder.config(VERSION).read_bytes() == b"{}"
    assert folder.read_catalogue().events == CATALOGUE
    again = land(url, folder)
    assert (again.exposures, again.feedback) == (0, 0)


def test_killed_between_rows_and_commit_it_reads_them_again(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = KafkaUrl(f"kafka://{broker}/killed"), EventFolder(tmp_path / "landed")
    _sent(url, 30, tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(landing, "_commit", killed)
        with pytest.raises(KeyboardInterrupt):
            land(url, folder)
    found = land(url, folder)
    assert (found.exposures, found.feedback) == (30, 0)
    assert _exposures(folder) == {f"x{number}" for number in range(30)}
    assert len(_feedback(folder)) == 30


def test_an_app_may_write_feedback_by_itself_and_rubbish_is_counted(broker: str, tmp_path: Path) -> None:
    url, folder = KafkaUrl(f"kafka://{broker}/apps"), EventFolder(tmp_path / "landed")
    _sent(url, 1, tmp_path)
    producer = url.producer(lambda _: None)
    now_ms = 1_795_000_000_000
    plain = {"event_id": "a", "exposure_id": "x0", "item_id": "v1", "kind": "play_time_ms", "value": 55}
    for number, message in enumerate(
        (
            orjson.dumps({**plain, "time_ms": now_ms - 5}),
            orjson.dumps({**plain, "time_ms": now_ms - 5, "value": "long", "event_id": "b"}),
            orjson.dumps({**plain, "time_ms": now_ms - 5, "kind": "unknown", "event_id": "c"}),
            orjson.dumps([]),
            b"rubbish",
        )
    ):
        producer.produce(url.topic("feedback"), message, timestamp=now_ms + number)
    producer.produce(url.topic("exposures"), b"rubbish")
    assert producer.flush(20) == 0
    landed = land(url, folder)
    assert (landed.exposures, landed.feedback, landed.refused) == (1, 2, 5)
    assert ("a", 55.0, now_ms) in _feedback(folder)


def test_a_broker_without_events_or_away_is_one_clear_line(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FulcrumError, match=r"nobody\.catalogue holds no catalogue"):
        land(KafkaUrl(f"kafka://{broker}/nobody"), EventFolder(tmp_path))
    monkeypatch.setattr(landing, "_PATIENCE_S", 0.5)
    with pytest.raises(FulcrumError, match="the broker does not answer as expected"):
        land(KafkaUrl("kafka://127.0.0.1:1/feed"), EventFolder(tmp_path))


def test_the_joined_rows_are_the_same_whatever_was_read_twice(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = KafkaUrl(f"kafka://{broker}/twice")
    _sent(url, 0, tmp_path)
    producer = url.producer(lambda _: None)
    for number in range(40):
        time_ms = START + number * 60_000
        name = f"{time_ms:012x}"
        exposure_id = f"{name[:8]}-{name[8:]}-7000-8000-{number:012x}"
        one = dataclasses.replace(EXPOSURE, exposure_id=exposure_id, time_ms=time_ms)
        event = Feedback(f"e{number}", exposure_id, "v3", "is_share", 1.0, time_ms + 5, time_ms + 9)
        for _ in range(1 + number % 3):  # a producer that was killed in mid-batch sends it again
            producer.produce(url.topic("exposures"), exposure_message(one), key=b"u1")
            producer.produce(url.topic("feedback"), feedback_message(event), key=b"x")
    assert producer.flush(20) == 0
    calls = iter([None])

    def killed_once(*given: Any) -> None:
        if next(calls, given) is None:
            raise KeyboardInterrupt
        commit(*given)

    commit = landing._commit
    monkeypatch.setattr(landing, "_commit", killed_once)
    folder = EventFolder(tmp_path / "landed")
    with pytest.raises(KeyboardInterrupt):
        land(url, folder)
    land(url, folder)
    as_of_ms = START + 30 * 86_400_000
    counts = join_events(folder.path, tmp_path / "joined", as_of_ms).counts
    assert (counts["exposures"], counts["joined"], counts["orphans"]) == (40, 40, 0)
    rows = pl.read_parquet(tmp_path / "joined" / "impressions" / "**" / "*.parquet").sort(
        "time_ms", "position"
    )
    assert rows.height == 40 * len(EXPOSURE.items)
    assert rows["exposure_id"].n_unique() == 40
    shared = dict(zip(EXPOSURE.items, (1, 0), strict=True))
    assert rows["is_share"].to_list() == [shared[item] for item in rows["item_id"]]
