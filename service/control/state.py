"""Desired state: which bundle should be active, in a file or in Redis. Says what is wanted, changes nothing.

    {"schema_version": 1, "bundle": "sha256:..."}

Without a `bundle`, or without the document, the newest bundle is wanted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Protocol

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from model.errors import FulcrumError, first_problem
from model.files import replace_file

__all__ = ["Desired", "FileState", "StateError", "StateStore", "open_state", "parse_desired"]

_MAX_BYTES = 64 * 1024


class StateError(FulcrumError):
    """The desired state cannot be read or written now."""


class Desired(BaseModel):
    """The document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    bundle: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """Version of the bundle that should be active; None for the newest."""


class StateStore(Protocol):
    """Where the desired state lies."""

    @property
    def name(self) -> str:
        """For messages."""

    def read(self) -> Desired:
        """What is wanted.

        Raises:
            StateError: it cannot be read, or holds something else.
        """

    def write(self, desired: Desired) -> None:
        """Want this from now on.

        Raises:
            StateError: it cannot be written; nothing has changed.
        """


class FileState:
    """The desired state in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """For messages."""
        return f"state file {self._path}"

    def read(self) -> Desired:
        """What is wanted."""
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return Desired()
        except OSError as error:
            raise StateError(f"{self.name}: cannot be read ({error.strerror})") from error
        return parse_desired(content, self.name)

    def write(self, desired: Desired) -> None:
        """Want this from now on."""
        try:
            replace_file(self._path, desired.model_dump_json(exclude_none=True).encode(), durable=True)
        except OSError as error:
            raise StateError(f"{self.name}: cannot be written ({error.strerror})") from error


def open_state(where: str) -> StateStore:
    """The state in a file, or behind a redis:// URL."""
    if "://" not in where:
        return FileState(Path(where))
    from service.control.redis_state import RedisState  # whose client takes long to import

    return RedisState(where)


def parse_desired(content: bytes | str, source: str) -> Desired:
    """The document, as it lies in `source`.

    Raises:
        StateError: it is none.
    """
    if len(content) > _MAX_BYTES:
        raise StateError(f"{source}: more than {_MAX_BYTES} bytes")
    try:
        return Desired.model_validate(orjson.loads(content))
    except orjson.JSONDecodeError as error:
        raise StateError(f"{source}: not JSON ({error})") from error
    except ValidationError as error:
        raise StateError(f"{source}: {first_problem(error)}") from error
