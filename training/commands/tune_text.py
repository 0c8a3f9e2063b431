"""What `fulcrum tune` prints, in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from model.terminal import print_table
from training.commands.fusion_diff_text import cut, interval, signed

_MOST = 80


def printed(said: Mapping[str, Any], console: Console) -> None:
    """Print what a tuning found."""
    width, console.width = console.width, min(console.width, _MOST)
    try:
        for line in head(said):
            console.print(line, highlight=False, markup=False)
        columns = ("method", "formula", "gain", "95 %", "s")
        print_table(console, columns, [row(one) for one in said["candidates"]], 1)
        for line in verdict(said):
            console.print(line, highlight=False, markup=False)
    finally:
        console.width = width


def head(said: Mapping[str, Any]) -> Iterator[str]:
    """What was searched, and what could not be."""
    parts = said["parts"]
    yield f"{cut(said['against']['name'], 40)}  {said['against']['version'][:19]}  is to beat"
    yield f"{parts['search']:,} requests are searched, {parts['verdict']:,} judge: {parts['how']}"
    for why, count in said["left_out"].items():
        yield f"{count:,} requests are left out: {why}"
    for method, why in said["failed"].items():
        yield f"{method} is left out: {why}"
    by = "the reward model" if said["served"] else "what came of the rows"
    yield f"Gains by {by}, where they were found, hence optimistic:"


def row(one: Mapping[str, Any]) -> tuple[str, ...]:
    """A candidate."""
    lacking = " (does not keep what is asked)" if one["missed"] else ""
    return (
        one["method"] + lacking,
        one["formula"],
        signed(one["gain"]),
        interval(one["interval"] or (None, None), signed),
        f"{one['seconds']:.0f}",
    )


def verdict(said: Mapping[str, Any]) -> Iterator[str]:
    """The answer, its forecast and its doubts."""
    of = f"{said['formula']} of {said['method']}"
    ends = interval(said["interval"] or (None, None), signed)
    if said["verdict"] == "better":
        yield f"Better: {of}."
    else:
        yield f"Nothing better. The best is {of}:"
        for reason in said["reasons"]:
            yield f"- {reason}"
    yield f"Reward of a request, judged once on others: {signed(said['forecast'])}  [{ends}]"
    if said["doubts"]:
        yield "What may be doubted:"
        for doubt in said["doubts"]:
            yield f"- {doubt}"
    if said["out"] is None:
        yield "No file is written."
    else:
        yield f"{said['out']}  {said['version']}"
