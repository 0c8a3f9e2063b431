"""Pictures: what the report shows, each with a caption that says how to read it and a table of its numbers.

From `report.json` to SVG. Knows neither runs nor how a page is put together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from training.report.findings import DASH, MINUS, seesaw, signed
from training.report.labels import place_labels
from training.report.svg import ACCENT, BETTER, INK, MUTED, PAPER, WORSE, drawn, tidy

__all__ = [
    "Grid",
    "Picture",
    "calibration_pictures",
    "curve_pictures",
    "gain_picture",
    "seesaw_pictures",
    "utilisation_pictures",
]

_COLOUR = {"better": BETTER, "worse": WORSE, "undecided": MUTED}
_OF_ALL = {
    "better on all": BETTER,
    "better on some": BETTER,
    "undecided": MUTED,
    "seesaw": WORSE,
    "negative transfer": WORSE,
}
_FAR = 6.0
_HALO: Any = {"facecolor": PAPER, "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
_COLUMNS = 4


@dataclass(frozen=True)
class Grid:
    """A table: its heading cells and its rows, whose first cell heads the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: its id.
        title: a short one.
        caption: how to read it.
        spoken: what it shows, for those who do not see it.
        svg: the drawing.
        table: its numbers.
    """

    name: str
    title: str
    caption: str
    spoken: str
    svg: str
    table: Grid


def metric_name(task: Mapping[str, Any]) -> str:
    """As people write it."""
    return "AUC" if task["metric"] == "auc" else "MSE"


def interval(of: Mapping[str, Any]) -> str:
    """`[-.0003, +.0012]`."""
    low, high = of["interval"]
    return f"[{signed(low)}, {signed(high)}]"


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

    rows = [(name, *(cell for task in tasks for cell in _cells(gains[name][task["name"]]))) for name in order]
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
        f"Dot plot of the gains of {len(order)} networks over {other} on {_and([t['name'] for t in tasks])}. "
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
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))


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
            axis.set_major_formatter(FuncFormatter(_tick))
            axis.set_label_text(
                f"gain on {task['name']} "
                f"({metric_name(task)}{', sign turned' if task['metric'] == 'mse' else ''})"
            )

    rows = tuple(
        (name, *_cells(x), *_cells(y), _quadrant(x, y)) for name, x, y in zip(names, of_a, of_b, strict=True)
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
    cut = _FAR * float(np.median(np.abs(values)))
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


def curve_pictures(report: Mapping[str, Any], what: str) -> list[Picture]:
    """By epoch, a small picture for each network, single-task models behind each.

    Args:
        report: what `report.json` holds.
        what: `metric` (of the validation rows) or `loss` (of the training rows).
    """
    found = []
    for task in report["tasks"]:
        bands = {
            name: of["curves"][task["name"]][what]
            for name, of in report["networks"].items()
            if of["curves"][task["name"]][what]
        }
        if not bands:
            continue
        kind = metric_name(task) if what == "metric" else ("log loss" if task["kind"] == "binary" else "MSE")
        rows_of = "validation" if what == "metric" else "training"
        last = {name: band[-1] for name, band in bands.items()}
        found.append(
            Picture(
                f"curves-{what}-{task['name']}",
                f"{task['name']}: {rows_of} {kind} by epoch",
                f"The line is the mean over seeds of {task['name']}'s {kind} on the {rows_of} rows, the "
                f"band reaches from "
                "the lowest to the highest seed. The dashed line is single-task models'. All share their "
                "axes. "
                + (
                    "Epochs that early stopping left out are not drawn."
                    if what == "metric"
                    else "Dropout is on while it is measured."
                ),
                f"Small line charts of {kind} on {rows_of} rows by epoch for {len(bands)} networks; in the "
                f"last epoch " + ", ".join(f"{name} {band['mean']:.4f}" for name, band in last.items()) + ".",
                _small_multiples(
                    f"curves-{what}-{task['name']}",
                    bands,
                    lambda axes, name, bands=bands: _band(
                        axes, bands[name], bands.get("single-task") if name != "single-task" else None
                    ),
                    "epoch",
                ),
                Grid(
                    ("network", *(f"epoch {e}" for e in range(1, max(len(b) for b in bands.values()) + 1))),
                    tuple(
                        (
                            name,
                            *_padded(
                                [f"{point['mean']:.4f}" for point in band],
                                max(len(b) for b in bands.values()),
                            ),
                        )
                        for name, band in bands.items()
                    ),
                ),
            )
        )
    return found


def _band(axes: Axes, band: Sequence[Mapping[str, Any]], single: Sequence[Mapping[str, Any]] | None) -> None:
    epochs = [point["epoch"] for point in band]
    if single:
        axes.plot(
            [point["epoch"] for point in single],
            [point["mean"] for point in single],
            "--",
            color=MUTED,
            linewidth=1,
        )
    axes.fill_between(
        epochs,
        [point["low"] for point in band],
        [point["high"] for point in band],
        color=ACCENT,
        alpha=0.25,
        linewidth=0,
    )
    axes.plot(
        epochs, [point["mean"] for point in band], "-" if len(band) > 1 else "o", color=ACCENT, linewidth=1.6
    )
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def calibration_pictures(report: Mapping[str, Any]) -> list[Picture]:
    """By task, a small picture for each network: predicted less observed in tenths of the predictions."""
    found = []
    for task in report["tasks"]:
        bins = {
            name: of["calibration"][task["name"]]
            for name, of in report["networks"].items()
            if of["calibration"][task["name"]]
        }
        if not bins:
            continue
        tenths = max(len(of["deciles"]) for of in bins.values())
        found.append(
            Picture(
                f"calibration-{task['name']}",
                f"{task['name']}: calibration by decile",
                f"Validation rows in tenths of {task['name']}'s prediction, lowest first: the dot is the "
                f"mean prediction less the "
                "mean label, the line its 95 % interval over users. On the zero line, predictions mean "
                "what they say; above, "
                "they promise too much. Seeds are pooled. All share their axes.",
                f"Small charts of prediction less label by decile for {len(bins)} networks; expected "
                f"calibration errors: "
                + ", ".join(f"{name} {of['error']:.4f}" for name, of in bins.items())
                + ".",
                _small_multiples(
                    f"calibration-{task['name']}",
                    bins,
                    lambda axes, name, bins=bins: _deciles(axes, bins[name]["deciles"]),
                    "decile",
                ),
                Grid(
                    (
                        "network",
                        "calibration error",
                        *(f"decile {number}" for number in range(1, tenths + 1)),
                    ),
                    tuple(
                        (
                            name,
                            f"{of['error']:.4f}",
                            *_padded([signed(one["bias"]) for one in of["deciles"]], tenths),
                        )
                        for name, of in bins.items()
                    ),
                ),
            )
        )
    return found


def _deciles(axes: Axes, bins: Sequence[Mapping[str, Any]]) -> None:
    axes.axhline(0, color=INK, linewidth=0.8)
    for place, of in enumerate(bins, 1):
        low, high = of["bias_interval"]
        if low is not None:
            axes.plot([place, place], [low, high], color=ACCENT, linewidth=1.4, alpha=0.6)
        axes.plot([place], [of["bias"]], "o", color=ACCENT, markersize=3.2)
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def utilisation_pictures(report: Mapping[str, Any]) -> list[Picture]:
    """What each network's gates choose: a heat map for each network that has gates."""
    found = []
    for name, of in report["networks"].items():
        used = of["utilisation"]
        if not used:
            continue
        gates = used["gates"]
        experts = {
            level: sorted(
                dict.fromkeys(e for gate in gates if gate["level"] == level for e in gate["experts"]),
                key=lambda expert: expert.startswith("shared "),
            )
            for level in sorted({gate["level"] for gate in gates})
        }
        found.append(
            Picture(
                f"utilisation-{name}",
                f"{name}: what gates choose",
                "Each row is a gate, named by the task that reads it; each cell the share that it gives an "
                "expert: mean over validation rows and "
                f"over {used['seeds']} {'seed' if used['seeds'] == 1 else 'seeds'}, and below it the "
                f"standard deviation over "
                "rows (±). Darker is more. Empty: the gate does not see this expert. Experts of one kind "
                "are in the order of their use in each seed, "
                "so number 1 is the most used.",
                f"Heat map of gate weights of {name}. " + " ".join(_spoken_gate(gate) for gate in gates),
                _heat_maps(f"utilisation-{name}", gates, experts),
                Grid(
                    ("gate", "level", "expert", "mean weight", "deviation over rows", "deviation over seeds"),
                    tuple(
                        (
                            gate["reader"],
                            str(gate["level"]),
                            expert,
                            f"{mean:.3f}",
                            f"{deviation:.3f}",
                            f"{spread:.3f}",
                        )
                        for gate in gates
                        for expert, mean, deviation, spread in zip(
                            gate["experts"], gate["mean"], gate["deviation"], gate["spread"], strict=True
                        )
                    ),
                ),
            )
        )
    return found


