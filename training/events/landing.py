"""Landing: events of Kafka into a folder of events, from which they are joined as all others are.

Offsets are committed once what was read is on the disk: whatever ends this process, the next run reads again
what may be missing, and what is read twice is dropped in the join, exposures and feedback alike.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import ipc

from model.errors import FulcrumError, checked
from model.events import EventFolder, Exposure, Feedback, FeedbackJudge
from model.events.exposures import batch, layout
from model.events.feedback_table import insert, open_feedback
from model.events.folder import WrittenCatalogue, hour_name
from model.events.kafka import KafkaUrl
from model.events.wire import read_exposure
from model.files import fresh_file, replace_file
from model.sqlite_file import writing
from training.progress import Advanced, Observer, silent

_MESSAGES = 20_000
"""Read at a time, at most: bounds memory, and what is read again after a crash."""
_POLL_S = 0.5
_PATIENCE_S = 30.0


@dataclass
class Landed:
    """What a run has read.

    Attributes:
        exposures: messages of exposures.
        feedback: events, each once.
        refused: messages that are no events, or that the catalogue does not know.
    """

    exposures: int = 0
    feedback: int = 0
    refused: int = 0


def land(url: KafkaUrl, folder: EventFolder, observer: Observer = silent) -> Landed:
    """Read what came since the last run, up to the end of each partition as it is met.

    Args:
        url: of the broker and its topics.
        folder: to write to; made where it is not there.
        observer: called with progress.

    Raises:
        FulcrumError: the broker is away, has no such topics, or holds no catalogue yet.
    """
    problems: list[str] = []
    consumer = url.consumer(f"{url.prefix}.join", problems.append)
    try:
        catalogue = _catalogue(consumer, url, folder, problems)
        landed = Landed()
        for messages in _parts(consumer, url, problems):
            _write(messages, url, folder, catalogue, landed)
            ends: dict[tuple[str, int], int] = {}
            for message in messages:
                ends[message.topic(), message.partition()] = message.offset() + 1
            _commit(consumer, url, ends)
            observer(Advanced("reading Kafka", landed.exposures + landed.feedback, None, "events"))
        return landed
    finally:
        consumer.close()


def _catalogue(consumer: Any, url: KafkaUrl, folder: EventFolder, problems: list[str]) -> WrittenCatalogue:
    """The newest catalogue of the topic, and all fusion configs, written into the folder."""
    topic = url.topic("catalogue")
    found: dict[str, bytes] = {}
    for message in _until_end(consumer, url, [topic], problems, anew=True):
        found[message.key().decode()] = message.value()
    if "catalogue" not in found:
        raise FulcrumError(
            f"{url}: {topic} holds no catalogue; a service with --events {url} writes one, "
            "of a bundle whose recipe declares `events:`"
        )
    folder.configs.mkdir(parents=True, exist_ok=True)
    for key, value in found.items():
        if key.startswith("sha256:") and key[7:].isalnum():
            replace_file(folder.config(key), value)
    document = orjson.loads(found["catalogue"])
    catalogue = checked(WrittenCatalogue, document, f"{url}: catalogue")
    folder.write_catalogue(catalogue.tasks, catalogue.events)
    return catalogue


def _parts(consumer: Any, url: KafkaUrl, problems: list[str]) -> Iterator[list[Any]]:
    """Messages of exposures and feedback since what was committed."""
    part: list[Any] = []
    for message in _until_end(consumer, url, [url.topic("exposures"), url.topic("feedback")], problems):
        part.append(message)
        if len(part) == _MESSAGES:
            yield part
            part = []
    if part:
        yield part


def _until_end(
    consumer: Any, url: KafkaUrl, topics: Sequence[str], problems: list[str], anew: bool = False
) -> Iterator[Any]:
    """Messages of these topics, from what was committed or `anew`, until all partitions end."""
    from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

    try:
        known = consumer.list_topics(timeout=_PATIENCE_S).topics
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            if topic in known and known[topic].error is None
            for number in known[topic].partitions
        ]
        if not partitions:
            return
        places = consumer.committed(partitions, timeout=_PATIENCE_S)
    except KafkaException as error:
        raise _away(url, error, problems) from None
    for place in places:
        if anew or place.offset < 0:
            place.offset = OFFSET_BEGINNING
    consumer.assign(places)
    open_ends = {(place.topic, place.partition) for place in places}
    silent_s = 0.0
    while open_ends:
        messages = consumer.consume(_MESSAGES, timeout=_POLL_S)
        silent_s = 0.0 if messages else silent_s + _POLL_S
        if silent_s > _PATIENCE_S:
            raise _away(url, "no message and no end of a partition in time", problems)
        for message in messages:
            problem = message.error()
            if problem is None:
                yield message
            elif problem.code() == KafkaError._PARTITION_EOF:
                open_ends.discard((message.topic(), message.partition()))
            elif not problem.retriable() and problem.code() != KafkaError._ALL_BROKERS_DOWN:
                raise _away(url, problem.name(), problems)
    consumer.unassign()


def _commit(consumer: Any, url: KafkaUrl, ends: dict[tuple[str, int], int]) -> None:
    from confluent_kafka import KafkaException, TopicPartition

    offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in ends.items()]
    try:
        consumer.commit(offsets=offsets, asynchronous=False)
    except KafkaException as error:
        raise _away(url, error, []) from None


def _away(url: KafkaUrl, error: object, problems: Sequence[str]) -> FulcrumError:
    name = error if isinstance(error, str) else getattr(error, "args", [error])[0]
    words = name if isinstance(name, str) else name.name()
    seen = ", ".join(sorted(set(problems))[:3])
    return FulcrumError(
        f"{url}: the broker does not answer as expected ({words}{'; ' + seen if seen else ''}); run this "
        "again once it does, nothing is lost"
    )


def _write(
    messages: Sequence[Any], url: KafkaUrl, folder: EventFolder, catalogue: WrittenCatalogue, landed: Landed
) -> None:
    """Put messages on the disk."""
    exposures: list[Exposure] = []
    events: list[Feedback] = []
    for message in messages:
        if message.topic() == url.topic("exposures"):
            try:
                exposures.append(read_exposure(message.value()))
            except ValueError:
                landed.refused += 1
            continue
        event = _event(message, catalogue)
        if event is None:
            landed.refused += 1
        else:
            events.append(event)
    _write_exposures(exposures, folder)
    landed.exposures += len(exposures)
    if events:
        with writing(folder.feedback), closing(open_feedback(folder.feedback)) as connection:
            landed.feedback += insert(connection, events)


def _event(message: Any, catalogue: WrittenCatalogue) -> Feedback | None:
    """An event as the service would take it: where it says no time of receipt, the broker's counts."""
    try:
        document = orjson.loads(message.value())
        received_ms = document.pop("received_ms", None)
    except (ValueError, AttributeError, TypeError):
        return None
    if not isinstance(received_ms, int):
        received_ms = message.timestamp()[1]
    kind = catalogue.events.kind(document.get("kind"))
    if kind is not None and isinstance(document.get("value"), float):
        document["value"] = _as_sent(kind.type, document["value"])
    event = FeedbackJudge(catalogue.events, lambda: received_ms).judge(document)
    return event if isinstance(event, Feedback) else None


