"""Tables of a calibration for people: the maps, and how reliable predictions are without and with them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from model.fusion.calibration import CalibrationMap, Platt
from training.metrics.calibration import Bin
from training.tuning.calibrating import TaskMaps

_NONE = "–"  # noqa: RUF001 - an en dash on purpose
_LEADING_ZERO = re.compile(r"(?<!\d)0\.")


def tables(found: Sequence[TaskMaps], *, detail: bool = False) -> Iterator[RenderableType]:
    """What was found, and with `detail` reliability in bins."""
    every = [(one.task, judged) for one in found for judged in (one.whole, *one.segments)]
    maps = _table("task", "where", "events", "change of loss [95 %]", "map", title="maps, on held-out users")
    for task, judged in every:
        change = _NONE
        if judged.loss is not None:
            change = _interval(judged.loss.difference, judged.loss.interval, "+.5f")
        maps.add_row(
            Text(task),
            Text(_where(judged.when)),
            f"{judged.events:,}",
            change,
            Text(judged.reason.partition(":")[0], style="dim") if judged.map is None else _map(judged.map),
        )
    yield maps
    rates = _table(
        "task",
        "where",
        "observed",
        "bias [95 %]",
        "bias with the map",
        title="means, on held-out users",
    )
    for task, judged in every:
        before, after = judged.bias
        if before is None:
            continue
        with_map = _bias(after) if judged.map is not None and after is not None else ""
        rates.add_row(
            Text(task), Text(_where(judged.when)), f"{before['mean_label']:.4f}", _bias(before), with_map
        )
    yield rates
    if not detail:
        return
    for task, judged in every:
        for name, bins in (("without a map", judged.before), ("with the map", judged.after)):
            if bins and (name == "without a map" or judged.map is not None):
                yield _deciles(f"{task}, {_where(judged.when)}, {name}", bins)


def _deciles(title: str, bins: Sequence[Bin]) -> Table:
    table = _table("predictions", "rows", "predicted", "observed", "bias [95 %]", title=title)
    for one in bins:
        table.add_row(
            f"{one['low']:.4f} to {one['high']:.4f}",
            f"{one['rows']:,}",
            f"{one['mean_prediction']:.4f}",
            f"{one['mean_label']:.4f}",
            _bias(one),
        )
    return table


def _where(when: Mapping[str, Any]) -> str:
    if not when:
        return "all rows"
    [(name, test)] = when.items()
    if not isinstance(test, dict):
        return f"{name} {str(test).lower() if isinstance(test, bool) else test}"
    low, high = test.get("from"), test.get("below")
    return (
        f"below {high:g} s"
        if low is None
        else f"from {low:g} s"
        if high is None
        else f"{low:g} to {high:g} s"
    )


def _map(found: CalibrationMap) -> str:
    if isinstance(found, Platt):
        return f"platt {found.a:+.3f} {found.b:.3f} logit"
    return f"isotonic, {len(found.points)} points"


def _bias(one: Bin) -> str:
    return _interval(one["bias"], one["bias_interval"], "+.4f")


def _interval(value: float, ends: tuple[float, float], shape: str) -> str:
    low, high = ends
    within = _NONE if math.isnan(low) or math.isnan(high) else f"{low:{shape}}, {high:{shape}}"
    return escape(_LEADING_ZERO.sub(".", f"{value:{shape}} [{within}]"))


def _table(first: str, *others: str, title: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=escape(title),
        title_justify="left",
        title_style="bold",
    )
    table.add_column(escape(first))
    for heading in others:
        table.add_column(escape(heading))
    return table
