"""`fulcrum experiment plan`: how long an experiment takes to find a difference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from model.errors import FulcrumError
from model.terminal import Json, answer, extra, print_json, print_table, progress
from training.commands.experiment_text import PLAIN, part

if TYPE_CHECKING:
    from training.experiments.described import Goal
    from training.experiments.measuring import Measured

_MOST = 80
_DIFFERENCES = (0.02, 0.01, 0.005)


def plan(
    difference: Annotated[
        list[float] | None,
        typer.Option(
            "--difference",
            metavar="D",
            help="To be found, as a fraction of the control's metric: .01; may be repeated.",
            show_default="2 %, 1 % and .5 %",
        ),
    ] = None,
    requests: Annotated[
        float | None,
        typer.Option("--requests", metavar="N", help="A day, of the whole service; the log's where absent."),
    ] = None,
    size: Annotated[
        str, typer.Option("--size", metavar="PART", help="Share of the layer that takes part: 20%.")
    ] = "100%",
    arms: Annotated[int, typer.Option("--arms", min=2, max=20, help="Equal ones, with the control.")] = 2,
    deviation: Annotated[
        float | None,
        typer.Option("--deviation", help="Standard deviation of a request's value by its mean; or --log."),
    ] = None,
    design_effect: Annotated[
        float | None,
        typer.Option("--design-effect", help="How many times as many requests as if they were independent."),
    ] = None,
    design_days: Annotated[
        float | None,
        typer.Option("--design-days", help="Days that it was measured on, where units come again."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="OUT",
            help="Measure these and --requests on what `fulcrum events join` wrote.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="BUNDLE", help="With --log: whose recipe says what a reward is."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", metavar="EXPR", help="With --log: what counts; the recipe's reward if absent."
        ),
    ] = None,
    unit: Annotated[
        str, typer.Option("--unit", help="With --log: what arms are dealt to: user, session or request.")
    ] = "user",
    scene: Annotated[
        str | None, typer.Option("--scene", help="With --log: whose requests count; all where absent.")
    ] = None,
    open_too: Annotated[
        bool,
        typer.Option("--open", help="With --log: also impressions whose windows were open when joined."),
    ] = False,
    before_days: Annotated[
        float,
        typer.Option(
            "--before-days", help="With --log: its first days are known before, and take noise out."
        ),
    ] = 0.0,
    alpha: Annotated[
        float, typer.Option("--alpha", help="Probability of a verdict where all arms are alike.")
    ] = 0.05,
    power: Annotated[float, typer.Option("--power", help="Probability that the difference is found.")] = 0.9,
    json: Json = False,
) -> None:
    """Say how many requests and days it takes to find a difference, however often one looks.

    Most experiments come to a verdict before. Requests of one user are alike, so it takes more of them than
    if they were independent: the design effect. --log measures it on a past period, its users dealt into two
    arms by a coin, along with the deviation and the requests a day.

        fulcrum experiment plan --requests 100000 --deviation .75 --difference .01 --size 20%
        fulcrum experiment plan --log own/joined --bundle own/bundle --size 20% --before-days 7
    """
    from training.experiments.described import parts

    buckets = parts(size, "--size")
    measured = None
    if log is not None:
        measured = _measured(log, bundle, metric, unit, scene, before_days, open_too)
    elif bundle is not None or metric is not None or before_days:
        raise FulcrumError("--bundle, --metric and --before-days go with --log OUT")
    goals = [
        _goal(each, requests, (deviation, design_effect, design_days), power, measured)
        for each in difference or _DIFFERENCES
    ]
    plans = [(goal, goal.planned(buckets, [1.0 / arms] * arms, alpha)) for goal in goals]
    if json:
        print_json(_as_json(plans, measured))
        return
    if measured is not None and measured.days < 1.0:
        _warned(measured, requests)
    for line in _head(goals[0], measured, buckets, arms):
        answer.print(line, **PLAIN)
    rows = [
        (
            f"{goal.difference:+.3g}",
            _count(found.requests),
            _days(found.days),
            f"{found.half_width:.2%}",
            f"{found.error:.5f}",
        )
        for goal, found in plans
    ]
    console = Console(width=min(_MOST, answer.width))
    print_table(console, ("difference", "requests of a pair", "days", "+- then", "planned_error"), rows, 1)
    if any(math.isinf(found.days) for _, found in plans):
        answer.print(
            "never: units differ by more than that, and there are too few of them; deal sessions, take a "
            "covariate (--before-days), or look for a larger difference",
            **PLAIN,
        )


def _measured(
    log: Path,
    bundle: Path | None,
    metric: str | None,
    unit: str,
    scene: str | None,
    before_days: float,
    open_too: bool,
) -> Measured:
    with extra("training"):
        from training.experiments.measuring import measure_log
        from training.experiments.watching.measures import Measures
    if bundle is None and metric is None:
        raise FulcrumError(
            "--log needs --bundle BUNDLE, whose recipe says what a reward is, or --metric EXPR"
        )
    if unit not in ("user", "session", "request"):
        raise FulcrumError(f"--unit {unit}: expected user, session or request")
    schema = None
    if bundle is not None:
        from model.bundle import load_bundle

        schema = load_bundle(bundle).schema
    return measure_log(
        log,
        Measures(schema, metric),
        unit,  # type: ignore[arg-type]
        scene=scene,
        before_days=before_days,
        open_too=open_too,
    )


def _goal(
    difference: float,
    requests: float | None,
    given: tuple[float | None, float | None, float | None],
    power: float,
    measured: Measured | None,
) -> Goal:
    from model.errors import checked
    from training.experiments.described import Goal

    deviation, effect, days = given
    if measured is not None:
        deviation = measured.deviation if deviation is None else deviation
        requests = measured.requests_a_day if requests is None else requests
        if effect is None:
            effect, days = measured.design.value, measured.design.days
    if deviation is None or requests is None:
        raise FulcrumError("expected --requests N and --deviation SD, or --log OUT, which measures them")
    said = {
        "difference": difference,
        "power": power,
        "deviation": deviation,
        "requests": requests,
        "design_effect": 1.0 if effect is None else effect,
        "design_days": days,
    }
    return checked(Goal, said, "plan")


def _head(goal: Goal, measured: Measured | None, buckets: int, arms: int) -> Iterator[str]:
    if measured is not None:
        span = f"{measured.days:.1f} days" if measured.days >= 1.0 else f"{24.0 * measured.days:.2g} hours"
        yield f"measured: {measured.requests:,} requests of {measured.units:,} units in {span}"
    of = f" after {goal.design_days:g} days" if goal.design_days else ""
    yield f"{goal.requests:,.0f} requests a day, of which {part(buckets)} take part, in {arms} arms"
    yield f"deviation {goal.deviation:.3g}, design effect {goal.design_effect:.3g}{of}"


def _warned(measured: Measured, requests: float | None) -> None:
    rate = (
        f"its {measured.requests_a_day:,.0f} requests a day are those of its hours"
        if requests is None
        else ""
    )
    text = f"the log is under a day{': ' * bool(rate)}{rate}"
    progress.print(
        f"[yellow]warning:[/] {text}; how alike the requests of a unit are is not known for days: measure a "
        f"longer log{'' if requests else ', or give --requests N'}",
        highlight=False,
        soft_wrap=True,
    )


def _count(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:,.0f}"


def _days(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:,.1f}"


def _as_json(plans: list[Any], measured: Measured | None) -> dict[str, Any]:
    found = [
        {
            **goal.model_dump(mode="json"),
            "found_with": None if math.isinf(one.requests) else one.requests,
            "days": None if math.isinf(one.days) else one.days,
            "planned_error": one.error,
            "half_width": one.half_width,
        }
        for goal, one in plans
    ]
    return {"plans": found, "measured": None if measured is None else measured.report()}
