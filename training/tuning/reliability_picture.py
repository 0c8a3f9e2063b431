"""Picture of reliability: predicted against observed, without maps and with them. Knows no files of a log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from model.files import fresh_file
from training.metrics.calibration import Bin
from training.tuning.calibrating import TaskMaps

_COLOURS = {"before": "#999999", "after": "#1f77b4"}


def draw(found: Sequence[TaskMaps], path: Path) -> None:
    """Write the picture: a panel per task, on held-out users, with 95 % intervals.

    Args:
        found: maps by task.
        path: `.svg` or `.png`.
    """
    columns = min(2, len(found))
    figure = Figure(figsize=(4.2 * columns, 4.0 * math.ceil(len(found) / columns)), layout="constrained")
    panels = figure.subplots(math.ceil(len(found) / columns), columns, squeeze=False)
    for axes, one in zip(panels.flat, found, strict=False):
        whole = one.whole
        sides: list[tuple[str, Sequence[Bin]]] = [("before", whole.before)]
        if whole.map is not None:
            sides.append(("after", whole.after))
        for name, bins in sides:
            x = [each["mean_prediction"] for each in bins]
            y = [each["mean_label"] for each in bins]
            # The interval is of the bias, prediction less label.
            ends = [
                (each["mean_prediction"] - high, each["mean_prediction"] - low)
                for each in bins
                for low, high in [each["bias_interval"]]
            ]
            axes.vlines(x, [low for low, _ in ends], [high for _, high in ends], _COLOURS[name], alpha=0.5)
            axes.plot(x, y, marker="o", markersize=3, color=_COLOURS[name], label=name)
        axes.axline((0, 0), slope=1, color="#bbbbbb", linewidth=0.8, linestyle="--")
        title = one.task if whole.map is not None else f"{one.task}: {whole.reason}"
        axes.set(title=title, xlabel="predicted", ylabel="observed")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False)
    for axes in panels.flat[len(found) :]:
        axes.set_visible(False)
    with fresh_file(path) as fresh:
        figure.savefig(fresh, format=path.suffix[1:], dpi=110)
