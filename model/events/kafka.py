"""Kafka as a place of events: its URL, the names of topics, and the settings of a client.

The client (confluent-kafka, of the extra `kafka`) is imported where one is made. A password is part of no
text.

    PREFIX.exposures    one message per answered ranking, keyed by user
    PREFIX.feedback     one per event, keyed by exposure
    PREFIX.catalogue    compacted: `catalogue`, and each fusion config under its version
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote

from pydantic import PlainValidator

from model.errors import FulcrumError

SCHEMA_VERSION = "1"
HEADERS = [("fulcrum-schema", SCHEMA_VERSION.encode())]
"""Of every message."""

_HOST = r"(?:[\w.-]+|\[[\da-fA-F:.]+\]):\d{1,5}"
_URL = re.compile(
    rf"kafka://(?:(?P<user>[^][/?#@:]*):(?P<password>[^][/?#@:]*)@)?(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"/(?P<prefix>[A-Za-z0-9._-]{1,200})(?:\?(?P<query>[^@#]*))?"
)
_OPTION = re.compile(r"[a-z][a-z0-9._]*")
_OURS = ("bootstrap.servers", "group.id", "enable.auto.commit", "sasl.password")


class KafkaUrl:
    """`kafka://[USER:PASSWORD@]HOST:PORT[,HOST:PORT]/PREFIX[?PROPERTY=VALUE]`, as text without the login.

    Properties are librdkafka's, such as `security.protocol=SASL_SSL` and `ssl.ca.location=/ca.pem`.

    Attributes:
        prefix: of the topics' names.

    Raises:
        FulcrumError: it is no such URL; the message repeats nothing secret.
    """

    def __init__(self, url: str) -> None:
        parts = _URL.fullmatch(url)
        if parts is None or not (url.isascii() and url.isprintable()):
            raise FulcrumError(
                "not a Kafka URL; expected kafka://[USER:PASSWORD@]HOST:PORT[,HOST:PORT]/PREFIX[?PROPERTY=VALUE]"
                ", and user and password in letters, digits and percent codes: / is %2F, # is %23, @ is %40"
            )
        self._shown = f"kafka://{parts['hosts']}/{parts['prefix']}"
        self.prefix: str = parts["prefix"]
        self._settings = {"bootstrap.servers": parts["hosts"]}
        if parts["user"] is not None:
            login = {"sasl.username": unquote(parts["user"]), "sasl.password": unquote(parts["password"])}
            self._settings |= {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", **login}
        for name, value in parse_qsl(parts["query"] or "", keep_blank_values=True):
            if not _OPTION.fullmatch(name) or name in _OURS:  # not repeated: it may be the rest of a password
                raise FulcrumError(
                    "unknown property in the Kafka URL; expected librdkafka's, such as security.protocol, "
                    "sasl.mechanism or ssl.ca.location"
                )
            self._settings[name] = value

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"KafkaUrl({self._shown!r})"

    def topic(self, name: str) -> str:
        """`PREFIX.exposures`, `PREFIX.feedback` or `PREFIX.catalogue`."""
        return f"{self.prefix}.{name}"

    def producer(self, on_error: Callable[[str], None], **settings: Any) -> Any:
        """An idempotent producer, which connects by itself and again.

        Args:
            on_error: called with a short text, from the client's own threads or from `poll`.
            settings: librdkafka's, with `_` for `.`.

        Raises:
            FulcrumError: the package is not there, or it refuses the URL's properties.
        """
        ours = {"enable.idempotence": True, "compression.type": "zstd", "linger.ms": 20}
        return self._client("Producer", on_error, {**ours, **_dotted(settings)})

    def consumer(self, group: str, on_error: Callable[[str], None], **settings: Any) -> Any:
        """A consumer from the beginning of topics, which commits only when asked to.

        Raises:
            FulcrumError: as for `producer`.
        """
        ours = {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
        return self._client("Consumer", on_error, {**ours, **_dotted(settings)})

    def _client(self, kind: str, on_error: Callable[[str], None], settings: dict[str, Any]) -> Any:
        confluent = import_client()

        def report(error: Any) -> None:
            on_error(error.name())

        whole = {**settings, **self._settings, "error_cb": report, "log_level": 0}
        try:
            return getattr(confluent, kind)(whole)
        except confluent.KafkaException as error:
            named = re.search(r'[Pp]roperty: "?([a-z.]+)"?', str(error))
            about = f" ({named[1]})" if named and "password" not in named[1] else ""
            raise FulcrumError(
                f"{self}: the Kafka client refuses the URL's properties{about}; they are librdkafka's, such "
                "as security.protocol=SASL_SSL"
            ) from None


def import_client() -> Any:
    """The package confluent_kafka.

    Raises:
        FulcrumError: it is not there.
    """
    try:
        return import_module("confluent_kafka")
    except ImportError:
        raise FulcrumError("events in Kafka need the extra kafka: pip install 'fulcrum[kafka]'") from None


def folder_or_kafka(place: str | Path | KafkaUrl) -> Path | KafkaUrl:
    """What names a place of events: a folder, or topics of a Kafka.

    Raises:
        FulcrumError: it is neither.
    """
    if not isinstance(place, str):
        return place
    if "://" in place:
        return KafkaUrl(place)
    if not place:
        raise FulcrumError("expected a folder or a Kafka URL, found nothing")
    return Path(place)


FolderOrKafka = Annotated[Path | KafkaUrl, PlainValidator(folder_or_kafka)]


def _dotted(settings: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in settings.items()}
