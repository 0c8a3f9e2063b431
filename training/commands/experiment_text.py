"""What `fulcrum experiment` prints of experiments, in 80 columns. Asks nothing.

What others wrote, such as notes, is never taken for more than text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.commands.fusion_diff_text import DASH, moment

Report = Mapping[str, Any]
PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
VERDICTS = {"better": "better", "worse": "worse", "inconclusive": "inconclusive", None: "none yet"}
BUCKETS = 10_000
"""Of a layer. Not imported: a command line that loaded pydantic to print its help would be slow."""
_DAY_MS = 86_400_000
_PLOT = 41
"""Columns of a picture of intervals; odd, so that 0 has one."""
_LOOKS = 14
"""Looks of such a picture."""


def plain(text: str, most: int = 200) -> str:
    """Text on one line, of printable characters alone, of at most so many."""
    line = " ".join(text.split())
    line = "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def part(buckets: float) -> str:
    """Of 10,000, in per cent: `2.5 %`."""
    return f"{100 * buckets / BUCKETS:.3g} %"


def layer_line(layer: Mapping[str, Any]) -> str:
    """A layer, in a line."""
    holdout = f", {part(layer['holdout'])} held out" if layer["holdout"] else ""
    return f"layer {layer['name']}: deals {layer['unit']}s{holdout}; {part(layer['free'])} free"


def head(one: Report) -> Iterator[str]:
    """Where an experiment stands: its state, arms and ramp."""
    last = one["first"] + one["size"] - 1
    yield (
        f"{one['id']}: {one['state']}, edition {one['edition']}, layer {one['layer']}, buckets "
        f"{one['first']} to {last}"
    )
    if one["note"]:
        yield f"  {plain(one['note'])}"
    for arm in one["arms"]:
        share = arm["share"] / BUCKETS
        yield (
            f"  {arm['name']}: {part(arm['share'])} of its units, {part(share * one['ramp'])} of all; "
            f"{arm_text(arm)}"
        )
    yield f"  ramp: {ramp_text(one)}"
    only = [f"scenes {', '.join(one['scenes'])}"] if one.get("scenes") else []
    only += ["a condition on the request"] if one.get("when") else []
    if only:
        yield f"  only {' and '.join(only)}"
    if one.get("overrides"):
        yield f"  testers: {len(one['overrides'])}"
    if outcome := one.get("outcome"):
        yield f"  outcome: {outcome_text(outcome)}"
    if one.get("waits"):
        yield f"  not served by the worker that was asked: {plain(one['waits'])}"


def arm_text(arm: Mapping[str, Any]) -> str:
    """What an arm has."""
    from training.experiments.arm_text import what_it_has

    return plain(what_it_has(arm))


def ramp_text(one: Report, ramp: int | None = None) -> str:
    """How many of its buckets are live."""
    live = one["ramp"] if ramp is None else ramp
    return f"{live:,} of {one['size']:,} buckets, {part(live)} of the layer"


def outcome_text(outcome: Mapping[str, Any]) -> str:
    """How a comparison ended."""
    of = f" ({outcome['arm']})" if outcome.get("arm") else ""
    when = f", {moment(outcome['time_ms'])} UTC" if outcome.get("time_ms") else ""
    by = f", by {plain(outcome['actor'], 30)}" if outcome.get("actor") else ""
    why = f": {plain(outcome['why'])}" if outcome.get("why") else ""
    return f"{outcome['verdict']}{of}{when}{by}{why}"


def units_a_day(one: Report, ramp: int) -> float | None:
    """New units by day of both arms and others, at a ramp, as the last look has them; None without one."""
    look, since = one.get("look"), one.get("since_ms")
    days = 0.0 if look is None or since is None else (look["time_ms"] - since) / _DAY_MS
    if look is None or days <= 0.0:
        return None
    now: float = sum(look["units"].values()) / days
    return now * ramp / int(one["ramp"])


def traffic(one: Report, ramp: int, unit: str) -> Iterator[str]:
    """What another ramp means, in numbers."""
    yield f"  ramp: {ramp_text(one)} -> {ramp_text(one, ramp)}"
    for arm in one["arms"]:
        share = arm["share"] / BUCKETS
        yield f"  {arm['name']}: {part(share * one['ramp'])} -> {part(share * ramp)} of all {unit}s"
    now, then = units_a_day(one, one["ramp"]), units_a_day(one, ramp)
    if now is not None and then is not None:
        yield f"  about {now:,.0f} new {unit}s a day so far; about {then:,.0f} then"


def percent(value: float | None) -> str:
    """A difference."""
    return DASH if value is None or not math.isfinite(value) else f"{value:+.2%}"


def ends(low: float | None, high: float | None) -> str:
    """An interval; a dash where nothing is known."""
    unknown = low is None or high is None or (low <= -1.0 and not math.isfinite(high))
    return DASH if unknown else f"{percent(low)} to {percent(high)}"


def metric_rows(one: Report) -> Iterator[tuple[str, ...]]:
    """By metric and arm: value, difference and interval, the primary first; nothing of unknown metrics."""
    for name, arms in ordered(one):
        if all(found.get("value") is None for found in arms.values()):
            continue
        for arm, found in arms.items():
            value = DASH if found.get("value") is None else f"{found['value']:.4g}"
            yield (
                name if arm == next(iter(arms)) else "",
                arm,
                value,
                percent(found.get("difference")),
                ends(found.get("low"), found.get("high")),
            )


def ordered(one: Report) -> list[tuple[str, Mapping[str, Any]]]:
    """Metrics of the last look, the primary first."""
    look, terms = one.get("look") or {}, one.get("terms") or {}
    metrics: Mapping[str, Any] = look.get("metrics", {})
    return sorted(metrics.items(), key=lambda of: of[0] != terms.get("primary"))


def guardrail_rows(one: Report) -> Iterator[tuple[str, ...]]:
    """By guardrail and arm: the ratio of rates, the e-value and whether it alarms."""
    look, terms = one.get("look") or {}, one.get("terms") or {}
    alphas = {guard["metric"]: guard["alpha"] for guard in terms.get("guardrails", ())}
    for name, arms in look.get("guardrails", {}).items():
        for arm, found in arms.items():
            ratio, e_value = found.get("ratio"), found.get("e_value")
            limit = f" of {1 / alphas[name]:,.0f}" if name in alphas and e_value is not None else ""
            yield (
                name,
                arm,
                DASH if ratio is None else f"{ratio:.3g}",
                DASH if e_value is None else f"{e_value:.3g}{limit}",
                "ALARM" if found["alarm"] else "quiet",
            )


def notes(one: Report) -> Iterator[str]:
    """The rest of the last look: ratio of samples, crossings, verdicts, what happens next."""
    from training.experiments.sample_ratio import expected_text

    look = one.get("look")
    if look is None:
        when = "since it was started" if one.get("since_ms") else "yet"
        yield f"nobody has looked {when}: `fulcrum watch` does"
        return
    if ratio := look.get("sample_ratio"):
        counts = ", ".join(f"{arm} {count:,}" for arm, count in ratio["counts"].items())
        expected = ", ".join(expected_text(count) for count in ratio["expected"].values())
        alarm = "ALARM, arms cannot be compared" if ratio["alarm"] else "as it should be"
        yield f"sample ratio: {counts} units in {ratio['scene']}; expected {expected}: {alarm}"
    if look.get("crossed"):
        yield f"seen in several arms: {look['crossed']:,} units"
    for arm, said in look.get("verdicts", {}).items():
        yield f"{arm}: {VERDICTS[said['verdict']]}; {plain(said['why'])}"
    if look.get("next"):
        yield f"next: {plain(look['next'])}"


def looked(one: Report) -> str:
    """When the last look was, and what it knew."""
    look = one["look"]
    mature = look.get("mature_until_ms")
    until = f", feedback until {moment(mature)} has come" if mature else ""
    of = (one.get("terms") or {}).get("days")
    return (
        f"looked at {moment(look['time_ms'])} UTC: day {look['days']:.1f}{f' of {of:g}' if of else ''}{until}"
    )


def intervals(looks: Sequence[Mapping[str, Any]], metric: str, arm: str) -> list[str]:
    """A picture of an interval over time, a line a look, the newest last.

    Args:
        looks: the oldest first.
        metric: whose difference.
        arm: to the control.
    """
    rows = [(look["time_ms"], look["metrics"].get(metric, {}).get(arm)) for look in looks]
    known = [(at, of) for at, of in rows if of is not None and _finite(of)]
    if len(known) > _LOOKS:
        step = (len(known) - 1) / (_LOOKS - 1)
        known = [known[round(step * at)] for at in range(_LOOKS)]
    if not known:
        return []
    # The first intervals are wide; the later half decides what is seen whole.
    late = known[len(known) // 2 :]
    most = max(max(abs(of[end]) for end in ("low", "high", "difference")) for _, of in late) or 1e-4
    lines = [f"{metric} of {arm} against the control; {percent(-most)} to {percent(most)} across"]
    for at, of in known:
        low, middle, high = (_column(of[end], most) for end in ("low", "difference", "high"))
        cells = [" "] * _PLOT
        cells[_PLOT // 2] = "|"
        for column in range(low, high + 1):
            cells[column] = "+" if column == _PLOT // 2 else "-"
        cells[low], cells[high], cells[middle] = "[", "]", "o"
        lines.append(f"{moment(at)[5:]} {''.join(cells)} {percent(of['difference'])}")
    return lines


def _finite(of: Mapping[str, Any]) -> bool:
    return all(of.get(end) is not None and math.isfinite(of[end]) for end in ("low", "high", "difference"))


def _column(value: float, most: float) -> int:
    place = (value / most + 1.0) / 2.0 * (_PLOT - 1)
    return min(max(round(place), 0), _PLOT - 1)
