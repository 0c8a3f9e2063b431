"""A TCP proxy that does harm on purpose: what a network and a sick server can do to an answer."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from typing import Literal

__all__ = ["Fault", "FaultyProxy"]

Fault = Literal["none", "refuse", "reset", "hang", "slow", "cut", "garble"]

_RESET = struct.pack("ii", 1, 0)


class FaultyProxy:
    """Stands before a port.

    Attributes:
        fault: what happens to answers from now on. none: nothing. refuse: nobody listens. reset: connections
            are reset at the first answer. hang: answers are held back until the fault changes. slow: they
            come `slow_s` later. cut: half an answer, then the end. garble: some bytes are others.
        upstream: the port, of connections that come.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self._random = random.Random(7)
        self._fault: Fault = "none"
        self._sockets: set[socket.socket] = set()
        self._closed = False
        self.slow_s = 0.2
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"

    @property
    def fault(self) -> Fault:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        was, self._fault = self._fault, fault
        if fault == "refuse" and was != "refuse":
            self._stop_listening()
            self._drop_all()
        elif was == "refuse" and fault != "refuse":
            self._listener = self._listen(self.port)

    def close(self) -> None:
        self._closed = True
        self._stop_listening()
        self._drop_all()

    def _stop_listening(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=512)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _drop_all(self) -> None:
        for each in list(self._sockets):
            self._drop(each)

    def _drop(self, each: socket.socket) -> None:
        self._sockets.discard(each)
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.upstream))
            except OSError:
                caller.close()
                continue
            for each in (caller, server):
                # Else the end of an answer waits 40 ms for an acknowledgement: a fault that nobody asked for.
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets |= {caller, server}
            threading.Thread(target=self._ask, args=(caller, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, caller), daemon=True).start()

    def _ask(self, caller: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := caller.recv(1 << 16):
                server.sendall(data)
        self._drop(server)

    def _answer(self, server: socket.socket, caller: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if not self._deliver(data, caller):
                    break
        self._drop(caller)

    def _deliver(self, data: bytes, caller: socket.socket) -> bool:
        while self._fault == "hang" and not self._closed:
            time.sleep(0.005)
        match self._fault:
            case "slow":
                time.sleep(self.slow_s)
            case "reset":
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return False
            case "cut":
                caller.sendall(data[: max(1, len(data) // 2)])
                return False
            case "garble":
                broken = bytearray(data)
                for _ in range(max(1, len(data) // 50)):
                    broken[self._random.randrange(len(broken))] = self._random.randrange(256)
                data = bytes(broken)
        caller.sendall(data)
        return True
