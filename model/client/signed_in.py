"""Signed in: the control of a service for a command, with the token of a file or of the environment.

A token is never an argument: other users of the machine see those.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx

from model.client.control import Call, Control, RefusedError, UnreachableError
from model.document import read_text
from model.errors import FulcrumError

TOKEN = "FULCRUM_TOKEN"  # noqa: S105 (the name of a variable)
_MAX_TOKEN_BYTES = 4096


class SignedIn(Control):
    """A `Control` whose errors say where the token is from, and what became of a change without an answer.

    Args:
        url: of the service.
        token_file: holds the token; None for that of the variable FULCRUM_TOKEN, or for none.

    Raises:
        FulcrumError: the file cannot be read, holds no token, or `url` is no address.
    """

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        token, self._source = _token(token_file)
        super().__init__(url, token)

    def send(self, call: Call) -> Any:
        """As `Control.send`."""
        try:
            return super().send(call)
        except RefusedError as error:
            if error.status not in (401, 403):
                raise
            said = f"{error} (token of {self._source})" if self._source else f"{error}; {_NONE}"
            raise RefusedError(said, error.status, error.detail, error.retry_after_s) from None
        except UnreachableError as error:
            if call.body is None or isinstance(error.__cause__, httpx.ConnectError):
                raise
            of = "experiment" if call.path.startswith(("/v1/experiments", "/v1/layers")) else "fusion"
            raise UnreachableError(
                f"{error} It may have been done: see `fulcrum {of} list` before you try again"
            ) from None


_NONE = f"no token was sent: give --token-file FILE, or set {TOKEN}"


def _token(file: Path | None) -> tuple[str | None, str]:
    """The token, and where it is from."""
    if file is None:
        token = os.environ.get(TOKEN)
        return (token, TOKEN) if token else (None, "")
    source = f"--token-file {file}"
    try:
        token = read_text(file, _MAX_TOKEN_BYTES).strip()
    except FulcrumError as error:
        raise FulcrumError(f"{source}: {error}") from None
    if len(token.split()) != 1:
        raise FulcrumError(f"{source}: {len(token.split())} words in it; expected a token and nothing else")
    return token, source
