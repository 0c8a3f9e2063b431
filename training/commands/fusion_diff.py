"""`fulcrum fusion diff`: what another fusion config would have changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.errors import FulcrumError
from model.files import check_folder
from model.terminal import Json, TokenFile, answer, extra, print_json, progress
from training.commands.fusion_lines import diff_lines
from training.commands.fusion_sides import service_of, side_of
from training.commands.rendering import Rendered

if TYPE_CHECKING:
    from model.fusion import FusionConfig


def diff(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A fusion config, `current`, or a revision's number.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one, or `current`.")],
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="OUT", help="What `fulcrum events join EVENTS --out OUT` wrote."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="With --bundle: folder of a log whose groups are taken for requests."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="In place of --log: a bundle that predicts the rows of its log."),
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(
            "--scene",
            help="Of --log: replay its requests alone; all where absent. Of --bundle: the scene that is "
            "applied; default where absent.",
        ),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            "--reward",
            metavar="EXPRESSION",
            help="What an item is worth, over task names and video_len_s, such as '15 * shr + vtr'; the sum "
            "of all tasks where absent.",
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Items of an answer that are looked at.")] = 10,
    examples: Annotated[
        int, typer.Option("--examples", min=0, help="Requests to show whole: those that change most.")
    ] = 3,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write one HTML page, too.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", help="The service that has the revisions; the one on this machine where absent."
        ),
    ] = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Say what another config would change: the lines, the orders, what moves, what it would be worth.

    With --log, requests are replayed under both. Orders are the service's own, weights of explored requests
    included. What they are worth is what the predictions say: an experiment says what viewers do. `current`
    is the config of the log's newest exposure; with --bundle, the bundle's own.

    Without either, prints the lines that differ; `current` is then what is active in a service, and with it
    as A, the service says what would move over its recent requests. A number is a revision of the service.

        fulcrum fusion diff current mine.yaml --log joined --report diff.html
        fulcrum fusion diff current 18
    """
    if log is None and bundle is None and data is None and report is None:
        if reward is not None:
            raise FulcrumError("--reward is of a replay: give --log OUT, too, or leave it out")
        diff_lines((a, b), url, token_file, scene, top, json)
        return
    _check(log, data, bundle, report)
    if report is not None:
        with extra("report"):
            import jinja2  # noqa: F401 (missing after minutes of replay would be too late)
    with extra("training"):
        from training.commands.fusion_diff_text import printed
        from training.tuning.diff import Wanted, diff_of_data, diff_of_log
        from training.tuning.joined_log import JoinedLog
    wanted = Wanted(reward, top, examples)
    with Rendered() as observer, service_of((a, b), url, token_file) as service:
        if log is not None:
            joined = JoinedLog(log, scene)
            beside = log / "configs"
            before, after = (side_of(name, joined.newest, beside, service) for name in (a, b))
            found = diff_of_log(joined, before, after, wanted, observer)
        elif bundle is not None:
            from model.bundle import load_bundle
            from model.fusion import DEFAULT_SCENE, load_fusion

            loaded = load_bundle(bundle)

            def own() -> FusionConfig:
                return load_fusion(loaded.fusion_path)

            before, after = (side_of(name, own, loaded.path, service) for name in (a, b))
            found = diff_of_data(loaded, data, scene or DEFAULT_SCENE, (before, after), wanted, observer)
    if json:
        print_json(found)
    else:
        printed(found, answer)
    if report is not None:
        from training.report.page.diff import write_diff_page

        try:
            write_diff_page(found, report)
        except OSError as error:
            raise FulcrumError(f"--report {report}: it cannot be written ({error.strerror})") from error
        progress.print(f"page {report}", highlight=False, soft_wrap=True)


def _check(log: Path | None, data: Path | None, bundle: Path | None, report: Path | None) -> None:
    if (log is None) == (bundle is None):
        found = "neither" if log is None else "both"
        raise FulcrumError(f"give --log OUT, or --bundle BUNDLE with --data DIR; found {found}")
    if log is not None and data is not None:
        raise FulcrumError("--data is read with --bundle; with --log, leave it out")
    if report is not None:
        folder = report.absolute().parent
        check_folder(folder, f"--report {report.name} in")
        if not folder.is_dir():
            raise FulcrumError(f"--report {report}: there is no folder {folder}; make it, or name another")
        if report.is_dir():
            raise FulcrumError(f"--report {report}: this is a folder; name a file")
