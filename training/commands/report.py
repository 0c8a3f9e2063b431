"""`fulcrum report`: networks over seeds at equal budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from model.errors import FulcrumError
from model.terminal import Data, answer, extra, print_json


def report(
    recipe: Annotated[str, typer.Option("--recipe", help="A packaged recipe's name, or a YAML file.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the report; given again, the report goes on there.")
    ],
    data: Data = None,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="A,B", help="Networks beside single-task models; all where absent."),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Trainings of each network: the recipe's seed and those after it.")
    ] = 5,
    tasks: Annotated[
        str | None,
        typer.Option("--tasks", metavar="A,B", help="Some of the recipe's tasks; all if absent."),
    ] = None,
    match: Annotated[
        str,
        typer.Option(
            "--match",
            help="What networks have as much of as the recipe's own, by wider or narrower experts: "
            "flops (a row), parameters (of the trunk) or none.",
        ),
    ] = "flops",
    compare: Annotated[
        list[str] | None,
        typer.Option("--compare", metavar="A,B", help="Also the gain of network A over B; may be repeated."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="Processes, one thread each; the usable cores where absent.")
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", help="A run that takes longer is stopped, and told.")
    ] = 10.0,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a recipe value, such as training.epochs=1; network.X is for networks with an X.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what report.json holds.")] = False,
) -> None:
    """Train networks over seeds at equal budgets: does sharing pay, does a seesaw show, for your data?

    Writes report.html, one page that needs nothing else, and report.json. The reference is one network for
    each task, trained alone. Runs are kept one by one: interrupted or given again, only what is missing is
    trained, and more --seeds or --models may be asked for. docs/report.md says how to read it.

        fulcrum report --recipe demo --models cgc,ple,mmoe --seeds 3 --out build/report
    """
    with extra("report"):
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401 (missing after hours of training would be too late)
    with extra("training"):
        from training.commands.report_progress import ReportProgress, report_table
        from training.report.plan import ReportSpec
        from training.report.report import make_report
    if match not in ("flops", "parameters", "none"):
        raise FulcrumError(f"--match {match}: expected flops, parameters or none")
    spec = ReportSpec(
        recipe,
        models=_names(models, "--models"),
        tasks=_names(tasks, "--tasks"),
        seeds=seeds,
        match=match,  # type: ignore[arg-type]
        compare=[_pair(text) for text in compare or ()],
        overrides=override or (),
    )
    with ReportProgress() as observer:
        found = make_report(spec, data, out, jobs=jobs, minutes=minutes, observer=observer)
    if json:
        print_json(found)
        return
    answer.print(report_table(found))
    for sentence in found["findings"]:
        answer.print(f"- {escape(sentence)}", highlight=False, soft_wrap=True)
    if found["departures"]:
        answer.print("Not as the recipe says:", highlight=False)
    for sentence in found["departures"]:
        answer.print(f"- {escape(sentence)}", highlight=False, soft_wrap=True)
    answer.print(f"report {out / 'report.html'}", highlight=False, soft_wrap=True)


def _names(text: str | None, option: str) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise FulcrumError(f"{option} {text!r}: expected names with commas between them, such as a,b")
    return names


def _pair(text: str) -> tuple[str, str]:
    names = _names(text, "--compare") or []
    if len(names) != 2:
        raise FulcrumError(f"--compare {text}: expected two networks, such as ple,mmoe")
    return names[0], names[1]
