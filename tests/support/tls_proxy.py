"""TLS 1.3 in front of a port, as a managed Redis has it: session tickets come unasked."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from pathlib import Path

__all__ = ["CERTIFICATE", "TlsProxy"]

CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""Of localhost and 127.0.0.1, signed by itself, with its key: for tests alone, since everybody has it."""


class TlsProxy:
    """Listens until closed."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.load_cert_chain(CERTIFICATE)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        place = f"127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.distrusted = f"rediss://{place}"
        self.url = f"{self.distrusted}?ssl_ca_certs={CERTIFICATE}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(caller, server_side=True) as inside,
            socket.create_connection(("127.0.0.1", self._upstream)) as redis,
        ):
            # One thread for both ways, since a TLS socket is not for two.
            while True:
                ready = [inside] if inside.pending() else select.select([inside, redis], [], [])[0]
                for source, target in ((inside, redis), (redis, inside)):
                    if source in ready:
                        data = source.recv(1 << 16)
                        if not data:
                            return
                        target.sendall(data)