def _heat_maps(name: str, gates: Sequence[Mapping[str, Any]], experts: Mapping[int, Sequence[str]]) -> str:
    cell, left, above = (0.62, 0.42), 1.2, 0.8
    readers = {level: [gate for gate in gates if gate["level"] == level] for level in experts}
    high = sum(above + cell[1] * len(of) for of in readers.values()) + 0.1
    wide = left + cell[0] * max(map(len, experts.values())) + 0.35

    def draw(figure: Figure) -> None:
        top = high
        for level, names in experts.items():
            rows = readers[level]
            bottom = top - above - cell[1] * len(rows)
            axes = figure.add_axes(
                (left / wide, bottom / high, cell[0] * len(names) / wide, cell[1] * len(rows) / high)
            )
            tidy(axes)
            for row, gate in enumerate(rows):
                for expert, mean, deviation in zip(
                    gate["experts"], gate["mean"], gate["deviation"], strict=True
                ):
                    column = names.index(expert)
                    axes.add_patch(
                        Rectangle(
                            (column + 0.03, row + 0.04),
                            0.94,
                            0.92,
                            facecolor=ACCENT,
                            alpha=0.06 + 0.6 * mean,
                            linewidth=0,
                        )
                    )
                    axes.text(column + 0.5, row + 0.38, _share(mean), ha="center", va="center", fontsize=9)
                    axes.text(
                        column + 0.5,
                        row + 0.74,
                        f"±{_share(deviation)}",
                        ha="center",
                        va="center",
                        fontsize=7,
                    )
            axes.set_xlim(0, len(names))
            axes.set_ylim(len(rows), 0)
            axes.xaxis.tick_top()
            axes.set_xticks(
                [place + 0.5 for place in range(len(names))], names, rotation=35, ha="left", fontsize=8
            )
            axes.set_yticks([place + 0.5 for place in range(len(rows))], [gate["reader"] for gate in rows])
            axes.tick_params(axis="x", pad=1)
            for spine in axes.spines.values():
                spine.set_visible(False)
            figure.text(
                0.08 / wide, (top - 0.28) / high, f"level {level}", color=MUTED, va="center", fontsize=9
            )
            top = bottom

    return drawn(name, (wide, high), draw)


