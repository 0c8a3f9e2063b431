"""The seesaw: gain on one task against gain on another, a picture for each pair of tasks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from training.report.findings.findings import seesaw
from training.report.findings.labels import place_labels
from training.report.pictures.picture import FAR, Grid, Picture, cells, metric_name, tick
from training.report.pictures.svg import BETTER, INK, MUTED, PAPER, WORSE, drawn, tidy

_OF_ALL = {
    "better on all": BETTER,
    "better on some": BETTER,
    "undecided": MUTED,
    "seesaw": WORSE,
    "negative transfer": WORSE,
}
_HALO: Any = {"facecolor": PAPER, "alpha": 0.75, "edgecolor": "none", "pad": 0.8}


def seesaw_pictures(report: Mapping[str, Any]) -> list[Picture]:
    """Gain on one task against gain on another, a picture for each pair; VTR against VCR first."""
    tasks = {task["name"]: task for task in report["tasks"]}
    gains = {
        name: of["gains"]
        for name, of in report["networks"].items()
        if of["gains"] is not None and all(one["seeds"] for one in of["gains"].values())
    }
    pairs = sorted(itertools.combinations(tasks, 2), key=lambda pair: pair != ("vtr", "vcr"))
    return [_seesaw(tasks[one], tasks[other], gains) for one, other in pairs] if gains else []


def _seesaw(one: Mapping[str, Any], other: Mapping[str, Any], gains: Mapping[str, Any]) -> Picture:
    a, b = one["name"], other["name"]
    names = list(gains)
    of_a, of_b = [gains[name][a] for name in names], [gains[name][b] for name in names]
    size, left, bottom, right, top = (6.4, 5.2), 0.95, 0.6, 0.15, 0.15
    area = (72 * (size[0] - left - right), 72 * (size[1] - bottom - top))
    frames = _frame(of_a), _frame(of_b)

    def draw(figure: Figure) -> None:
        axes = figure.add_axes(
            (left / size[0], bottom / size[1], area[0] / 72 / size[0], area[1] / 72 / size[1])
        )
        tidy(axes, grid="both")
        axes.axhline(0, color=INK, linewidth=1)
        axes.axvline(0, color=INK, linewidth=1)
        (west, east), (south, north) = frames
        axes.set_xlim(west, east)
        axes.set_ylim(south, north)
        axes.add_patch(Rectangle((0, 0), east, north, color=BETTER, alpha=0.07, linewidth=0))
        axes.add_patch(Rectangle((west, south), -west, -south, color=WORSE, alpha=0.07, linewidth=0))
        corners = {
            "both gain": (0.985, 0.98),
            "both lose": (0.015, 0.02),
            f"seesaw: {b} gains, {a} loses": (0.015, 0.98),
            f"seesaw: {a} gains, {b} loses": (0.985, 0.02),
        }
        taken = []
        for text, (x, y) in corners.items():
            axes.text(
                x,
                y,
                text,
                transform=axes.transAxes,
                ha="right" if x > 0.5 else "left",
                va="top" if y > 0.5 else "bottom",
                color=MUTED,
                fontstyle="italic",
                zorder=4,
                bbox=_HALO,
            )
            wide = 6 * len(text)
            x0, y0 = x * area[0] - (wide if x > 0.5 else 0), y * area[1] - (13 if y > 0.5 else 0)
            taken.append((x0, y0, x0 + wide, y0 + 13))
        points = []
        for x, y in zip(of_a, of_b, strict=True):
            colour = _OF_ALL[seesaw({a: x, b: y})]
            sure = colour != MUTED
            across, along = (_within(of["gain"], frame) for of, frame in zip((x, y), frames, strict=True))
            shown: Any = {"color": colour, "alpha": 0.4, "linewidth": 1.1}
            axes.plot(_ends(x), [along] * 2, **shown)
            axes.plot([across] * 2, _ends(y), **shown)
            inside = (across, along) == (x["gain"], y["gain"])
            face = colour if sure else PAPER
            axes.plot(
                [across], [along], "o" if inside else "D", color=colour, ms=6, mfc=face, mew=1.4, zorder=3
            )
            points.append(
                (area[0] * (across - west) / (east - west), area[1] * (along - south) / (north - south))
            )
        placed = place_labels(points, names, area, size=9, taken=taken)
        for name, point, label in zip(names, points, placed, strict=True):
            if label.far:
                axes.annotate(
                    "",
                    point,
                    (label.x, label.y),
                    xycoords="axes points",
                    textcoords="axes points",
                    arrowprops={
                        "arrowstyle": "-",
                        "color": MUTED,
                        "linewidth": 0.6,
                        "shrinkA": 7,
                        "shrinkB": 3,
                    },
                )
            axes.annotate(
                name,
                (label.x, label.y),
                xycoords="axes points",
                ha="center",
                va="center",
                fontsize=9,
                zorder=4,
                bbox=_HALO,
            )
        for axis, task in ((axes.xaxis, one), (axes.yaxis, other)):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(tick))
            axis.set_label_text(
                f"gain on {task['name']} "
                f"({metric_name(task)}{', sign turned' if task['metric'] == 'mse' else ''})"
            )

    rows = tuple(
        (name, *cells(x), *cells(y), _quadrant(x, y)) for name, x, y in zip(names, of_a, of_b, strict=True)
    )
    counts = {what: sum(row[-1] == what for row in rows) for what in ("both gain", "seesaw", "both lose")}
    return Picture(
        f"seesaw-{a}-{b}",
        f"Seesaw: {a} against {b}",
        f"Each mark is a network: to the right it gains on {a} over single-task models, upwards on {b}. "
        f"Upper right, "
        "both gain; lower left, both lose; in the other two quadrants, one task pays for the other. The "
        "cross is the "
        "95 % interval on each task. Blue: surely better on a task and surely worse on neither; orange: "
        "surely worse on one; "
        "grey and hollow: undecided. A line may go on beyond the frame; a diamond at the edge stands for a "
        "network that is far outside.",
        f"Scatter plot of {len(names)} networks, gain on {a} against gain on {b}: by their means, "
        f"{counts['both gain']} gain on both, {counts['seesaw']} on one only, {counts['both lose']} on none.",
        drawn(f"seesaw-{a}-{b}", size, draw),
        Grid(
            (
                "network",
                f"{a} gain",
                "95 % interval",
                "verdict",
                f"{b} gain",
                "95 % interval",
                "verdict",
                "quadrant of the means",
            ),
            rows,
        ),
    )


def _frame(gains: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The ends of an axis: around all gains but those far outside, and around zero."""
    values = [of["gain"] for of in gains]
    cut = FAR * float(np.median(np.abs(values)))
    kept = [value for value in values if abs(value) <= cut] or values
    widths = [of["interval"][1] - of["interval"][0] for of in gains if of["interval"][0] is not None]
    low, high = min(0.0, *kept), max(0.0, *kept)
    reach = max(high - low, 0.3 * float(np.median(widths)) if widths else 0.0) or 1.0
    return min(low - 0.2 * reach, -0.35 * reach), max(high + 0.2 * reach, 0.35 * reach)


def _within(value: float, frame: tuple[float, float]) -> float:
    """A value, or the place near the frame that stands for what is outside."""
    low, high = frame
    return min(max(value, low + 0.03 * (high - low)), high - 0.03 * (high - low))


def _ends(of: Mapping[str, Any]) -> list[float]:
    return [of["gain"] if end is None else end for end in of["interval"]]


def _quadrant(x: Mapping[str, Any], y: Mapping[str, Any]) -> str:
    up = (x["gain"] > 0) + (y["gain"] > 0)
    return ("both lose", "seesaw", "both gain")[up]
