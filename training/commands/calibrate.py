"""`fulcrum calibrate`: maps from predictions to what was observed, and the fusion config with them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from model.errors import FulcrumError
from model.files import check_folder
from model.terminal import BundlePath, Data, Json, answer, extra, print_json
from training.commands.rendering import Rendered


class MapKind(StrEnum):
    """Kinds of maps."""

    auto = "auto"
    platt = "platt"
    isotonic = "isotonic"


def calibrate(
    bundle: BundlePath,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the fusion config with the maps goes.")
    ],
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="OUT", help="A joined log: predictions as served, what came of them."),
    ] = None,
    data: Data = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="NAME",
            help="Other maps for segments: video_len for buckets of the length, or a context feature.",
        ),
    ] = None,
    kind: Annotated[
        MapKind,
        typer.Option("--kind", help="auto: isotonic where it beats Platt's on held-out users."),
    ] = MapKind.auto,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks", metavar="A,B", help="These alone; all probabilities and shares where absent."
        ),
    ] = None,
    fusion: Annotated[
        Path | None,
        typer.Option("--fusion", metavar="FILE", help="The config to fill in; the bundle's where absent."),
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(
            "--scene", metavar="NAME", help="This one alone; all log_power and weighted_sum where absent."
        ),
    ] = None,
    open_too: Annotated[
        bool,
        typer.Option("--open", help="With --log: also impressions whose windows were open when joined."),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", help="Write a reliability diagram there: reliability.svg."),
    ] = None,
    detail: Annotated[bool, typer.Option("--detail", help="Print reliability in bins, too.")] = False,
    json: Json = False,
) -> None:
    """Fit maps from predictions to what was observed; write a fusion config with those worth having.

    A map is kept where it beats its absence on users that it was not fitted on. Where none does, that is
    printed, no file is written, and the exit status is 0.
    """
    if log is not None and data is not None:
        raise FulcrumError("--log and --data: give one of them, a joined log or a folder of impressions")
    check_folder(out.absolute().parent, f"--out {out.name} in")
    if out.is_dir():
        raise FulcrumError(f"--out {out}: this is a folder; name a file")
    if report is not None:
        check_folder(report, "--report")
    with extra("training"):
        from training.commands.calibration_tables import tables
        from training.tuning.calibrating import VIDEO_LEN, chosen_tasks, fill, find_maps
        from training.tuning.config_file import write_config
        from training.tuning.logged_predictions import check_feature, logged_predictions, made_predictions
    from model.bundle import load_bundle
    from model.fusion import check_tasks, load_fusion, version

    loaded = load_bundle(bundle)
    feature = None if by in (None, VIDEO_LEN) else by
    check_feature(loaded.schema, feature)
    chosen = chosen_tasks(loaded.schema.tasks, tasks.split(",") if tasks is not None else [])
    source = fusion or loaded.fusion_path
    config = load_fusion(source)
    check_tasks(config, loaded.task_names, source)
    if scene is not None and scene not in config.scenes:
        raise FulcrumError(f"--scene {scene}: {source} has the scenes {', '.join(config.scenes)}")
    with Rendered() as observer:
        if log is not None:
            predicted = logged_predictions(loaded, log, feature, open_too=open_too, observer=observer)
        else:
            predicted = made_predictions(loaded, data, feature, observer=observer)
        found = find_maps(predicted, chosen, kind.value, by, observer)
    if report is not None:
        with extra("report"):
            from training.tuning.reliability_picture import draw
        report.mkdir(parents=True, exist_ok=True)
        draw(found, report / "reliability.svg")
    mapped = [one.task for one in found if one.calibration is not None]
    written: list[str] = []
    if mapped:
        config, written = fill(config, found, scene)
        comment = f"{', '.join(mapped)}: calibrated by `fulcrum calibrate` on {predicted.source}."
        write_config(config, out, comment, source)
    if json:
        print_json(
            {
                "verdict": "better" if mapped else "nothing_better",
                "rows": len(predicted),
                "source": predicted.source,
                "tasks": {one.task: one.report() for one in found},
                "scenes": written,
                "out": str(out) if mapped else None,
                "version": version(config) if mapped else None,
            }
        )
        return
    for part in tables(found, detail=detail):
        answer.print(part, highlight=False)
    if not mapped:
        answer.print("Nothing better: no map beats the predictions as they are. No file is written.")
        return
    answer.print(
        escape(f"{out}  {version(config)}  calibrates {', '.join(mapped)} in {', '.join(written)}"),
        highlight=False,
        soft_wrap=True,
    )
