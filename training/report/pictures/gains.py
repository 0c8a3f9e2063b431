"""Gains of all networks, task by task, with their intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from training.report.findings.findings import signed
from training.report.pictures.picture import FAR, Grid, Picture, cells, in_words, metric_name, tick
from training.report.pictures.svg import BETTER, INK, MUTED, PAPER, WORSE, drawn, tidy

_COLOUR = {"better": BETTER, "worse": WORSE, "undecided": MUTED}


def gain_picture(report: Mapping[str, Any], against: str) -> Picture | None:
    """Gains of all networks on all tasks, with intervals.

    Args:
        report: what `report.json` holds.
        against: `gains` (over single-task models) or `against_own`.
    """
    tasks = report["tasks"]
    gains = {
        name: of[against]
        for name, of in report["networks"].items()
        if of[against] is not None and any(one["seeds"] for one in of[against].values())
    }
    if not gains:
        return None
    other = (
        "single-task models"
        if against == "gains"
        else f"the recipe's own network ({report['description']['own']})"
    )
    order = sorted(gains, key=lambda name: _mean_rank(gains, name, tasks))
    columns = len(tasks) if len(tasks) <= 3 else 2
    lines = math.ceil(len(tasks) / columns)
    wide = 1.5 + 2.9 * columns
    tall = 0.27 * len(order)
    high = lines * (tall + 0.8)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
        figure.subplots_adjust(
            left=1.45 / wide,
            right=1 - 0.2 / wide,
            top=1 - 0.35 / high,
            bottom=0.42 / high,
            hspace=0.8 / tall,
            wspace=0.18,
        )
        for axes, task in itertools.zip_longest(grid.flat, tasks):
            if task is None:
                axes.set_visible(False)
                continue
            _forest(axes, task, [gains[name][task["name"]] for name in order], order)

    rows = [(name, *(cell for task in tasks for cell in cells(gains[name][task["name"]]))) for name in order]
    head = ["network"]
    for task in tasks:
        head += [f"{task['name']} gain ({metric_name(task)})", "95 % interval", "verdict"]
    return Picture(
        f"{against.replace('_', '-')}-by-task",
        f"Gain over {other}",
        f"Each dot is a network's mean gain over {other}, each line its 95 % interval, which counts both "
        f"seeds and "
        "test users. Right of zero is better, for errors too (their sign is turned). Coloured, with a "
        "filled dot: the interval lies "
        "wholly on one side of zero, so the verdict is sure; grey and hollow: undecided. The order is by "
        "the mean "
        "rank over tasks. A number at the edge stands for a network that is far outside.",
        f"Dot plot of the gains of {len(order)} networks over {other} on "
        f"{in_words([task['name'] for task in tasks])}. "
        + " ".join(_spoken_gains(task, gains) for task in tasks),
        drawn(f"gain-{against.replace('_', '-')}", (wide, high), draw),
        Grid(tuple(head), tuple(rows)),
    )


def _forest(
    axes: Axes, task: Mapping[str, Any], gains: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> None:
    limit = _limit(gains)
    tidy(axes, grid="x")
    axes.axvline(0, color=INK, linewidth=1)
    for place, of in enumerate(gains):
        if of["gain"] is None:
            axes.text(0, place, "no run", color=MUTED, ha="center", va="center", fontsize=8)
            continue
        low, high = (bound if bound is not None else of["gain"] for bound in of["interval"])
        colour, sure = _COLOUR[of["verdict"]], of["verdict"] != "undecided"
        if abs(of["gain"]) > limit:
            side = math.copysign(1, of["gain"])
            axes.annotate(
                signed(of["gain"]),
                (side * limit, place),
                (side * limit * 0.72, place),
                color=colour,
                fontsize=8,
                ha="right" if side > 0 else "left",
                va="center",
                arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1},
            )
            continue
        axes.plot(np.clip([low, high], -limit, limit), [place, place], color=colour, linewidth=1.6)
        axes.plot(
            [of["gain"]], [place], "o", markersize=5.5, color=colour, mfc=colour if sure else PAPER, mew=1.4
        )
    axes.set_xlim(-limit * 1.04, limit * 1.04)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.spines["left"].set_visible(False)
    axes.set_title(f"{task['name']}: {'AUC' if task['metric'] == 'auc' else 'MSE, sign turned'}")
    axes.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))


def _limit(gains: Sequence[Mapping[str, Any]]) -> float:
    """How far the axis reaches on both sides: to all ends of intervals but those far outside."""
    ends = [abs(end) for of in gains for end in (*of["interval"], of["gain"]) if end is not None]
    if not ends or not max(ends):
        return 1.0
    cut = FAR * float(np.median(ends))
    return float(max((end for end in ends if end <= cut), default=max(ends)))


def _mean_rank(gains: Mapping[str, Any], name: str, tasks: Sequence[Mapping[str, Any]]) -> float:
    ranks = []
    for task in tasks:
        ours = gains[name][task["name"]]["gain"]
        others = [of[task["name"]]["gain"] for of in gains.values()]
        ranks.append(
            len(gains) if ours is None else sum(other is not None and other > ours for other in others)
        )
    return float(np.mean(ranks))


def _spoken_gains(task: Mapping[str, Any], gains: Mapping[str, Any]) -> str:
    sides = {
        verdict: [name for name, of in gains.items() if of[task["name"]]["verdict"] == verdict]
        for verdict in ("better", "worse")
    }
    better, worse = in_words(sides["better"]), in_words(sides["worse"])
    return f"On {task['name']}, surely better: {better}; surely worse: {worse}."
