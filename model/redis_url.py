"""Redis URL: where a Redis is, and how to log in there without showing it. Opens no connection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl

from pydantic import PlainValidator

from model.errors import FulcrumError, listed

_SCHEMES = ("redis", "rediss", "unix")
# "@" may stand in a user or password, and nowhere behind it: so no part of a password is taken for a path.
_LOGIN, _QUERY = r"(?:[^][/?#]*@)?", r"(?:\?(?P<query>[^@#]*))?"
_PORT = r"(?:[0-5]?\d{1,4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_HOST = rf"(?:[\w.-]*|\[[\da-fA-F:.]+\])(?::{_PORT})?"
_URL = re.compile(rf"(?P<scheme>rediss?)://{_LOGIN}(?P<place>{_HOST}(?:/\d*)?){_QUERY}")
_SOCKET = re.compile(rf"(?P<scheme>unix)://{_LOGIN}(?P<place>/[^?#@]*){_QUERY}")

_ANY = ("db", "username", "password", "client_name", "socket_timeout", "health_check_interval")
_TCP = (*_ANY, "socket_connect_timeout", "socket_keepalive")
_TLS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_OPTIONS = {"unix": _ANY, "redis": _TCP, "rediss": (*_TCP, *_TLS)}
"""By scheme. The client takes some more, which would change how it answers."""
_NUMBERS = {
    "db": int,
    "socket_timeout": float,
    "socket_connect_timeout": float,
    "health_check_interval": int,
}


class RedisUrl:
    """`redis://`, `rediss://` (TLS) or `unix://`, as text without user, password and options.

    Attributes:
        secret: the whole URL, for the client alone.

    Raises:
        FulcrumError: it is no Redis URL that the client understands; the message repeats nothing secret.
    """

    def __init__(self, url: str) -> None:
        self.secret = url
        self._shown = _shown(url)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"RedisUrl({self._shown!r})"


def folder_or_redis(place: str | Path | RedisUrl) -> Path | RedisUrl:
    """What names a store or a state: a folder or file, or a Redis.

    Raises:
        FulcrumError: it is neither.
    """
    if not isinstance(place, str):
        return place
    if "://" in place or place.partition(":")[0] in _SCHEMES:
        return RedisUrl(place)
    if not place:
        raise FulcrumError("expected a folder or a Redis URL, found nothing")
    return Path(place)


FolderOrRedis = Annotated[Path | RedisUrl, PlainValidator(folder_or_redis)]


def _shown(url: str) -> str:
    parts = _URL.fullmatch(url) or _SOCKET.fullmatch(url)
    if parts is None or not (url.isascii() and url.isprintable()):
        raise FulcrumError(
            "not a Redis URL; expected redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://... (TLS) or "
            "unix://[USER:PASSWORD@]/PATH, and user and password in letters, digits and percent codes: / is "
            "%2F, # is %23, @ is %40"
        )
    known = _OPTIONS[parts["scheme"]]
    for name, value in parse_qsl(parts["query"] or "", keep_blank_values=True):
        if name not in known:  # not repeated: it may be the rest of a password
            raise FulcrumError(f"unknown option in the Redis URL; known options are {listed(known)}")
        try:
            _NUMBERS.get(name, str)(value)
        except ValueError:
            raise FulcrumError(f"option {name} of the Redis URL: expected a number") from None
    return f"{parts['scheme']}://{parts['place']}"