def _as_sent(kind: str, value: float) -> float | int | bool:
    """A value as the sender spelled it, where the service had made a float of it."""
    if kind == "flag" and value in (0.0, 1.0):
        return bool(value)
    return int(value) if kind == "integer" and value.is_integer() else value


def _write_exposures(exposures: Iterable[Exposure], folder: EventFolder) -> None:
    """A closed segment for each hour and each set of tasks, on the disk."""

    def group(one: Exposure) -> tuple[str, tuple[str, ...]]:
        tasks = one.candidates.predictions if one.candidates else list(one.weights)
        return hour_name(one.time_ms), tuple(task for task in tasks if task != "video_len")

    groups: dict[tuple[str, tuple[str, ...]], list[Exposure]] = defaultdict(list)
    for exposure in exposures:
        groups[group(exposure)].append(exposure)
    for (hour, tasks), found in groups.items():
        path = folder.exposures / hour
        path.mkdir(parents=True, exist_ok=True)
        name = f"{found[0].time_ms}-{secrets.token_hex(8)}.arrow"
        schema = layout(tasks)
        with fresh_file(path / name, durable=True) as fresh, fresh.open("wb") as file:
            options = ipc.IpcWriteOptions(compression=pa.Codec("zstd"))
            with ipc.new_stream(file, schema, options=options) as writer:
                writer.write_batch(batch(found, schema))
