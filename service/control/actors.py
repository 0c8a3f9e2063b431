"""Actors: who may do what, by bearer token. Knows no HTTP.

    actors:
      - {name: anna, scopes: [read, propose, activate], sha256: 5e88...}

A token is known by its SHA-256 alone (`printf %s TOKEN | sha256sum`). The file is read again when it changes:
who is taken out of it is out at the next request. One that can no longer be read lets nobody in but `admin`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

import structlog
from pydantic import Field, StringConstraints, field_validator

from model.document import read_document, read_text
from model.errors import FulcrumError, checked, shown
from model.frozen import Frozen

Scope = Literal["read", "propose", "activate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

ADMIN = "admin"
"""Name of the actor whose token is FULCRUM_ADMIN_TOKEN."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Actor:
    """Who asks.

    Attributes:
        name: for the audit; None for anybody.
        scopes: what they may do.
    """

    name: str | None = None
    scopes: frozenset[Scope] = field(default_factory=frozenset)

    def may(self, scope: Scope) -> bool:
        """Whether they may do this."""
        return scope in self.scopes or "admin" in self.scopes


ANYBODY = Actor()


class _Entry(Frozen):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    scopes: list[Scope] = Field(min_length=1)
    sha256: str

    @field_validator("sha256")
    @classmethod
    def _is_a_hash(cls, sha256: str) -> str:
        if not re.fullmatch(
            r"[0-9a-f]{64}", sha256
        ):  # a bound of the field would repeat it: it may be a token
            raise ValueError(
                "expected 64 hexadecimal digits in lower case: the SHA-256 of the token, not the token"
            )
        return sha256

    @field_validator("name")
    @classmethod
    def _nobody_elses(cls, name: str) -> str:
        if name == ADMIN:
            raise ValueError(f"{shown(name)} is the actor of FULCRUM_ADMIN_TOKEN; take another name")
        return name


class _Tokens(Frozen):
    schema_version: Literal[1] = 1
    actors: list[_Entry]

    @field_validator("actors")
    @classmethod
    def _told_apart(cls, actors: list[_Entry]) -> list[_Entry]:
        for key in ("name", "sha256"):
            values = [getattr(each, key) for each in actors]
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"two actors have the {key} {shown(twice)}; give each its own")
        return actors


class Actors:
    """Knows actors by their tokens.

    Args:
        admin: token of `admin`, who may do everything; None for no such actor.
        file: of the others; None for none.

    Raises:
        FulcrumError: the file cannot be used now.
    """

    def __init__(self, admin: str | None, file: Path | None = None) -> None:
        everything = Actor(ADMIN, frozenset(SCOPES))
        self._admin = [] if admin is None else [(_digest(admin), everything)]
        self._file = file
        self._lock = threading.Lock()
        self._signature = self._signed()
        self._others = self._read()

    @property
    def known(self) -> bool:
        """Whether anybody may change anything."""
        return bool(self._admin or self._file)

    def of(self, token: str) -> Actor | None:
        """Whose token this is; None for nobody's. Takes as long whoever it is."""
        self._refresh()
        given, found = _digest(token), None
        for digest, actor in [*self._admin, *self._others]:
            if hmac.compare_digest(given, digest):
                found = actor
        return found

    def _refresh(self) -> None:
        if self._file is None:
            return
        with self._lock:
            signature = self._signed()
            if signature == self._signature:
                return
            try:
                self._others = self._read()
                log.info("tokens_loaded", file=str(self._file), actors=len(self._others))
            except FulcrumError as error:
                self._others = []
                log.error("tokens_rejected", error=str(error))
            self._signature = signature

    def _signed(self) -> Sequence[int] | None:
        try:
            found = self._file.stat() if self._file is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_ino, found.st_size, found.st_ctime_ns)

    def _read(self) -> list[tuple[bytes, Actor]]:
        if self._file is None:
            return []
        source = f"tokens {self._file}"
        try:
            document = read_document(read_text(self._file))
        except FulcrumError as error:
            raise FulcrumError(f"{source}: {error}") from None
        tokens = checked(_Tokens, document, source)
        return [(bytes.fromhex(one.sha256), Actor(one.name, frozenset(one.scopes))) for one in tokens.actors]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
