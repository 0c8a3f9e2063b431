"""The listening socket: errors by name, and an end that loses nobody."""

from __future__ import annotations

import socket
import sys

import pytest

from model.errors import FulcrumError
from service.processes.listener import bind, listen, refuse_newcomers, url_of


def test_bound_is_not_listening():
    with bind("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        listen(listener)
        socket.create_connection(address).close()
        assert url_of(listener) == f"http://127.0.0.1:{address[1]}"


def test_an_address_that_is_none_is_an_error():
    with pytest.raises(FulcrumError, match=r"cannot listen on 203\.0\.113\.1 port 80"):
        bind("203.0.113.1", 80)


def test_who_listens_second_is_told():
    with bind("127.0.0.1", 0) as first, bind("127.0.0.1", first.getsockname()[1]) as second:
        listen(first)
        with pytest.raises(FulcrumError, match=r"cannot listen on http://127\.0\.0\.1:"):
            listen(second)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_who_had_connected_is_accepted_and_who_comes_later_is_not():
    with bind("127.0.0.1", 0) as listener:
        listen(listener)
        address = listener.getsockname()
        with socket.create_connection(address) as early:
            early.sendall(b"first")
            refuse_newcomers(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.2)
            early.sendall(b" and more")
            taken, _ = listener.accept()
            with taken:
                assert taken.recv(5) + taken.recv(20) == b"first and more"
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
