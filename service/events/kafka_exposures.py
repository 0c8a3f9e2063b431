"""Exposures to Kafka: messages that the brokers have acknowledged. Knows no request.

Used by one thread, which waits for the brokers; the queue before it is bounded, and rankings never wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model.events import EventCatalogue, Shown
from model.events.kafka import HEADERS, KafkaUrl
from model.events.wire import catalogue_message, exposure_message

_DELIVERY_S = 5.0
"""Seconds that a message may take until it counts as lost; the writer then sends its batch again."""

Message = tuple[Shown, bytes]


class KafkaExposures:
    """One worker's way to the brokers.

    Args:
        url: of brokers and topics.

    Raises:
        FulcrumError: the package is not there, or it refuses the URL's properties.
    """

    def __init__(self, url: KafkaUrl) -> None:
        self._url = url
        self._problem = ""
        self._lost = 0
        self._producer = url.producer(self._on_error, delivery_timeout_ms=int(_DELIVERY_S * 1000))
        self._described: set[str] = set()
        self._catalogue: tuple[tuple[str, ...], EventCatalogue] | None = None

    def prepare(self, shown: Shown) -> Message:
        """The exposure as a message."""
        return shown, exposure_message(shown.exposure)

    def write(self, batch: Sequence[Message]) -> int:
        """Send exposures and what describes them, and wait for the brokers: bytes sent.

        Raises:
            OSError: not all are acknowledged.
        """
        self._lost = 0
        catalogue, described = self._catalogue, set(self._described)
        for shown, message in batch:
            self._describe(shown)
            self._send("exposures", shown.exposure.user.encode("utf-8", "surrogatepass"), message)
        waiting = self._producer.flush(_DELIVERY_S + 1.0)
        if waiting or self._lost:
            self._catalogue, self._described = catalogue, described
            raise OSError(0, f"{waiting + self._lost} messages were not acknowledged {self._problem}".strip())
        self._problem = ""
        return sum(len(message) for _, message in batch)

    def rest(self) -> None:
        """Hear of errors."""
        self._producer.poll(0)

    def close(self) -> None:
        """There is nothing to end: all that was sent is acknowledged or given up."""

    def _describe(self, shown: Shown) -> None:
        origin = shown.origin
        if origin.events is not None and (origin.tasks, origin.events) != self._catalogue:
            self._send("catalogue", b"catalogue", catalogue_message(origin.tasks, origin.events))
            self._catalogue = origin.tasks, origin.events
        if origin.fusion_version not in self._described:
            self._send("catalogue", origin.fusion_version.encode(), origin.fusion())
            self._described.add(origin.fusion_version)

    def _send(self, topic: str, key: bytes, message: bytes) -> None:
        whole = {"key": key, "headers": HEADERS, "on_delivery": self._on_delivery}
        try:
            self._producer.produce(self._url.topic(topic), message, **whole)
        except BufferError:  # its own queue is full: wait until some are gone
            self._producer.flush(_DELIVERY_S)
            try:
                self._producer.produce(self._url.topic(topic), message, **whole)
            except BufferError:
                raise OSError(0, f"the brokers take nothing {self._problem}".strip()) from None
        except Exception as error:
            raise OSError(0, f"the Kafka client refuses a message ({type(error).__name__})") from error
        self._producer.poll(0)

    def _on_delivery(self, error: Any, _: object) -> None:
        if error is not None:
            self._lost += 1
            self._problem = f"({error.name()})"

    def _on_error(self, name: str) -> None:
        self._problem = f"({name})"
