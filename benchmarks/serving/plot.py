"""The plot of a run's result: a call's cost over the bare run, and requests a second. Measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["draw"]

_OURS = [{"color": "#c44", "linewidth": 2.0, "linestyle": style} for style in ("-", "--", "-.", ":")]
_PEERS = [
    {"color": colour, "linewidth": 1.0}
    for colour in ("#1f77b4", "#17becf", "#2ca02c", "#9467bd", "#8c6d31", "#555555", "#bcbd22")
]


def draw(result: dict[str, Any], path: Path) -> None:
    """As SVG; the same result gives the same file."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "fulcrum"
    from matplotlib import pyplot

    bare = result["bare"]["standard"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 3.8), layout="constrained")
    left.axhline(1.0, color="#000", linewidth=0.8, linestyle="--", label="the bare run")
    ours, peers = iter(_OURS), iter(_PEERS)
    for each in result["contenders"].values():
        sizes = [size for size in bare if size in each["calls"]]
        ratios = [each["calls"][size]["p50_ms"] / bare[size]["p50_ms"] for size in sizes]
        style = next(ours if each["ours"] else peers)
        left.plot([int(size) for size in sizes], ratios, marker=".", label=each["what"], **style)
    left.set_xscale("log")
    left.set_xticks([int(size) for size in bare], [f"{int(size):,}" for size in bare])
    left.minorticks_off()
    left.set_ylim(bottom=0)
    left.set_xlabel("candidates")
    left.set_ylabel("p50 of a call over the bare run")
    left.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    size = str(result["open_candidates"])
    rates = {
        each["what"]: (each["saturation"][size]["rps"], each["ours"])
        for each in result["contenders"].values()
        if size in each.get("saturation", {})
    }
    ordered = sorted(rates, key=lambda what: rates[what][0])
    colours = ["#c44" if rates[what][1] else "#999" for what in ordered]
    right.barh(ordered, [rates[what][0] for what in ordered], color=colours)
    right.set_xlabel(f"requests a second on one core, {size} candidates")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
