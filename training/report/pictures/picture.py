"""What a picture of the report is, and the words and numbers that pictures share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.report.findings.findings import DASH, MINUS, signed

FAR = 6.0
"""What is beyond so many medians is not given room on an axis."""


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


def interval_text(of: Mapping[str, Any]) -> str:
    """`[-.0003, +.0012]`."""
    low, high = of["interval"]
    return f"[{signed(low)}, {signed(high)}]"


def cells(of: Mapping[str, Any]) -> tuple[str, str, str]:
    """A gain, its interval and its verdict."""
    return signed(of["gain"]), interval_text(of), of["verdict"]


def in_words(names: Sequence[str]) -> str:
    """Names in a sentence."""
    if not names:
        return "none"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def padded(cells: Sequence[str], length: int) -> Iterator[str]:
    """As many cells as a row has."""
    yield from (*cells, *[DASH] * (length - len(cells)))


def tick(value: float, _place: int) -> str:
    """A number at an axis, as the page writes numbers."""
    if abs(value) < 1e-12:
        return "0"
    text = f"{abs(value):.5f}".rstrip("0")
    text = text.removeprefix("0") if text.startswith("0.") else text
    return f"{MINUS if value < 0 else ''}{text.rstrip('.')}"
