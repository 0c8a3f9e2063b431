"""`fulcrum events skew`: whether requests were answered from what the data says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from model.errors import FulcrumError
from model.terminal import BundlePath, Data, Json, answer, extra, print_json, print_table


def events_skew(
    bundle: BundlePath,
    events: Annotated[
        Path, typer.Option("--events", help="The folder that `fulcrum serve --events` writes to.")
    ],
    data: Data = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="The key that ids of users are hashed with.",
            envvar="FULCRUM_EVENTS_USER_KEY",
            show_envvar=True,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Recompute logged rows from the data, and name the features that differ.

    A difference is a feature that was computed otherwise for serving than for training, or one that the data
    has newer than the store had. FULCRUM_EXPOSURE_ROWS of the service is the share of answers to compare.
    """
    with extra("training"):
        from training.commands.rendering import Rendered
        from training.datasets import read_source
        from training.events.packed import packed_exposures
        from training.publishing.skew import TOLERANCE, measure_skew
    from model.bundle import load_bundle
    from model.events import EventFolder
    from model.events.pseudonym import pseudonym

    folder = EventFolder(events)
    folder.read_catalogue()
    loaded = load_bundle(bundle)
    with Rendered() as observer:
        source = read_source(loaded.schema, data)
        try:
            skew = measure_skew(
                loaded,
                source,
                packed_exposures(folder),
                (lambda user: pseudonym(user, key)) if key else str,
                observer,
            )
        except (OSError, KeyError) as error:  # Arrow's own errors are among them
            raise FulcrumError(
                f"{events}: cannot be read ({error}); `fulcrum events check` says more"
            ) from error
    if json:
        print_json(asdict(skew))
        return
    answer.print(
        f"{skew.exposures:,} exposures compared; left out: {skew.foreign:,} of other bundles, "
        f"{skew.degraded:,} without features"
    )
    rows = [
        (
            one.name,
            one.side,
            f"{one.differing:,} of {one.rows:,}",
            f"{one.differing / one.rows:.2%}",
            *one.example,
        )
        for one in skew.differing
        if one.example is not None
    ]
    if rows:
        print_table(
            answer, ("feature", "side", "rows that differ", "share", "such as exposure", "id"), rows, 2
        )
    else:
        answer.print("no feature differs")
    answer.print(
        f"predictions within {TOLERANCE:g} of those served: {_share(skew.agreeing, skew.predictions)} from "
        f"the data's rows, {_share(skew.same_rows, skew.predictions)} from the logged rows"
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3%} of {whole:,}" if whole else "none"
