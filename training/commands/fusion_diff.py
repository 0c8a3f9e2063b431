"""`fulcrum fusion diff`: what another fusion config would have changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.errors import FulcrumError
from model.files import check_folder
from model.terminal import Json, answer, extra, print_json, progress
from training.commands.rendering import Rendered

if TYPE_CHECKING:
    from model.fusion import FusionConfig, Scorer
    from training.tuning.diff import Side

CURRENT = "current"


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A fusion config, or `current`.")],
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
    json: Json = False,
) -> None:
    """Replay requests under two configs: whose order changes, what moves, what it would be worth.

    Orders are the service's own, weights of explored requests included. What they are worth is what the
    predictions say: an experiment says what viewers do. `current` is the config of the log's newest exposure;
    with --bundle, the bundle's own.

        fulcrum fusion diff current mine.yaml --log joined --report diff.html
    """
    _check(log, data, bundle, report)
    if report is not None:
        with extra("report"):
            import jinja2  # noqa: F401 (missing after minutes of replay would be too late)
    with extra("training"):
        from training.commands.fusion_diff_text import printed
        from training.tuning.diff import Wanted, diff_of_data, diff_of_log
        from training.tuning.joined_log import JoinedLog
    wanted = Wanted(reward, top, examples)
    with Rendered() as observer:
        if log is not None:
            joined = JoinedLog(log, scene)
            sides = side_of(a, joined.newest, log / "configs"), side_of(b, joined.newest, log / "configs")
            found = diff_of_log(joined, *sides, wanted, observer)
        elif bundle is not None:
            from model.bundle import load_bundle
            from model.fusion import DEFAULT_SCENE, load_fusion

            loaded = load_bundle(bundle)

            def own() -> FusionConfig:
                return load_fusion(loaded.fusion_path)

            sides = side_of(a, own, loaded.path), side_of(b, own, loaded.path)
            found = diff_of_data(loaded, data, scene or DEFAULT_SCENE, sides, wanted, observer)
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


def side_of(name: str, current: Callable[[], FusionConfig], folder: Path) -> Side:
    """A config; the networks of the current one are looked for in the folder."""
    from model.fusion import load_fusion
    from training.tuning.diff import Side

    if name == CURRENT:
        config = current()
        return Side(name, config, _scorers(config, folder))
    path = Path(name)
    config = load_fusion(path)
    return Side(name, config, _scorers(config, path.parent))


def _scorers(config: FusionConfig, folder: Path) -> Mapping[str, Scorer]:
    """Networks of its learned formulas, which lie in this folder."""
    from model.learned_fusion import scorer_of

    found: dict[str, Scorer] = {}
    for name, scene in config.scenes.items():
        try:
            network = scorer_of(scene, folder)
        except FulcrumError as error:
            raise FulcrumError(f"scene {name}: {error}") from error
        if network is not None:
            found[getattr(scene, "sha256")] = network  # noqa: B009 (a learned formula, as it has a network)
    return found
