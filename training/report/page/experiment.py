"""The page of `fulcrum experiment status --report`: one self-contained HTML file.

Whatever comes from people, such as notes, is escaped; nothing is loaded from anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined

from model.experiments import BUCKETS
from model.files import replace_file
from training.experiments.arm_text import what_it_has
from training.experiments.sample_ratio import expected_text
from training.experiments.shown import shown
from training.report.findings.findings import DASH
from training.report.page.charts import Chart, Series, chart, ticks
from training.report.page.whiskers import Ends, Whiskers, signed, tick, whiskers
from training.report.pictures.picture import Grid

PAGE, FIGURES = "index.html", "experiment.json"
Report = Mapping[str, Any]
_HOUR_MS = 3_600_000


def write_experiment_page(found: Report, folder: Path, ended: str = "") -> None:
    """Write the page of what `GET /v1/experiments/{id}` says, and that itself.

    Args:
        found: the answer, with its looks.
        folder: that is made.
        ended: how its comparison ended, as the audit has it; empty where that is not known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / FIGURES, orjson.dumps(found, option=orjson.OPT_INDENT_2))
    replace_file(folder / PAGE, render(found, ended).encode())


def render(found: Report, ended: str = "") -> str:
    """The page as text."""
    found = shown(found)
    environment = Environment(
        loader=PackageLoader("training.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(moment=_moment, part=_part)
    return environment.get_template("experiment.html.j2").render(
        one=found,
        ended=ended,
        look=found.get("look"),
        terms=found.get("terms") or {},
        verdicts=_verdicts(found),
        differences=differences(found),
        values=_values(found),
        intervals=list(intervals(found, found.get("looks", ()))),
        guardrails=_guardrails(found),
        ratio=_ratio(found),
        arms=_arms(found),
        ramps=_ramps(found),
        terms_table=_terms(found),
        looks=len(found.get("looks", ())),
    )


def differences(found: Report) -> Whiskers | None:
    """Of every metric and arm at the last look, the primary metric first; None before there are any."""
    rows: list[tuple[str, float | None, Ends | None]] = []
    several = len(found["arms"]) > 2
    for name, arms in _metrics(found):
        for arm, of in arms.items():
            ends = (of.get("low"), of.get("high"))
            if of.get("difference") is not None and _known(ends):
                rows.append((f"{name}, {arm}" if several else name, of["difference"], ends))
    return whiskers(rows) if rows else None


def intervals(found: Report, looks: Sequence[Mapping[str, Any]]) -> Iterator[Chart]:
    """The interval of each metric and arm over time, the primary metric first and wide."""
    start = found.get("since_ms") or (looks[0]["time_ms"] if looks else 0)
    primary = (found.get("terms") or {}).get("primary")
    for name, arms in _metrics(found):
        for arm in arms:
            rows = [(look["time_ms"], look["metrics"].get(name, {}).get(arm)) for look in looks]
            known = [
                ((at - start) / _HOUR_MS / 24.0, of["low"], of["difference"], of["high"])
                for at, of in rows
                if of is not None
                and of.get("difference") is not None
                and _known((of.get("low"), of.get("high")))
            ]
            if len(known) > 1:
                yield _over_time(f"{name}, {arm} against the control", known, name == primary)


def _over_time(title: str, known: list[tuple[float, float, float, float]], wide: bool) -> Chart:
    # The first intervals are wide; the later half decides what is seen whole.
    late = known[len(known) // 2 :]
    most = 1.25 * max(max(abs(low), abs(high)) for _, low, _, high in late)

    def inside(value: float) -> float:
        return min(max(value, -most), most)

    lows = [(at, inside(low)) for at, low, _, _ in known]
    highs = [(at, inside(high)) for at, _, _, high in known]
    middle = [(at, inside(value)) for at, _, value, _ in known]
    last = known[-1][0]
    series = [
        Series("band", [*lows, *reversed(highs)]),
        Series("rule", [(0.0, 0.0), (last, 0.0)]),
        Series("new", middle),
    ]
    up = [(at, text) for at, text in ticks([-most, most], tick) if abs(at) <= most * 1.001]
    across = ticks([last], lambda day: f"{day:g} d")
    return chart(
        title, series, [one for one in across if one[0] <= last], up, size=(560, 240) if wide else (320, 200)
    )


def _metrics(found: Report) -> list[tuple[str, Mapping[str, Any]]]:
    """Of the last look, the primary first, without the control."""
    control, primary = found["arms"][0]["name"], (found.get("terms") or {}).get("primary")
    metrics = (found.get("look") or {}).get("metrics", {})
    rows = [(name, {arm: of for arm, of in arms.items() if arm != control}) for name, arms in metrics.items()]
    return sorted(rows, key=lambda row: row[0] != primary)


def _known(ends: Ends) -> bool:
    return all(end is not None and math.isfinite(end) for end in ends)


def _verdicts(found: Report) -> Grid | None:
    look = found.get("look")
    if not look or not look.get("verdicts"):
        return None
    rows = [(arm, said["verdict"] or "none yet", said["why"]) for arm, said in look["verdicts"].items()]
    return Grid(("arm", "verdict", "why"), tuple(rows))


def _values(found: Report) -> Grid | None:
    look = found.get("look")
    if not look:
        return None
    rows = []
    for name, arms in look["metrics"].items():
        for arm, of in arms.items():
            ends = (of.get("low"), of.get("high"))
            between = f"{signed(ends[0])} to {signed(ends[1])}" if _known(ends) else DASH
            value = DASH if of.get("value") is None else f"{of['value']:.5g}"
            rows.append((f"{name}, {arm}", value, signed(of.get("difference")), between))
    return Grid(("metric and arm", "value", "difference", "95 %, at any look"), tuple(rows)) if rows else None


def _guardrails(found: Report) -> Grid | None:
    look, terms = found.get("look"), found.get("terms") or {}
    if not look or not look.get("guardrails"):
        return None
    guards = {guard["metric"]: guard for guard in terms.get("guardrails", ())}
    rows = []
    for name, arms in look["guardrails"].items():
        guard = guards.get(name, {})
        for arm, of in arms.items():
            rows.append(
                (
                    f"{name}, {arm}",
                    f"{guard.get('harm', DASH)} by more than {guard.get('margin', 0.0):.3g}",
                    DASH if of.get("ratio") is None else f"{of['ratio']:.3g}",
                    DASH if of.get("e_value") is None else f"{of['e_value']:.3g}",
                    DASH if not guard else f"{1 / guard['alpha']:,.0f}",
                    "worse" if of["alarm"] else "quiet",
                )
            )
    head = ("guardrail and arm", "harm", "by the control", "e-value", "alarm from", "says")
    return Grid(head, tuple(rows))


def _ratio(found: Report) -> Grid | None:
    ratio = (found.get("look") or {}).get("sample_ratio")
    if not ratio:
        return None
    rows = [
        (arm, f"{count:,}", expected_text(ratio["expected"][arm])) for arm, count in ratio["counts"].items()
    ]
    return Grid(("arm", f"units in {ratio['scene']}", "expected"), tuple(rows))


def _arms(found: Report) -> Grid:
    units = (found.get("look") or {}).get("units", {})
    rows = []
    for arm in found["arms"]:
        share = arm["share"] / BUCKETS
        seen = f"{units[arm['name']]:,}" if arm["name"] in units else DASH
        rows.append((arm["name"], _part(arm["share"]), _part(share * found["ramp"]), seen, what_it_has(arm)))
    return Grid(("arm", "share", "of all", "units so far", "what it has"), tuple(rows))


def _ramps(found: Report) -> Grid | None:
    rows = [
        (
            _part(step["to"]),
            f"{step.get('hours', 0):g} h",
            f"{step.get('units', 0):,}",
            "done" if step["to"] <= found["ramp"] else "to come",
        )
        for step in found.get("ramps", ())
    ]
    return Grid(("live", "hours after the step before", "units an arm", ""), tuple(rows)) if rows else None


def _terms(found: Report) -> Grid | None:
    terms = found.get("terms")
    if not terms:
        return None
    rows = [
        ("primary metric", terms["primary"]),
        *((f"metric {name}", text) for name, text in terms.get("metrics", {}).items()),
        ("days", f"{terms['days']:g}"),
        ("error planned for", f"{terms['planned_error']:.3g}"),
        ("alpha of the verdict", f"{terms.get('alpha', 0.05):g}"),
        ("days before that are known", f"{terms.get('before_days', 0):g}"),
        ("slow answers take longer than", f"{terms.get('slow_ms', 100):g} ms"),
        ("where an arm is better", str(found.get("on_better", "pause"))),
    ]
    return Grid(("term", "value"), tuple(rows))


def _part(buckets: float) -> str:
    return f"{100 * buckets / BUCKETS:.3g} %"


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
