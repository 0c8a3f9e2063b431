"""Picture of a folder of events: how late feedback of each kind comes, and rates by hour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from model.events.folder import hour_start_ms
from model.files import fresh_file
from training.events.check import LATENESS_S, Checked

_TICKS = {
    0.1: "0.1 s",
    1: "1 s",
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3_600: "1 h",
    86_400: "1 d",
    604_800: "7 d",
}


def draw(checked: Checked, path: Path) -> None:
    """Write the picture.

    Args:
        checked: what was found.
        path: `.svg` or `.png`.
    """
    figure = Figure(figsize=(8, 7), layout="constrained")
    late, rates = figure.subplots(2, 1)
    for name, of in checked.kinds.items():
        if total := int(of.lateness.sum()):
            shares = np.cumsum(of.lateness)[: len(LATENESS_S)] / total
            late.step(
                np.maximum(LATENESS_S, LATENESS_S[1]), shares, where="post", label=f"{name} ({total:,})"
            )
    late.set(
        xscale="log", ylim=(0, 1.02), ylabel="share of events", title="Received within, after it happened"
    )
    late.set_xticks(list(_TICKS), list(_TICKS.values()))
    late.minorticks_off()
    late.yaxis.set_major_formatter("{x:.0%}")
    if late.lines:
        late.legend(fontsize=8, frameon=False)
    hours = np.array([hour_start_ms(name) for name in checked.hours], "datetime64[ms]")
    for at, name in enumerate(("exposures", "feedback on them")):
        rates.plot(hours, [counts[at] for counts in checked.hours.values()], marker=".", label=name)
    rates.set(
        ylim=(0, None), ylabel="per hour (UTC)", title="Exposures, and feedback by the hour of its exposure"
    )
    rates.tick_params("x", rotation=20)
    rates.legend(fontsize=8, frameon=False)
    for axes in (late, rates):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    with fresh_file(path) as fresh:
        figure.savefig(fresh, format=path.suffix[1:], dpi=110)
