"""The synthetic seesaw: gain of one network over another as two tasks drift apart.

    python -m benchmarks.seesaw --out build/seesaw [--models ple,mmoe] [--correlations 1,.8,.6] [--seeds 5]

Makes a report of the recipe `correlated` for each correlation p (`fulcrum report`, each in a folder of its
own, so a sweep that is cut short goes on), prints a table and draws `seesaw.svg` with `seesaw.json` beside
it. By the generator of the MMoE paper (Ma et al., KDD 2018, section 3.2): the lower p, the less the tasks
have in common.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import orjson
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from training.commands.report_progress import ReportProgress
from training.report.findings.findings import signed
from training.report.pictures.svg import ACCENT, INK, MUTED, WORSE, drawn, tidy
from training.report.plan import ReportSpec
from training.report.report import make_report

_COLOURS = (ACCENT, WORSE, INK, MUTED)
_PALETTE = """<style>
:root { --ink: #1b1f24; --muted: #5c6670; --grid: #e3e6ea; --paper: #fff;
  --accent: #0072b2; --worse: #c04f00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --muted: #9aa4ae; --grid: #2b3036;
  --paper: #14171a; --accent: #56b4e9; --worse: #f0a04b; } }
</style>"""


def main() -> None:
    """Sweep, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the reports")
    parser.add_argument("--models", default="ple,mmoe", help="the gain of the first over the second")
    parser.add_argument("--correlations", default="1,0.8,0.6,0.4,0.2,0", help="p, with commas between them")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--recipe", default="correlated")
    parser.add_argument("--key", default="data.options.correlation", help="where the recipe has p")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    asked = parser.parse_args()
    ours, theirs = asked.models.split(",")
    points = []
    for correlation in asked.correlations.split(","):
        p = float(correlation)
        spec = ReportSpec(
            asked.recipe,
            models=[ours, theirs],
            seeds=asked.seeds,
            compare=[(ours, theirs)],
            overrides=[f"{asked.key}={p:g}", *asked.overrides],
        )
        with ReportProgress() as observer:
            found = make_report(spec, None, asked.out / f"p{p:g}", jobs=asked.jobs, observer=observer)
        single = {name: found["networks"][name]["gains"] for name in (ours, theirs)}
        points.append(
            {"correlation": p, "tasks": found["comparisons"][0]["tasks"], "over_single_task": single}
        )
    answer = {"models": [ours, theirs], "seeds": asked.seeds, "points": points}
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "seesaw.json").write_bytes(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
    (asked.out / "seesaw.svg").write_text(_picture(answer), encoding="utf-8")
    Console(width=140).print(_table(answer))


def _table(answer: dict[str, Any]) -> Table:
    ours, theirs = answer["models"]
    tasks = list(answer["points"][0]["tasks"])
    columns = [f"{task}: {of}" for task in tasks for of in (f"over {theirs}", "over single-task")]
    table = Table("p", *columns, title=f"Gain of {ours}, more is better", title_justify="left")
    for point in answer["points"]:
        cells = []
        for task in tasks:
            for of in (point["tasks"][task], point["over_single_task"][ours][task]):
                low, high = (signed(end, 5) for end in of["interval"])
                cells.append(f"{signed(of['gain'], 5)} \\[{low}, {high}] {of['verdict']}")
        table.add_row(f"{point['correlation']:g}", *cells)
    return table


def _picture(answer: dict[str, Any]) -> str:
    ours, theirs = answer["models"]
    points = answer["points"]
    tasks = list(points[0]["tasks"])

    def draw(figure: Figure) -> None:
        grid = figure.subplots(1, 2, sharey=True, squeeze=False)[0]
        figure.subplots_adjust(left=0.13, right=0.98, top=0.8, bottom=0.16, wspace=0.08)
        _lines(grid[0], f"{ours} over {theirs}", [point["tasks"] for point in points])
        _lines(grid[1], f"{ours} over single-task models", [p["over_single_task"][ours] for p in points])
        grid[0].set_ylabel("gain (MSE, sign turned)")

    def _lines(axes: Axes, title: str, gains: list[dict[str, Any]]) -> None:
        tidy(axes, grid="y")
        axes.axhline(0, color=INK, linewidth=0.8)
        for place, task in enumerate(tasks):
            colour = _COLOURS[place % len(_COLOURS)]
            x = [point["correlation"] + 0.012 * (place - (len(tasks) - 1) / 2) for point in points]
            for where, of in zip(x, gains, strict=True):
                axes.plot([where, where], of[task]["interval"], color=colour, linewidth=1.6)
            axes.plot(x, [of[task]["gain"] for of in gains], "o-", color=colour, markersize=4, linewidth=0.8)
            axes.text(
                0.02 + 0.2 * place,
                1.03,
                f"● {task}",
                transform=axes.transAxes,
                color=colour,
                va="bottom",
            )
        axes.set_title(title, pad=20)
        axes.set_xlabel("correlation p of the tasks")
        axes.invert_xaxis()

    svg = drawn("seesaw", (8.4, 3.6), draw)
    # By itself, the drawing needs the colours that a page would give it.
    opening, rest = svg.split(">", 1)
    standing = 'xmlns="http://www.w3.org/2000/svg" role="img" font-family="system-ui, sans-serif"'
    opening = opening.replace('aria-hidden="true" focusable="false"', standing)
    return f"{opening}>{_PALETTE}<title>Gain of {ours} over {theirs} by correlation</title>{rest}\n"


if __name__ == "__main__":
    main()
