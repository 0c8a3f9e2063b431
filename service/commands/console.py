"""`fulcrum console`: pages for people who change the fusion of a service."""

from __future__ import annotations

from typing import Annotated

import typer

from model.terminal import extra


def console(
    url: Annotated[str, typer.Option("--url", help="Where the service listens.")] = "http://127.0.0.1:8000",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of the pages; 0 takes a free one.")
    ] = 8080,
    host: Annotated[str, typer.Option("--host", help="Where the pages listen.")] = "127.0.0.1",
) -> None:
    """Show pages for people: play with weights, propose, activate, roll back, and see how the service is.

    A process of its own, which asks the service over HTTP as anybody does: sign in with a token of the
    service's --tokens file to change something. Open the address that it prints in a browser.
    """
    with extra("console"):
        from service.console.server import run
    run(url, host, port)
