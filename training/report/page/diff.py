"""The page of `fulcrum fusion diff`: one self-contained HTML file. Nothing is loaded from anywhere.

Whatever comes from configs, requests and items is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from model.files import replace_file
from training.report.findings.findings import DASH, MINUS

_LEFT, _RIGHT, _WIDTH, _ROW = 76, 92, 640, 34


@dataclass(frozen=True)
class Line:
    """A row of the picture of changes.

    Attributes:
        name: of the task, or `reward`.
        y: its height.
        x, low, high: the change and its interval across; None without.
        text: the change in words.
        verdict: `more`, `less` or `undecided`.
    """

    name: str
    y: float
    x: float | None
    low: float | None
    high: float | None
    text: str
    verdict: str


@dataclass(frozen=True)
class Picture:
    """Changes in per cent with their intervals, around a line at 0."""

    lines: Sequence[Line]
    zero: float
    width: int
    height: int
    ticks: Sequence[tuple[float, str]]


def write_diff_page(found: Mapping[str, Any], path: Path) -> None:
    """Write the page of a diff."""
    replace_file(path, render(found).encode())


def render(found: Mapping[str, Any]) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("training.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(share=_share, signed=_signed, figure=_figure, decimal=_decimal)
    most = max((max(one["before"], one["after"]) for one in found["lengths"]), default=1.0)
    return environment.get_template("diff.html.j2").render(
        found=found, picture=picture(found), most=most or 1.0
    )


def picture(found: Mapping[str, Any]) -> Picture:
    """Of rates and reward."""
    rows = [*found["rates"].items(), ("reward", found["reward"])]
    ends = [0.0]
    for _, of in rows:
        ends += [end for end in (of["relative"], *of["relative_interval"]) if end is not None]
    low, high = min(ends), max(ends)
    step = _step(max(high - low, 1e-4))
    first, last = int(low // step), -int(-high // step)

    def across(value: float | None) -> float | None:
        inside = _WIDTH - _LEFT - _RIGHT
        return None if value is None else _LEFT + inside * (value / step - first) / max(last - first, 1)

    lines = [
        Line(
            name,
            _ROW * (at + 0.5),
            across(of["relative"]),
            across(of["relative_interval"][0]),
            across(of["relative_interval"][1]),
            _signed(of["relative"]),
            _verdict(of["relative_interval"]),
        )
        for at, (name, of) in enumerate(rows)
    ]
    ticks = [(across(at * step) or 0.0, _tick(at * step)) for at in range(first, last + 1)]
    return Picture(lines, across(0.0) or 0.0, _WIDTH, _ROW * len(lines) + 24, ticks)


def _step(span: float) -> float:
    """A round number that goes two to five times into a span."""
    power = 10.0 ** math.floor(math.log10(span))
    return next(power * part for part in (0.2, 0.5, 1.0, 2.0) if span / (power * part) <= 5.0)


def _tick(value: float) -> str:
    text = f"{100 * value:+.3g}".replace("-", MINUS)
    return f"{text}%" if abs(value) > 1e-12 else "0"


def _verdict(interval: Sequence[float | None]) -> str:
    low, high = interval
    if low is None or high is None:
        return "undecided"
    return "more" if low > 0 else "less" if high < 0 else "undecided"


def _share(value: float | None) -> str:
    return DASH if value is None else f"{value:.1%}"


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{value:+.2%}".replace("-", MINUS)


def _figure(value: float | None) -> str:
    return DASH if value is None else f"{value:.3g}"


def _decimal(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"
