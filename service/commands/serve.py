"""`fulcrum serve`: the HTTP service."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from model.terminal import extra


def serve(
    features: Annotated[
        str | None,
        typer.Option("--features", help="A store that `fulcrum publish` filled: a folder, or redis://..."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="A bundle that `fulcrum train` wrote, served for good.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option("--models", help="A watched folder of bundles: the newest serves, or the activated."),
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Where the activated version is kept: a file or redis://...")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control",
            help="Keep revisions of the fusion, who changed what, and the active bundle: a SQLite file or "
            "redis://...",
        ),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="Who may change something over HTTP: a file of tokens.")
    ] = None,
    fusion: Annotated[
        Path | None, typer.Option("--fusion", help="Fusion config, watched; the bundle's own where absent.")
    ] = None,
    events: Annotated[
        str | None,
        typer.Option("--events", help="Keep what was shown and what came of it: a folder, or kafka://..."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", help="auto, cpu, cuda or openvino; auto where absent.")
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant",
            help="fp32, a variant that the bundle has, such as int8, or auto: the fastest that passed its "
            "gate and suits this machine; fp32 where absent.",
        ),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="127.0.0.1 where absent.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="8000 where absent; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; 1 where absent.")] = None,
) -> None:
    """Serve rankings over HTTP: POST /v1/rank.

    Each option is an environment variable FULCRUM_*, too. docs/service.md lists them, and the settings that
    are only variables: timeouts, limits, feature cache, logs, admin token.
    """
    gc.disable()  # nothing imported is garbage, and looking for it takes a tenth of the start
    with extra("service"):
        from service.server import run
        from service.settings import load_settings
    run(
        load_settings(
            bundle=bundle,
            models=models,
            state=state,
            control=control,
            tokens=tokens,
            features=features,
            fusion=fusion,
            events=events,
            provider=provider,
            variant=variant,
            host=host,
            port=port,
            workers=workers,
        )
    )
