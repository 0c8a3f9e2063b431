"""One recent request under two configs: places and terms. Works on an answer, knows no page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from service.console.play.charts import SERIES, extent, stacked
from service.console.play.impact import EMPTY
from service.console.play.why import name_of, terms_of
from service.console.words import NOTHING, count, decimals, fixed, number

_COLUMNS = (
    ("place", "num"),
    ("moved", ""),
    ("was", "num"),
    ("item", ""),
    ("length", "num"),
    ("score", "num"),
    ("sum", "num"),
    ("terms", "wide"),
)


def request_table(preview: Mapping[str, Any]) -> Markup:
    """The request's items as the edited config orders them, with the places that they had."""
    if not preview.get("requests") or not preview.get("after"):
        return Markup('<p class="empty">{}</p>').format(EMPTY)
    after, places = preview["after"], places_before(preview)
    shown = [terms_of(item) for item in after]
    names = list(dict.fromkeys(name for terms in shown for name in terms))
    colours = {name: at for at, name in enumerate(names)}
    low, high = extent(shown)
    sums = [sum(terms.values()) for terms in shown if terms]
    digits = decimals((max(sums) - min(sums)) / 10.0 if sums else 0.0)  # neighbours differ visibly
    rows = Markup("").join(
        _row(item, places.get(item["candidate"]), len(preview["before"]), terms, low, high, colours, digits)
        for item, terms in zip(after, shown, strict=True)
    )
    head = Markup("").join(
        Markup('<th scope="col" class="{}">{}</th>').format(kind, title) for title, kind in _COLUMNS
    )
    return Markup(
        '{}<div class="scroll" tabindex="0" role="region" aria-label="The request under both configs">'
        '<table class="items"><caption class="hidden">The request as the edited config orders it</caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>{}"
    ).format(_legend(colours), head, rows, _gone(preview))


def _gone(preview: Mapping[str, Any]) -> Markup:
    """Those that are not among the first any more."""
    after = {item["candidate"] for item in preview["after"]}
    named = [
        Markup('<span class="cut" title="{}">{}</span> ({})').format(
            name_of(item), name_of(item), item["rank"]
        )
        for item in preview["before"]
        if item["candidate"] not in after
    ]
    if not named:
        return Markup("")
    return Markup('<p class="source">No longer among them: {}.</p>').format(Markup(", ").join(named))


def places_before(preview: Mapping[str, Any]) -> dict[int, int]:
    """By candidate: its place under the active config, from 1, as far as the answer says it."""
    moved = {one["candidate"]: int(one["before"]) for one in preview.get("movers") or ()}
    return moved | {item["candidate"]: int(item["rank"]) for item in preview["before"]}


def arrow(before: int | None, after: int, most: int) -> Markup:
    """How a place changed."""
    if before == after:
        return Markup('<span class="same">=<span class="hidden"> stays</span></span>')
    up = before is None or before > after
    steps = f"from below {most}" if before is None else str(abs(before - after))
    shown = Markup('<span class="hidden"> {}</span>').format(steps) if before is None else f" {steps}"
    return Markup('<span class="{}">{}<span class="hidden"> {}</span>{}</span>').format(
        "up" if up else "down",
        "\N{BLACK UP-POINTING TRIANGLE}" if up else "\N{BLACK DOWN-POINTING TRIANGLE}",
        "up" if up else "down",
        shown,
    )


def _row(
    item: Mapping[str, Any],
    before: int | None,
    most: int,
    terms: Mapping[str, float],
    low: float,
    high: float,
    colours: Mapping[str, int],
    digits: int,
) -> Markup:
    name, seconds = name_of(item), item.get("video_len_s")
    status = (
        Markup("")
        if item["status"] == "ok"
        else Markup(' <span class="status">{}</span>').format(item["status"].replace("_", " "))
    )
    return Markup(
        '<tr><td class="num">{}</td><td class="moved">{}</td><td class="num">{}</td>'
        '<th scope="row"><span class="cut" title="{}">{}</span>{}</th><td class="num">{}</td>'
        '<td class="num">{}</td><td class="num">{}</td><td class="wide">{}</td></tr>'
    ).format(
        item["rank"],
        arrow(before, int(item["rank"]), most),
        before if before is not None else f"> {most}",
        name,
        name,
        status,
        NOTHING if seconds is None else f"{number(seconds)} s",
        number(item["score"], 3),
        fixed(sum(terms.values()), digits) if terms else "",
        stacked(terms, low, high, colours, digits) if terms else "",
    )


def _legend(colours: Mapping[str, int]) -> Markup:
    return Markup('<ul class="legend" aria-label="Terms">{}</ul>').format(
        Markup("").join(
            Markup('<li><span class="swatch s{}"></span>{}</li>').format(at % SERIES, name)
            for name, at in colours.items()
        )
    )


def request_name(preview: Mapping[str, Any]) -> str:
    """Which of them it is."""
    segment = (preview.get("segments") or {}).get("after")
    parts = [
        f"request {preview['pick'] + 1:,} of {preview['requests']:,}",
        f"scene {preview['scene']}" + (f", segment {segment}" if segment else ""),
        count(len(preview["after"]), "item"),
    ]
    return ", ".join(parts)
