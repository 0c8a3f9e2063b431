"""Tables: an evaluation's report for people. Knows the report's keys alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

Report = dict[str, Any]

_NONE = "–"  # noqa: RUF001 - an en dash on purpose
_COLOURS = {"better": "green", "worse": "red", "undecided": "dim"}


def summary(report: Report) -> Iterator[RenderableType]:
    """The short answer: each task, the fused score's order, and the comparison where there is one."""
    yield _tasks(report)
    if report["fusion"]:
        yield from _fusion(report["fusion"])
    if report["against"]:
        yield from _against(report["against"])


def details(report: Report) -> Iterator[RenderableType]:
    """The long one: AUC within each grouping, all rows beside each task's own, calibration in bins."""
    yield _groups(report)
    yield _all_rows(report)
    for name, metrics in report["tasks"].items():
        if metrics["deciles"]:
            error = _number(metrics["calibration_error"])
            title = f"{name} by decile of the prediction; expected calibration error {error}"
            yield _bins(title, "predictions", metrics["deciles"])
        if metrics["lengths"]:
            yield _bins(f"{name} by video length", "seconds", metrics["lengths"])


def _tasks(report: Report) -> Table:
    # The group and the first context feature; `details` has the others.
    groupings = list(report["groups"])[:2]
    table = _table("task", "rows", "AUC or MSE [95 %]", *(f"within {name}" for name in groupings))
    table.add_column("log loss", justify="right")
    table.add_column("predicted/observed", justify="right")
    for name, metrics in report["tasks"].items():
        table.add_row(
            name,
            f"{metrics['rows']:,}",
            _scored(metrics),
            *(_within(report["groups"][grouping].get(name)) for grouping in groupings),
            _number(metrics["logloss"]) if "logloss" in metrics else "",
            _number(metrics["calibration"], ".3f"),
        )
    return table


def _fusion(fusion: Report) -> Iterator[RenderableType]:
    ndcg = fusion["ndcg"]
    heading = f"NDCG@{ndcg['k']} [95 %]"
    title = (
        f"reward {ndcg['reward']}, mean {_number(ndcg['mean_reward'])}; within {ndcg['group']}: "
        f"{ndcg['groups']:,} groups, {_share(ndcg['coverage'])} of rows"
    )
    table = _table("order by", heading, "fused score less this [95 %]", "fusion is", title=title)
    table.add_row("fused score", _with_interval(ndcg["fused"]["ndcg"], ndcg["fused"]["interval"]), "", "")
    for task, order in ndcg["tasks"].items():
        less = order["fused_less_this"]
        table.add_row(
            task,
            _with_interval(order["ndcg"], order["interval"]),
            _with_interval(less["difference"], less["interval"], "+z.4f"),
            _verdict(less["verdict"]),
        )
    table.add_row("chance", _number(ndcg["random"]), "", "")
    yield table
    areas = (f"{task} {_number(order['auc'])}" for task, order in fusion["auc_of_score"].items())
    yield f"AUC of the fused score: {', '.join(areas)}"


def _against(against: Report) -> Iterator[RenderableType]:
    title = f"against {against['bundle']['path']}, on the same {against['rows']:,} rows"
    table = _table("task", "metric", "this", "other", "difference [95 %]", "this is", title=title)
    for task, metrics in against["tasks"].items():
        for metric, found in metrics.items():
            table.add_row(task, _METRICS[metric], *_difference(found))
    for metric, found in against["fusion"].items():
        table.add_row("fused score", _METRICS[metric], *_difference(found))
    yield table
    for note in against["notes"]:
        yield f"[yellow]note:[/] {escape(note)}"


_METRICS = {"auc": "AUC", "gauc": "AUC within groups", "logloss": "log loss", "mse": "MSE", "ndcg": "NDCG"}


def _groups(report: Report) -> Table:
    table = _table(
        "within", "task", "AUC [95 %]", "groups of both classes", "of rows", title="AUC within groups"
    )
    for name, tasks in report["groups"].items():
        for task, found in tasks.items():
            area = _with_interval(found["auc"], found["interval"])
            table.add_row(escape(name), task, area, f"{found['groups']:,}", _share(found["coverage"]))
    return table


def _all_rows(report: Report) -> Table:
    title = "on all rows whose label is known, beside the rows that a task is trained on"
    table = _table(
        "task",
        "rows",
        "AUC or MSE [95 %]",
        "within groups",
        "log loss",
        "predicted/observed [95 %]",
        title=title,
    )
    for name, metrics in report["tasks"].items():
        for heading, found in ((f"{name}, its own", metrics), (f"{name}, all", metrics["all_rows"])):
            table.add_row(
                heading,
                f"{found['rows']:,}",
                _scored(found),
                _with_interval(found["gauc"], found["gauc_interval"]) if "gauc" in found else "",
                _number(found["logloss"]) if "logloss" in found else "",
                _with_interval(found["calibration"], found["calibration_interval"], ".3f"),
            )
    return table


def _bins(title: str, heading: str, bins: list[Report]) -> Table:
    errors = "mse" in bins[0]
    table = _table(heading, "rows", "predicted", "observed", "bias [95 %]", title=title)
    if errors:
        table.add_column("MSE [95 %]", justify="right")
    for found in bins:
        table.add_row(
            _range(found),
            f"{found['rows']:,}",
            _number(found["mean_prediction"]),
            _number(found["mean_label"]),
            _with_interval(found["bias"], found["bias_interval"], "+z.4f"),
            *([_with_interval(found["mse"], found["mse_interval"])] if errors else []),
        )
    return table


def _range(found: Report) -> str:
    if "low" in found:
        return f"{_number(found['low'])} to {_number(found['high'])}"
    if found["from_s"] is None:
        return "unknown"
    return (
        f"{found['from_s']:g} and more"
        if found["to_s"] is None
        else f"{found['from_s']:g} to {found['to_s']:g}"
    )


def _difference(found: Report) -> tuple[str, ...]:
    return (
        _number(found["value"]),
        _number(found["other"]),
        _with_interval(found["difference"], found["interval"], "+z.4f"),
        _verdict(found["verdict"]),
    )


def _scored(metrics: Report) -> str:
    key = "auc" if "auc" in metrics else "mse"
    return f"{key.upper()} {_with_interval(metrics[key], metrics[f'{key}_interval'])}"


def _within(found: Report | None) -> str:
    if found is None:
        return ""
    return _NONE if found["auc"] is None else f"{found['auc']:.4f} on {_share(found['coverage'])}"


def _with_interval(value: float | None, interval: list[float | None], shape: str = ".4f") -> str:
    low, high = interval
    if value is None or low is None or high is None:
        return _NONE if value is None else f"{value:{shape}} [{_NONE}]"
    return escape(f"{value:{shape}} [{low:{shape}}, {high:{shape}}]")


def _number(value: float | None, shape: str = ".4f") -> str:
    return _NONE if value is None else f"{value:{shape}}"


def _share(value: float) -> str:
    return f"{value:.1%}" if 0 < value < 0.01 else f"{value:.0%}"


def _verdict(verdict: str) -> str:
    return f"[{_COLOURS[verdict]}]{verdict}[/]"


def _table(first: str, *others: str, title: str | None = None) -> Table:
    table = Table(title=None if title is None else escape(title), title_justify="left", title_style="bold")
    table.add_column(escape(first))
    for heading in others:
        table.add_column(escape(heading), justify="right")
    return table
