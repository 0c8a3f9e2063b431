"""What a config would change over the recent requests, as tables. Works on an answer, knows no page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from service.console.play.charts import bin_name
from service.console.words import (
    NOTHING,
    count,
    fixed,
    moment,
    number,
    percent,
    relative,
    signed,
    signed_percent,
)

EMPTY = (
    "No requests seen yet: the service keeps a sample of what it ranks, and shows here what would change. "
    "Send it a ranking, then look again."
)


def table(
    caption: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[str | Markup]],
    *,
    names: int = 1,
    hidden: bool = False,
    blocks: bool = False,
) -> Markup:
    """A table; the first `names` columns are words, the others numbers.

    Args:
        caption: what it is.
        headers: of the columns.
        rows: cells; the first of each names the row.
        names: columns to the left that hold no numbers.
        hidden: whether only screen readers have the caption.
        blocks: whether a row becomes lines where there is little room, each with its column's name; others
            scroll sideways.
    """
    kinds = ["" if at < names else "num" for at in range(len(headers))]
    head = Markup("").join(
        Markup('<th scope="col" class="{}">{}</th>').format(kind, title)
        for kind, title in zip(kinds, headers, strict=True)
    )
    body = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            row[0],
            Markup("").join(
                Markup('<td class="{}" data-label="{}">{}</td>').format(kind, title if blocks else "", cell)
                for kind, title, cell in zip(kinds[1:], headers[1:], row[1:], strict=True)
            ),
        )
        for row in rows
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table class="{}">'
        '<caption class="{}">{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(caption, "blocks" if blocks else "", "hidden" if hidden else "", caption, head, body)


def impact(preview: Mapping[str, Any], top: int) -> Markup:
    """All of it."""
    if not preview.get("requests"):
        return Markup('<p class="empty">{}</p>').format(EMPTY)
    return Markup('{}<div class="tables"><div>{}{}</div>{}</div>').format(
        figures(preview, top), rates(preview), statuses(preview), exposure(preview, top)
    )


def figures(preview: Mapping[str, Any], top: int) -> Markup:
    """The few numbers that count first."""
    return Markup("<dl class='figures'>{}</dl><p class='source'>{}</p>").format(
        Markup("").join(
            Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(title, value)
            for title, value in (
                ("another first", percent(preview["changed_first"])),
                (f"new in the top {top}", percent(preview["changed_top"])),
                ("Kendall tau", fixed(preview["kendall_tau"])),
            )
        ),
        f"Over {count(preview['requests'], 'recent request')} of "
        f"{count(preview['candidates'], 'candidate')}, sampled {moment(preview.get('made_ms'))}; "
        "tau over the first 50.",
    )


def rates(preview: Mapping[str, Any]) -> Markup:
    """Mean predictions of what is shown, before and after."""
    return table(
        "Expected rates of the top places",
        ("task", "before", "after", "difference", "relative"),
        [
            (
                Markup('<span class="cut" title="{}">{}</span>').format(task, task),
                number(one["before"]),
                number(one["after"]),
                _difference(one["before"], one["after"]),
                signed_percent(relative(one["before"], one["after"])),
            )
            for task, one in preview["rates"].items()
        ],
    )


def exposure(preview: Mapping[str, Any], top: int) -> Markup:
    """How long what is shown is, before and after."""
    bins = preview["exposure"]["video_len"]
    most = max([share for one in bins for share in (one["before"], one["after"]) if share] + [1e-12])
    return table(
        f"Share of the top {top} by length",
        ("length", "before", "after", "difference", "before and after"),
        [
            (
                bin_name(one),
                percent(one["before"]),
                percent(one["after"]),
                _points(one["before"], one["after"]),
                _pair(one["before"] or 0.0, one["after"] or 0.0, most),
            )
            for one in bins
        ],
    )


def statuses(preview: Mapping[str, Any]) -> Markup:
    """Whether what is shown had its features, before and after."""
    return table(
        "Share of the top places by status",
        ("status", "before", "after", "difference"),
        [
            (
                one["status"],
                percent(one["before"]),
                percent(one["after"]),
                _points(one["before"], one["after"]),
            )
            for one in preview["exposure"]["status"]
        ],
    )


def in_words(preview: Mapping[str, Any], top: int) -> str:
    """What would change, in a sentence: for who is about to do it."""
    if not preview.get("requests"):
        return "Nobody has asked for a ranking yet, so what it would change cannot be said."
    moved = [
        f"{task} {number(one['before'])} to {number(one['after'])} "
        f"({signed_percent(relative(one['before'], one['after']))})"
        for task, one in preview["rates"].items()
    ]
    return (
        f"Over {count(preview['requests'], 'recent request')}: another item comes first in "
        f"{percent(preview['changed_first'])}, {percent(preview['changed_top'])} of the top {top} are new, "
        f"Kendall tau {fixed(preview['kendall_tau'])}. Expected rates of the top places: {', '.join(moved)}."
    )


def _difference(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return NOTHING
    difference = after - before
    return ("+" if difference > 0.0 else "") + number(difference)


def _points(before: float | None, after: float | None) -> str:
    return NOTHING if before is None or after is None else f"{signed(100.0 * (after - before), 1)} pt"


def _pair(before: float, after: float, most: float) -> Markup:
    return Markup(
        '<svg class="pair" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="before" y="1" width="{:.2f}" height="5"/>'
        '<rect class="after" y="8" width="{:.2f}" height="5"/></svg>'
    ).format(100.0 * before / most, 100.0 * after / most)
