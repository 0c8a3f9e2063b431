"""The page of `fulcrum tune`: one self-contained HTML file, and the diff's page beside it.

Whatever comes from configs, requests and items is escaped; nothing is loaded from anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import yaml

from model.files import replace_file
from training.report.findings.findings import DASH
from training.report.page.charts import Chart, Series, chart, ticks
from training.report.page.diff import write_diff_page
from training.report.page.templates import template
from training.report.page.whiskers import signed, tick, whiskers

PAGE, DIFF, FIGURES = "index.html", "diff.html", "tune.json"


def write_tune_page(said: Mapping[str, Any], diff: Mapping[str, Any], folder: Path) -> None:
    """Write the page, that of the diff, and the numbers of both.

    Args:
        said: what `tuned_report` gives, with `details`.
        diff: what would change.
        folder: that is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_diff_page(diff, folder / DIFF)
    replace_file(folder / FIGURES, orjson.dumps({**said, "diff": diff}, option=orjson.OPT_INDENT_2))
    replace_file(folder / PAGE, render(said, diff).encode())


def render(said: Mapping[str, Any], diff: Mapping[str, Any]) -> str:
    """The page as text."""
    page = template("tune", signed=signed, share=_share, decimal=_decimal)
    of = said["details"]
    candidates = [
        (f"{one['method']}, {one['formula']}", one["gain"], one["interval"]) for one in said["candidates"]
    ]
    behaviours = [(one["name"], one["difference"], one["interval"]) for one in of["behaviours"]]
    segments = [
        (f"{one['feature']} {one['value']}", one["difference"], one["interval"]) for one in of["segments"]
    ]
    return page.render(
        said=said,
        of=of,
        diff=diff,
        by="the reward model" if said["served"] else "what came of the rows",
        forecast=whiskers([("reward", said["forecast"], said["interval"])]),
        candidates=whiskers(candidates),
        behaviours=whiskers(behaviours) if behaviours else None,
        segments=whiskers(segments) if segments else None,
        front=front(of["front"]) if of["front"] else None,
        formulas=formulas(of["front"]),
        sensitivity=list(sensitivity(of["sensitivity"])),
        lengths=lengths(of["lengths"]),
        calibration=list(calibration(of["calibration"])),
        chosen=yaml.safe_dump(said["candidates"][0]["scene"], sort_keys=False, default_flow_style=None),
    )


def front(tried: list[Mapping[str, Any]]) -> Chart:
    """Gains in the reward, up, beside gains in the other behaviour, across; the config in force at 0."""
    series = [
        Series(
            kind, [(one["beside"], one["reward"]) for one in tried if one["formula"] == formula], line=False
        )
        for kind, formula in formulas(tried)
    ]
    across, up = ([one[name] for one in tried] for name in ("beside", "reward"))
    series.append(Series("now", [(0.0, 0.0)], line=False))
    return chart("reward, beside the other", series, ticks(across, tick), ticks(up, tick), size=(520, 300))


def formulas(tried: list[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Formulas of a front, each with its kind of dot."""
    return list(zip(("new", "data"), dict.fromkeys(one["formula"] for one in tried), strict=False))


def sensitivity(parameters: list[Mapping[str, Any]]) -> Iterator[Chart]:
    """A chart per parameter, all with one scale up."""
    gains = [point["gain"] for one in parameters for point in one["points"]]
    for one in parameters:
        points = [(math.log2(point["factor"]), point["gain"]) for point in one["points"]]
        own = [point for point in points if not point[0]]
        yield chart(
            f"{one['name']}  ({one['value']:.3g})",
            [Series("new", points), Series("new", own, line=False)],
            [(-2.0, "¼"), (-1.0, "½"), (0.0, "1"), (1.0, "2"), (2.0, "4")],
            ticks(gains, tick),
        )


def lengths(rows: list[Mapping[str, Any]]) -> Chart | None:
    """The reward of who looks and both factors, by length."""
    if not rows:
        return None
    kinds = (("data", "reward"), ("now", "before"), ("new", "after"))
    series = [
        Series(kind, [(float(at), one[name]) for at, one in enumerate(rows) if one[name] is not None])
        for kind, name in kinds
    ]
    texts = [
        one["length"].replace("below ", "< ").replace(" and more", " +").replace(" to ", "-") for one in rows
    ]
    values = [value for one in series for _, value in one.points]
    return chart(
        "by length",
        series,
        list(enumerate(texts)),
        ticks(values, lambda value: f"{value:.3g}"),
        size=(560, 240),
    )


def calibration(tasks: Mapping[str, Any]) -> Iterator[Chart]:
    """What came of what was shown, up, by the prediction, across."""
    for task, bins in tasks.items():
        if not bins:
            continue
        points = [(one["mean_prediction"], one["mean_label"]) for one in bins]
        most = max(max(point) for point in points)
        axis = ticks([most], lambda value: f"{value:.3g}")
        rule = Series("rule", [(0.0, 0.0), (most, most)])
        yield chart(task, [rule, Series("data", points), Series("data", points, line=False)], axis, axis)


def _share(value: float | None) -> str:
    return DASH if value is None else f"{value:.1%}"


def _decimal(value: float | None) -> str:
    return DASH if value is None else f"{value:.4f}"
