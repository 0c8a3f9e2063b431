"""`fulcrum tune`: from what was served and what came of it to a fusion config, with a forecast."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.errors import FulcrumError
from model.files import check_folder
from model.terminal import BundlePath, Data, Json, answer, extra, print_json, progress
from training.commands.fusion_sides import CURRENT, side_of
from training.commands.rendering import Rendered

if TYPE_CHECKING:
    from model.bundle import Bundle
    from training.progress import Observer
    from training.tuning.diff import Side
    from training.tuning.examination import Looks
    from training.tuning.parts import Parts
    from training.tuning.tuning import Plan, Tuned

AUTO = "auto"
_PLACES = 10
_KEEP = re.compile(r"(.+)>=\s*([-+]?\d+(?:\.\d+)?)\s*%\s*")


def tune(
    bundle: BundlePath,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where a better config goes; else no file is made.")
    ],
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="OUT", help="What `fulcrum events join EVENTS --out OUT` wrote."),
    ] = None,
    data: Data = None,
    reward: Annotated[
        str | None,
        typer.Option(
            "--reward",
            metavar="EXPRESSION",
            help="What an impression is worth, over labels, columns and video_len_s, such as "
            "'vtr + 15 * is_share'; the recipe's `reward` where absent, or the sum of all labels.",
        ),
    ] = None,
    formula: Annotated[
        str | None,
        typer.Option(
            "--formula", metavar="A,B", help="log_power, weighted_sum, model; all of them where absent."
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="A,B",
            help="auto: least_squares, pairwise, cma_es, trees, as far as they are installed. Also tpe, "
            "random, grid, nsga2, lambdarank.",
        ),
    ] = AUTO,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="'NAME >= X%'",
            help="By how much a predicted rate of what is looked at may change, such as 'cmr >= -1%' or "
            "'vcr * video_len_s >= 0%'. Again for another one.",
        ),
    ] = None,
    front: Annotated[
        str | None,
        typer.Option(
            "--front",
            metavar="EXPRESSION",
            help="Also find what is gained in this beside the reward, such as 'vcr * video_len_s'.",
        ),
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="CONFIG",
            help="The config to beat; `current` is the log's newest, or with --data the bundle's.",
        ),
    ] = CURRENT,
    scene: Annotated[str, typer.Option("--scene", help="Whose requests count.")] = "default",
    examination: Annotated[
        float | None,
        typer.Option(
            "--examination",
            help="Share of those who look at a place that look at the next one, too; of a log it is logged "
            "(`seen`) or modelled where absent, with --data .9.",
        ),
    ] = None,
    open_too: Annotated[
        bool, typer.Option("--open", help="With --log: also impressions whose windows were open when joined.")
    ] = False,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="SQL",
            help="With --data: the rows that judge, such as 'date >= 20220504'; a third of the users where "
            "absent.",
        ),
    ] = None,
    places: Annotated[
        int, typer.Option("--places", min=1, help="With --data: places of an answer.")
    ] = _PLACES,
    trials: Annotated[int, typer.Option("--trials", min=8, help="Orders that each search tries.")] = 280,
    seed: Annotated[int, typer.Option("--seed", help="Of parts, searches and resampled users.")] = 0,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="Remember what each method found; run again, go on."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="Write a page there: index.html.")
    ] = None,
    json: Json = False,
) -> None:
    """Look for a better fusion in what was served and what came of it; write it, if there is one.

    Every method searches the requests of two thirds of the users. The best of what they find is judged once,
    on the others: a config is written where the interval of its forecast is above 0. "Nothing better" is an
    answer, too: no file is written, and the exit status is 0. The log should have explored (`explore:
    {share, noise}` in the config), else the forecast is the reward model's alone.

        fulcrum tune build/bundle --log joined --out fusion.yaml --report build/tuning

    With --data, nothing was served: groups of the bundle's own log are ordered again, by what came of them.
    """
    _check(out, log, data, judge, report, run)
    constraints = kept_rates(keep or ())
    if report is not None:
        with extra("report"):  # missing after minutes of searching would be too late
            from training.report.page.tune import write_tune_page
    with extra("training"):
        from training.commands.tune_text import printed
        from training.tuning.config_file import write_config
        from training.tuning.found_folder import FoundFolder
        from training.tuning.tuned_details import details
        from training.tuning.tuned_report import tuned_report
        from training.tuning.tuning import Plan
        from training.tuning.tuning import tune as tuned_by
    from model.bundle import load_bundle
    from model.fusion import check_tasks, version

    loaded = load_bundle(bundle)
    plan = Plan(
        scene,
        tuple(loaded.task_names),
        None if formula is None else tuple(formula.split(",")),
        None if method == AUTO else tuple(method.split(",")),
        constraints,
        front,
        trials,
        seed,
    )
    plan.runs()  # what is not there is refused before anything is read
    side, folder = _current(against, loaded, log, scene)
    check_tasks(side.config, loaded.task_names, side.name)
    with Rendered() as observer:
        if log is not None:
            parts, looks = _of_log(loaded, log, plan, reward, examination, open_too, observer)
        else:
            wanted = (reward, judge, places, examination)
            parts, looks = _of_data(loaded, data, plan, *wanted, observer)
        same = replace(plan, methods=None, formulas=None)
        settings = repr((same, looks.looks.tolist(), version(side.config)))
        remembered = None if run is None else FoundFolder(run, parts.search, settings)
        found = tuned_by(parts, looks, side, plan, remembered, observer)
        said = tuned_report(found, looks, side, scene)
        better = found.verdict == "better"
        said |= {
            "out": str(out) if better else None,
            "version": version(found.chosen.config) if better else None,
        }
        if better:
            network, config = found.chosen.found.network, found.chosen.config
            networks = dict.fromkeys(found.chosen.found.scorers, network or b"")
            write_config(config, out, _comment(said), folder / "config", networks)
    if json:
        print_json(said)
    else:
        printed(said, answer)
    if report is not None:
        with Rendered() as observer:
            diff = _diff_of(found, side, loaded, (log, data), reward, len(looks.looks), scene, observer)
            page = said | {"details": details(found, looks, side, observer)}
        try:
            write_tune_page(page, diff, report)
        except OSError as error:
            raise FulcrumError(f"--report {report}: it cannot be written ({error.strerror})") from error
        progress.print(f"page {report / 'index.html'}", highlight=False, soft_wrap=True)


def kept_rates(texts: Sequence[str]) -> dict[str, float]:
    """By expression, by how much its mean may change at least: of `NAME >= X%`.

    Raises:
        FulcrumError: a text is not of this form.
    """
    found = {}
    for text in texts:
        match = _KEEP.fullmatch(text)
        if match is None:
            raise FulcrumError(f"--keep {text!r}: expected NAME >= X%, such as 'cmr >= -1%'")
        found[match[1].strip()] = float(match[2]) / 100.0
    return found


def _check(
    out: Path, log: Path | None, data: Path | None, judge: str | None, report: Path | None, run: Path | None
) -> None:
    if log is not None and data is not None:
        raise FulcrumError("--log and --data: give one of them, a joined log or a folder of impressions")
    if log is not None and judge is not None:
        raise FulcrumError("--judge is read with --data; with --log, leave it out")
    check_folder(out.absolute().parent, f"--out {out.name} in")
    if out.is_dir():
        raise FulcrumError(f"--out {out}: this is a folder; name a file")
    for name, folder in (("--report", report), ("--run", run)):
        if folder is not None:
            check_folder(folder, name)


def _current(against: str, bundle: Bundle, log: Path | None, scene: str) -> tuple[Side, Path]:
    """The config to beat, and the folder of its networks."""
    from model.fusion import FusionConfig, load_fusion
    from training.tuning.joined_log import JoinedLog

    def own() -> FusionConfig:
        return load_fusion(bundle.fusion_path)

    newest: Callable[[], FusionConfig] = own if log is None else JoinedLog(log, scene).newest
    home = bundle.path if log is None else log / "configs"
    folder = home if against == CURRENT else Path(against).absolute().parent
    return side_of(against, newest, home), folder


def _of_log(
    bundle: Bundle,
    log: Path,
    plan: Plan,
    reward: str | None,
    examination: float | None,
    open_too: bool,
    observer: Observer,
) -> tuple[Parts, Looks]:
    from training.tuning.examination import looks_of
    from training.tuning.outcomes import read_outcomes
    from training.tuning.parts import parted

    outcomes = read_outcomes(bundle, log, plan.scene, reward, open_too=open_too, observer=observer)
    parts = parted(outcomes, plan.seed)
    return parts, looks_of(parts.search, examination)


def _of_data(
    bundle: Bundle,
    data: Path | None,
    plan: Plan,
    reward: str | None,
    judge: str | None,
    places: int,
    examination: float | None,
    observer: Observer,
) -> tuple[Parts, Looks]:
    from training.tuning.offline import declared_looks, offline_outcomes
    from training.tuning.parts import Parts, check_size, parted

    looks = declared_looks(places, examination)
    if judge is None:
        outcomes = offline_outcomes(bundle, data, plan.scene, reward, observer=observer)
        return parted(outcomes, plan.seed), looks
    searched, verdict = (
        offline_outcomes(bundle, data, plan.scene, reward, where=where, observer=observer)
        for where in (f"NOT ({judge})", judge)
    )
    check_size(verdict, verdict.source)
    return Parts(searched, verdict, f"rows where {judge} judge, the others are searched"), looks


def _comment(said: dict[str, Any]) -> str:
    low, high = said["interval"]
    return (
        f"Tuned by `fulcrum tune` ({said['method']}) on {said['source']}: forecast {said['forecast']:+.2%} "
        f"[{low:+.2%}, {high:+.2%}] of {said['against']['version'][:19]}."
    )


def _diff_of(
    found: Tuned,
    side: Side,
    bundle: Bundle,
    source: tuple[Path | None, Path | None],
    reward: str | None,
    places: int,
    scene: str,
    observer: Observer,
) -> dict[str, Any]:
    """What would change, of orders that explore nothing; the reward counts where it names tasks alone."""
    from training.metrics.reward import check_reward
    from training.preparation.worth import reward_of
    from training.tuning.diff import Side, Wanted, diff_of_data, diff_of_log
    from training.tuning.joined_log import JoinedLog
    from training.tuning.objective import without_exploring

    log, data = source
    networks = {**(side.scorers or {}), **found.chosen.found.scorers}
    before, after = (
        Side(name, without_exploring(config), networks)
        for name, config in ((side.name, side.config), ("what is proposed", found.chosen.config))
    )
    text: str | None = reward_of(bundle.schema, reward)
    try:
        check_reward(text or "", bundle.task_names)
    except FulcrumError:
        text = None  # it names columns, which predictions know nothing of
    wanted = Wanted(text, min(_PLACES, places))
    if log is not None:
        return diff_of_log(JoinedLog(log, scene), before, after, wanted, observer)
    return diff_of_data(bundle, data, scene, (before, after), wanted, observer)