def _small_multiples(name: str, of: Mapping[str, Any], draw_one: Any, across: str) -> str:
    names = list(of)
    columns = min(_COLUMNS, len(names))
    lines = math.ceil(len(names) / columns)
    wide, high = 0.7 + 1.95 * columns, 0.45 + 1.45 * lines

    def draw(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        figure.subplots_adjust(
            left=0.7 / wide,
            right=1 - 0.08 / wide,
            top=1 - 0.25 / high,
            bottom=0.48 / high,
            hspace=0.36,
            wspace=0.1,
        )
        for place, axes in enumerate(grid.flat):
            if place >= len(names):
                axes.set_visible(False)
                continue
            tidy(axes, grid="y")
            draw_one(axes, names[place])
            axes.set_title(names[place], fontsize=9)
            if place + columns >= len(names):
                axes.tick_params(labelbottom=True)
                axes.set_xlabel(across, fontsize=9)

    return drawn(name, (wide, high), draw)


def _limit(gains: Sequence[Mapping[str, Any]]) -> float:
    """How far the axis reaches on both sides: to all ends of intervals but those far outside."""
    ends = [abs(end) for of in gains for end in (*of["interval"], of["gain"]) if end is not None]
    if not ends or not max(ends):
        return 1.0
    cut = _FAR * float(np.median(ends))
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


def _cells(of: Mapping[str, Any]) -> tuple[str, str, str]:
    return signed(of["gain"]), interval(of), of["verdict"]


def _spoken_gains(task: Mapping[str, Any], gains: Mapping[str, Any]) -> str:
    sides = {
        verdict: [name for name, of in gains.items() if of[task["name"]]["verdict"] == verdict]
        for verdict in ("better", "worse")
    }
    return f"On {task['name']}, surely better: {_and(sides['better'])}; surely worse: {_and(sides['worse'])}."


def _spoken_gate(gate: Mapping[str, Any]) -> str:
    shares = ", ".join(
        f"{expert} {mean:.0%}" for expert, mean in zip(gate["experts"], gate["mean"], strict=True)
    )
    return f"Level {gate['level']}, gate of {gate['reader']}: {shares}."


def _and(names: Sequence[str]) -> str:
    if not names:
        return "none"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _padded(cells: Sequence[str], length: int) -> Iterator[str]:
    yield from (*cells, *[DASH] * (length - len(cells)))


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0") if value < 0.995 else "1.0"


def _tick(value: float, _place: int) -> str:
    if abs(value) < 1e-12:
        return "0"
    text = f"{abs(value):.5f}".rstrip("0")
    text = text.removeprefix("0") if text.startswith("0.") else text
    return f"{MINUS if value < 0 else ''}{text.rstrip('.')}"
