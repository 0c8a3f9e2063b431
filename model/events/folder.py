"""The folder of events: where everything lies. Writes and reads what is small; opens no segment.

EVENTS/catalogue.json                     the kinds of feedback, and the tasks
EVENTS/configs/<hex of its version>.json  every fusion config that an exposure names
EVENTS/exposures/YYYY-MM-DDTHH/           an hour (UTC) of exposures, by their own time:
    <milliseconds>-<random>.arrow         a segment of one worker, appended to while its worker holds its lock
    <milliseconds>-<random>.parquet       sealed: replaces the segments that its metadata names
EVENTS/feedback.sqlite                    feedback as received
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson
from pydantic import Field

from model.errors import FulcrumError, checked
from model.events.catalogue import EventCatalogue
from model.files import read_file, replace_file
from model.frozen import Frozen

HOUR_MS = 3_600_000
_MOST_BYTES = 1 << 20


class WrittenCatalogue(Frozen):
    """`catalogue.json`."""

    schema_version: int = Field(default=1, ge=1, le=1)
    tasks: tuple[str, ...]
    """Names of the predictions that exposures hold."""
    events: EventCatalogue


class EventFolder:
    """One folder of events.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.exposures = path / "exposures"
        self.configs = path / "configs"
        self.catalogue = path / "catalogue.json"
        self.feedback = path / "feedback.sqlite"

    def write_catalogue(self, tasks: Sequence[str], events: EventCatalogue) -> None:
        """Say what the events are. Raises OSError where that is not possible."""
        written = WrittenCatalogue(tasks=tuple(tasks), events=events)
        content = orjson.dumps(written.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            if read_file(self.catalogue, _MOST_BYTES) == content:
                return
        except OSError:
            pass
        replace_file(self.catalogue, content)

    def read_catalogue(self) -> WrittenCatalogue:
        """What the events are.

        Raises:
            FulcrumError: the folder holds no events, or its catalogue is damaged.
        """
        try:
            document = orjson.loads(read_file(self.catalogue, _MOST_BYTES))
        except OSError as error:
            raise FulcrumError(
                f"{self.path} holds no events: no readable {self.catalogue.name} ({error.strerror}); "
                "`fulcrum serve --events DIR` writes them, with a bundle whose recipe declares `events:`"
            ) from error
        except orjson.JSONDecodeError as error:
            raise FulcrumError(f"{self.catalogue}: not JSON ({error})") from error
        return checked(WrittenCatalogue, document, str(self.catalogue))

    def config(self, version: str) -> Path:
        """Where the fusion config of this version (`sha256:...`) lies."""
        return self.configs / f"{version.removeprefix('sha256:')}.json"

    def hour(self, time_ms: int) -> Path:
        """The folder of the hour in which this time lies."""
        return self.exposures / hour_name(time_ms)

    def hours(self) -> list[Path]:
        """The folders of hours that are there, oldest first."""
        return sorted(_folders(self.exposures)) if self.exposures.is_dir() else []


def hour_name(time_ms: int) -> str:
    """`YYYY-MM-DDTHH` of a time in milliseconds since 1970, UTC."""
    return datetime.fromtimestamp(time_ms // HOUR_MS * HOUR_MS / 1000, UTC).strftime("%Y-%m-%dT%H")


def hour_start_ms(name: str) -> int:
    """The first millisecond of the hour of that name. Raises ValueError where it is none."""
    return int(datetime.strptime(name, "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp()) * 1000


def _folders(path: Path) -> Iterator[Path]:
    children: Iterable[Path] = path.iterdir()
    for child in children:
        try:
            hour_start_ms(child.name)
        except ValueError:
            continue
        if child.is_dir():
            yield child
