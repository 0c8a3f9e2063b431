"""`fulcrum console`: what it says of an address or a port that it cannot use."""

from __future__ import annotations

import socket

import pytest

from model.errors import FulcrumError
from service.commands.console import console

pytestmark = pytest.mark.slow  # NiceGUI takes seconds to import, and asks ldconfig for a library


def test_what_is_no_address_is_refused_in_one_line() -> None:
    with pytest.raises(FulcrumError, match=r"not an address of a service; expected such as http://127"):
        console(url="127.0.0.1:8000", port=0, host="127.0.0.1")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            FulcrumError, match=f"cannot listen at 127.0.0.1 port {port}: .*give another --port"
        ):
            console(url="http://127.0.0.1:1", port=port, host="127.0.0.1")
