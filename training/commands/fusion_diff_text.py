"""What `fulcrum fusion diff` prints, in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from model.terminal import print_table

DASH = "\u2013"
CHANGES = {
    "first": "another item comes first",
    "changed": "the first {top} change",
    "share": "of the first {top}, items that change",
    "tau_b": "Kendall's tau-b, first 50",
    "rbo": "rank-biased overlap",
}
CALIBRATED_BY = {"after": "by B", "before": "by A", "neither": "no"}
_MOST = 80


def printed(found: Mapping[str, Any], console: Console) -> None:
    """Print a diff."""
    width, console.width = console.width, min(console.width, _MOST)
    try:
        _print(found, console)
    finally:
        console.width = width


def _print(found: Mapping[str, Any], console: Console) -> None:
    for line in head(found):
        console.print(line, highlight=False, markup=False)
    rows = [(name, *cells) for name, *cells in changes(found)]
    print_table(console, ("what changes", "mean", "95 %"), rows, 1)
    print_table(console, ("of an item shown", "A", "B", "change", "95 %", "calibrated"), rates(found), 1)
    console.print(note(found), highlight=False, markup=False)
    if found["movers"]:
        print_table(console, ("item", "top: A", "B", "mean rank: A", "B"), movers(found), 1)
    if found["lengths"]:
        print_table(console, ("length", "share of the top: A", "B"), lengths(found), 1)
    print_table(
        console,
        ("segment", "requests", "first", "items", "reward: A", "B"),
        [(cut(f"{one} {value}", 26), *cells) for one, value, *cells in segments(found)],
        1,
    )
    for example in found["examples"]:
        console.print(example_head(example), highlight=False, markup=False)
        print_table(console, ("item", "A", "B", "length", *predicted(found)), example_rows(example), 1)
    for verdict in found["support"]:
        mark = "[yellow]out of support[/]  " if verdict["outside"] else ""
        console.print(f"- {mark}{escape(verdict['text'])}", highlight=False)


def head(found: Mapping[str, Any]) -> Iterator[str]:
    """What was compared on what."""
    source = found["source"]
    for name, side in (("A", "before"), ("B", "after")):
        of = found[side]
        yield f"{name}  {cut(of['name'], 50)}  {of['version'][:19]}"
    counts = (source["requests"], "request"), (source["candidates"], "candidate"), (found["users"], "user")
    what = ", ".join(counted(*of) for of in counts)
    if source["kind"] == "log":
        yield f"{what}; {moment(source['from_ms'])} to {moment(source['to_ms'])}"
        if source["lacking"]:
            yield f"{source['lacking']:,} requests are left out: their bundle lacks a task"
        if found["answers"]:
            of = found["answers"]
            yield f"of {of['answers']:,} answers that A or B gave, replay gives {of['equal']:,} again"
            if of["equal"] < of["answers"]:
                yield "(perhaps predictions were kept as int16, or replay ran on another processor)"
    else:
        yield f"{what}; groups of {source['group']}, scene {source['scene']}"
    failed = found["failed"]
    if any(failed.values()):
        of = f"A {failed['before']:,}, B {failed['after']:,}"
        yield f"requests that a network failed for, ranked by its fallback: {of}"
    if found["before"]["explores"] != found["after"]["explores"]:
        yield "one of both explores where the other does not: its noise is part of what changes"


def changes(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """By measure: words, mean, interval."""
    for name, words in CHANGES.items():
        of = found["change"][name]
        shown = number if name in ("tau_b", "rbo") else percent
        yield words.format(top=found["top"]), shown(of["mean"]), interval(of["interval"], shown)


def rates(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """By task, and the reward: under A, under B, change, its interval, whose calibration."""
    rows: list[tuple[str, ...]] = []
    for name, of in (*found["rates"].items(), ("reward", found["reward"])):
        by = CALIBRATED_BY[of["calibrated_by"]] if "calibrated_by" in of else ""
        change = signed(of["relative"]), interval(of["relative_interval"], signed)
        rows.append((name, figure(of["before"]), figure(of["after"]), *change, by))
    return rows


def note(found: Mapping[str, Any]) -> str:
    """How to read the rates."""
    return (
        f"means of predictions over the first {found['top']}; reward = {found['reward']['expression']}; "
        "intervals by user, paired"
    )


def movers(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Items whose exposure changes most."""
    return [
        (
            cut(one["item"], 30),
            f"{one['top_before']:,}",
            f"{one['top_after']:,}",
            f"{one['rank_before']:.1f}",
            f"{one['rank_after']:.1f}",
        )
        for one in found["movers"]
    ]


def lengths(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Exposure by length."""
    return [(one["length"], percent(one["before"]), percent(one["after"])) for one in found["lengths"]]


def segments(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Requests by scene and context."""
    return [
        (
            one["feature"],
            one["value"],
            f"{one['requests']:,}",
            percent(one["first"]),
            percent(one["share"]),
            figure(one["before"]),
            figure(one["after"]),
        )
        for one in found["segments"]
    ]


def predicted(found: Mapping[str, Any]) -> list[str]:
    """Names of the predictions of an example's items."""
    return list(found["rates"])


def example_head(example: Mapping[str, Any]) -> str:
    """Which request this is."""
    context = ", ".join(f"{name} {value}" for name, value in example["context"].items())
    where = f"scene {example['scene']}" + (f", {context}" if context else "")
    return f"request {example['request']}: {where}, {counted(example['candidates'], 'candidate')}"


def example_rows(example: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Its items, in B's order."""
    return [
        (
            cut(one["item"], 24),
            str(one["before"]),
            str(one["after"]),
            DASH if one["video_len_s"] is None else f"{one['video_len_s']:.0f} s",
            *(figure(value) for name, value in one.items() if name.startswith("p_")),
        )
        for one in example["items"]
    ]


def counted(count: int, what: str) -> str:
    """A number of things: `1 request`, `2,000 requests`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def number(value: float | None) -> str:
    """Three digits."""
    return DASH if value is None else f"{value:.3f}"


def figure(value: float | None) -> str:
    """Three digits that count."""
    return DASH if value is None else f"{value:.3g}"


def percent(value: float | None) -> str:
    """A share."""
    return DASH if value is None else f"{value:.1%}"


def signed(value: float | None) -> str:
    """A change."""
    return DASH if value is None else f"{value:+.2%}"


def interval(ends: Any, shown: Any) -> str:
    """`low to high`; a dash where it is withheld."""
    return DASH if None in ends else f"{shown(ends[0])} to {shown(ends[1])}"


def moment(time_ms: int) -> str:
    """UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def cut(text: str, most: int) -> str:
    """Its end, where it is longer."""
    return text if len(text) <= most else f"…{text[1 - most :]}"
