"""Desired state: which bundle should be active. Says what is wanted, changes nothing.

    {"schema_version": 1, "bundle": "sha256:..."}

Without a `bundle`, or without the document, the newest bundle is wanted.
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import orjson
from pydantic import StringConstraints

from model.errors import FulcrumError, checked
from model.frozen import Frozen

MAX_BYTES = 64 * 1024


class UnknownVersionError(FulcrumError):
    """The models folder holds no such bundle."""


class StateError(FulcrumError):
    """The desired state cannot be read or written now."""


class Desired(Frozen):
    """The document."""

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
            StateError: it cannot be written; as far as can be seen, nothing has changed.
        """


def parse_desired(content: bytes | str, source: str) -> Desired:
    """The document, as it lies in `source`.

    Raises:
        StateError: it is none.
    """
    if len(content) > MAX_BYTES:
        raise StateError(f"{source}: more than {MAX_BYTES} bytes")
    try:
        return checked(Desired, orjson.loads(content))
    except orjson.JSONDecodeError as error:
        raise StateError(f"{source}: not JSON ({error})") from error
    except FulcrumError as error:
        raise StateError(f"{source}: {error}") from error
