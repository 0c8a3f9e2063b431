"""Lanes: a layer's 10,000 buckets from left to right, with the runs that experiments hold. Knows no page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from model.experiments import BUCKETS
from service.console.experiments.words import buckets, is_live, state, units
from service.console.play.charts import SERIES
from service.console.words import isolated

_LEAST = 15.0
"""Buckets that a run is wide at the least, so that it is seen."""

Report = Mapping[str, Any]


def lanes(layers: Sequence[Mapping[str, Any]], experiments: Sequence[Report]) -> Markup:
    """A lane for each layer, with its names below: full colour is live, pale is held, hatched is held out.

    Args:
        layers: as GET /v1/experiments has them.
        experiments: of all layers, in any order.
    """
    return Markup("").join(
        _lane(
            layer,
            sorted(
                (one for one in experiments if one["layer"] == layer["name"] and one["state"] != "stopped"),
                key=lambda one: one["first"],
            ),
        )
        for layer in layers
    )


def _lane(layer: Mapping[str, Any], held: Sequence[Report]) -> Markup:
    drawn = [_run(one, f"s{at % SERIES}") for at, one in enumerate(held)]
    names = [
        Markup('<li><span class="swatch s{}"></span><bdi>{}</bdi> {}</li>').format(
            at % SERIES, one["id"], _in_words(one)
        )
        for at, one in enumerate(held)
    ]
    if layer["holdout"]:
        drawn.append(_rect("holdout", BUCKETS - layer["holdout"], layer["holdout"], "holdout"))
        names.append(
            Markup('<li><span class="swatch holdout"></span>holdout {}</li>').format(
                buckets(BUCKETS - layer["holdout"], layer["holdout"])
            )
        )
    says = "; ".join(
        [
            f"Layer {layer['name']}, 10,000 buckets of {units(layer['unit'])}",
            *(f"{isolated(one['id'])} {_in_words(one)}" for one in held),
            *([f"the last {layer['holdout']:,} are held out"] if layer["holdout"] else []),
            f"{layer['free']:,} are free",
        ]
    )
    return Markup(
        '<h3><bdi>{}</bdi> <span class="muted">of {}, {} of 10,000 buckets free</span></h3>'
        '<svg class="lane" viewBox="0 0 {} 24" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
        '<div class="lane-ends" aria-hidden="true"><span>0</span><span>2,500</span><span>5,000</span>'
        '<span>7,500</span><span>10,000</span></div><ul class="legend">{}</ul>'
    ).format(
        layer["name"],
        units(layer["unit"]),
        f"{layer['free']:,}",
        BUCKETS,
        says,
        Markup("").join(drawn),
        Markup("").join(names),
    )


def _run(one: Report, colour: str) -> Markup:
    says = f"{one['id']} {_in_words(one)}"
    held = _rect(f"{colour} held {one['state']}", one["first"], one["size"], says)
    return held + _rect(colour, one["first"], one["ramp"], says) if is_live(one) else held


def _rect(kind: str, first: int, size: int, says: str) -> Markup:
    width = max(float(size), _LEAST)
    return Markup(
        '<rect class="{}" x="{:.0f}" y="1" width="{:.0f}" height="22"><title>{}</title></rect>'
    ).format(kind, min(float(first), BUCKETS - width), width, says)


def _in_words(one: Report) -> str:
    live = f", {one['ramp']:,} live" if is_live(one) else ""
    return f"{buckets(one['first'], one['size'])}{live}: {state(one)}"
