"""The listening socket: bound early, listening late, closed without losing anybody. Knows no HTTP."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import socket
import struct
import sys

from model.errors import FulcrumError

BACKLOG = 2048

_SO_ATTACH_FILTER = 26
_TCP_FLAGS, _SYN = 13, 0x02
_DROP_SYN = (  # classic BPF: code, jump if true, jump if false, operand
    (0x30, 0, 0, _TCP_FLAGS),  # load the byte of the flags
    (0x45, 0, 1, _SYN),  # is SYN among them?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
)


def bind(host: str, port: int) -> socket.socket:
    """A socket that does not listen yet: nobody's connection waits for a service that cannot load.

    Raises:
        FulcrumError: the address is taken, or is none.
    """
    listener = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise FulcrumError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return listener


def listen(listener: socket.socket) -> None:
    """Take connections from now on; harmless where another worker has begun to.

    Raises:
        FulcrumError: somebody else listens there meanwhile.
    """
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise FulcrumError(f"cannot listen on {url_of(listener)}: {error.strerror or error}") from error


def refuse_newcomers(listener: socket.socket) -> None:
    """Begin no more connections, in any process that shares the socket; those begun can still be accepted.

    Closing alone would cut the connections that the kernel holds ready and nobody has accepted. Where the
    system has no such filter, nothing happens, and those are lost.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program)),
        )


def most_connections(wanted: int, other_files: int) -> int:
    """How many connections this process can hold of those wanted.

    Raises the limit of open files, where the system allows, so that it leaves room for `other_files`.
    """
    needed = wanted + other_files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        needed = soft
    return max(1, needed - other_files)


def url_of(listener: socket.socket) -> str:
    """Where it listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
