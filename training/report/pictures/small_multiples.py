"""Curves and calibration: a small picture for each network, all on the same axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from training.report.findings.findings import signed
from training.report.pictures.picture import Grid, Picture, metric_name, padded, tick
from training.report.pictures.svg import ACCENT, INK, MUTED, drawn, tidy

_COLUMNS = 4


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
                            *padded(
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
                            *padded([signed(one["bias"]) for one in of["deciles"]], tenths),
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
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


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
