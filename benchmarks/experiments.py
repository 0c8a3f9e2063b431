"""Experiments whose truth is known: false alarms, power, sample ratios, guardrails and layers, by simulation.

Users are the synthetic world's, each with sessions that its viewers had (`experiment_bank`); what a better or
a worse arm does to what they bring is put in by hand. Each row says what was found, with an interval
(Wilson's of shares, normal ones of means), and the bound.

    python -m benchmarks.experiments [--only aa --only power ...] [--json]
"""

from __future__ import annotations

import json as jsons
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.experiment_bank import Audience, Bank, Floats
from model.experiments import Arm, Assigner, Experiment, Experiments, Layer, arms_of
from training.experiments import (
    ArmSums,
    Covariate,
    DesignEffect,
    Difference,
    by_counts,
    by_mean,
    difference,
    plan,
    sample_ratio,
)
from training.experiments.guardrails import divergence

LOOKS, ALPHA, GUARD = 28, 0.05, 0.005
PLANNED = 0.01
"""Standard error that a guardrail by the mean is planned for."""
BEFORE_DAYS = 14.0
"""Of the weeks before, which CUPED goes by."""


@dataclass(frozen=True)
class Row:
    """What was measured: a value, its 95 % interval, and whether it keeps its bound."""

    what: str
    found: float
    low: float
    high: float
    bound: str = ""
    kept: bool | None = None


def share(what: str, hits: int, of: int, bound: str = "", kept: bool | None = None) -> Row:
    """A share with Wilson's interval."""
    p, z2 = float(hits / of), 1.96**2
    middle, half = p + z2 / 2 / of, 1.96 * math.sqrt(p * (1 - p) / of + z2 / 4 / of**2)
    low, high = max(middle - half, 0.0) / (1 + z2 / of), (middle + half) / (1 + z2 / of)
    return Row(f"{what} ({hits} of {of:,})", p, low, high, bound, None if kept is None else bool(kept))


def mean(what: str, values: list[float], bound: str = "", most: float = math.inf) -> Row:
    """A mean with a normal interval."""
    found, half = float(np.mean(values)), 1.96 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Row(what, found, found - half, found + half, bound, bool(found - half <= most) if bound else None)


class Course:
    """An experiment on users that goes on: what each brought since it began, and before.

    Args:
        audience: whose users take part.
        rng: deals them to arms.
    """

    def __init__(self, audience: Audience, rng: np.random.Generator) -> None:
        self._audience = audience
        self.treated = rng.random(audience.users) < 0.5
        before = audience.days(BEFORE_DAYS, "reward", "requests")
        self._before = [Covariate(*(one[self.treated == side] for one in before)) for side in (False, True)]
        self.requests, self.reward, self.shares, self.squares = (np.zeros(audience.users) for _ in range(4))

    def go_on(self, days: float) -> Floats:
        """More days; what was shared in them [U]."""
        found = self._audience.days(days, "requests", "reward", "shares", "squares")
        for name, more in zip(("requests", "reward", "shares", "squares"), found, strict=True):
            setattr(self, name, getattr(self, name) + more)
        return found[2]

    def arms(self, value: Floats, *, cuped: bool = False, effect: float = 0.0) -> tuple[ArmSums, ArmSums]:
        """A metric by request; the effect is upon the treated arm."""
        found = []
        for side in (False, True):
            mine = self.treated == side
            count = self.requests[mine]
            came, of = count > 0.0, value[mine] * (1.0 + effect * side)
            known = self._before[side]
            found.append(
                ArmSums(
                    of[came],
                    count[came],
                    Covariate(known.value[came], known.count[came]) if cuped else None,
                )
            )
        return found[0], found[1]

    def independent_error(self) -> float:
        """Standard error as if requests were independent."""
        requests, mean_reward = self.requests.sum(), self.reward.sum() / self.requests.sum()
        return math.sqrt(4.0 * (self.squares.sum() / requests / mean_reward**2 - 1.0) / requests)


def _found(one: Difference, planned: float) -> bool:
    low, high = one.interval(planned, ALPHA)
    return low > 0.0 or high < 0.0


def aa(bank: Bank, runs: int) -> Iterator[Row]:
    """Arms that are alike, looked at each day."""
    users = requests = 10_000
    alarms = dict.fromkeys(("one look's z test", "sequence", "sequence, CUPED", "counts", "mean"), 0)
    ratios, planned = [], {False: 0.0, True: 0.0}
    for run in range(-1, runs):  # the first one tells what to plan for
        rng = np.random.default_rng([1, run + 1])
        course = Course(Audience(bank, users, requests, rng), rng)
        ever = dict.fromkeys(alarms, False)
        for _ in range(LOOKS):
            course.go_on(1.0)
            plain, cuped = (difference(*course.arms(course.reward, cuped=one)) for one in (False, True))
            if run < 0:
                planned = {False: plain.error, True: cuped.error}
                continue
            shared = difference(*course.arms(course.shares))
            units = [int(((course.shares > 0) & (course.treated == side)).sum()) for side in (False, True)]
            ever["one look's z test"] |= abs(plain.log_ratio) > 1.96 * plain.error
            ever["sequence"] |= _found(plain, planned[False])
            ever["sequence, CUPED"] |= _found(cuped, planned[True])
            ever["counts"] |= by_counts(*units, 0.5, "falls", alpha=GUARD).alarm
            ever["mean"] |= by_mean(shared, PLANNED, "falls", alpha=GUARD).alarm
        if run >= 0:
            ratios.append(cuped.error / plain.error)
            for name, one in ever.items():
                alarms[name] += one
    for name, count in alarms.items():
        guard = name in ("counts", "mean")
        most = int(0.008 * runs) if guard else int(ALPHA * runs)
        bound = "" if "z test" in name else f"at most {most}"
        what = f"guardrail by {name}, alpha {GUARD}" if guard else name
        yield share(
            f"A/A, {LOOKS} looks: {what}: alarms", count, runs, bound, count <= most if bound else None
        )
    yield mean("CUPED: half-width by the plain one's, day 28", ratios)


def power(bank: Bank, runs: int) -> Iterator[Row]:
    """Better arms at 100,000 requests a day, dealt by session, and by user with CUPED."""
    rng = np.random.default_rng(2)
    users, requests = 300_000, 100_000
    _, session = Audience(bank, users, requests, rng).sessions(5.0)
    of = {name: values[session] for name, values in bank.sessions.items()}
    total = of["requests"].sum()
    deviation = math.sqrt(of["squares"].sum() * total / of["reward"].sum() ** 2 - 1.0)
    apart = ArmSums(of["reward"], of["requests"]).influence
    effect = float(apart.var() / len(apart)) / (deviation**2 / total)
    yield Row("deviation of a request's reward by its mean", deviation, math.nan, math.nan)
    yield Row("design effect, sessions", effect, math.nan, math.nan)
    gains = {0.01: 5.0 * effect, 0.005: 18.0 * effect}
    plans = {g: plan(g, deviation, requests, design=DesignEffect(effect)) for g in gains}
    days: dict[float, list[float]] = {g: [] for g in gains}
    for run in range(runs):
        for g, day in _by_session(
            bank, users, requests, gains, {g: p.error for g, p in plans.items()}, run
        ).items():
            days[g].append(day)
    for g, limit in gains.items():
        hits = sum(day <= limit for day in days[g])
        yield share(f"{g:+.1%} found in {limit:.1f} days, by session", hits, runs, "90 %", hits >= 0.9 * runs)
        yield Row(
            f"{g:+.1%}: days in the median (planned {plans[g].days:.1f})",
            float(np.median(days[g])),
            math.nan,
            math.nan,
        )


def _by_session(
    bank: Bank, users: int, requests: int, gains: dict[float, float], planned: dict[float, float], run: int
) -> dict[float, float]:
    """Days after which each gain is found."""
    rng = np.random.default_rng([3, run])
    audience = Audience(bank, users, requests, rng)
    sums = [[np.zeros(0), np.zeros(0)] for _ in range(2)]
    found: dict[float, float] = {}
    for day in range(1, math.ceil(max(gains.values())) + 1):
        _, session = audience.sessions(1.0)
        treated = rng.random(len(session)) < 0.5
        for side in (0, 1):
            mine = session[treated == side]
            for place, name in enumerate(("reward", "requests")):
                sums[side][place] = np.concatenate([sums[side][place], bank.sessions[name][mine]])
        alike = difference(*(ArmSums(*one) for one in sums))
        for gain in gains:
            if gain not in found and _found(
                replace(alike, log_ratio=alike.log_ratio + math.log1p(gain)), planned[gain]
            ):
                found[gain] = day
    return {gain: found.get(gain, math.inf) for gain in gains}


def by_user(bank: Bank, runs: int) -> Iterator[Row]:
    """A better arm at 100,000 requests a day of 300,000 users who come back; plans that count on that."""
    users, requests, log_days = 300_000, 100_000, 14
    rng = np.random.default_rng(4)
    course = Course(Audience(bank, users, requests, rng), rng)
    course.go_on(log_days)
    independent = course.independent_error()
    deviation = independent * math.sqrt(course.requests.sum() / 4.0)
    for cuped in (False, True):
        error = difference(*course.arms(course.reward, cuped=cuped)).error
        effect, name = (error / independent) ** 2, f"users{', CUPED' * cuped}"
        yield Row(f"design effect, {name}, {log_days} days", effect, math.nan, math.nan)
        design = DesignEffect(effect, log_days)
        never = plan(0.005, deviation, requests, design=design).days
        yield Row(f"+0.5%: days planned, {name}", never, math.nan, math.nan)
        yield Row(
            f"+1.0%: days planned, {name}",
            plan(0.01, deviation, requests, design=design).days,
            math.nan,
            math.nan,
        )
    planned = plan(0.01, deviation, requests, design=design)
    found = []
    for run in range(runs):
        rng = np.random.default_rng([5, run])
        course = Course(Audience(bank, users, requests, rng), rng)
        day = 0
        while day < planned.days:
            day += 1
            course.go_on(1.0)
            if _found(difference(*course.arms(course.reward, cuped=True, effect=0.01)), planned.error):
                break
        else:
            day = math.inf
        found.append(day)
    hits = sum(day < math.inf for day in found)
    yield share(
        f"+1.0% found in the planned {planned.days:.1f} days, users, CUPED",
        hits,
        runs,
        "90 %",
        hits >= 0.9 * runs,
    )
    yield Row("+1.0%: days in the median, users, CUPED", float(np.median(found)), math.nan, math.nan)


def ratio(bank: Bank, runs: int) -> Iterator[Row]:
    """Sample ratios of 4,000 new users a day in three scenes."""
    del bank
    for what, part, count in (
        ("50/50 takes alarm", 0.5, runs),
        ("51/49 is found", 0.51, max(runs // 10, 10)),
    ):
        rng = np.random.default_rng(6)
        hits, days = 0, []
        for _ in range(count):
            new = rng.multinomial(4_000, [0.7, 0.2, 0.1], LOOKS)
            first = np.cumsum(rng.binomial(new, part), axis=0)
            both = np.stack([first, np.cumsum(new, axis=0) - first], axis=-1)  # [days, scenes, arms]
            both = np.concatenate([both.sum(axis=1, keepdims=True), both], axis=1).tolist()
            alarm = (
                day
                for day, scenes in enumerate(both, 1)
                if sample_ratio(scenes[0], dict(zip("abc", scenes[1:], strict=True)), (0.5, 0.5)).alarm
            )
            day = next(alarm, None)
            hits += day is not None
            days += [day] if day else []
        kept = hits <= 0.001 * count if part == 0.5 else hits >= 0.98 * count
        bound = "at most 0.1 %" if part == 0.5 else "98 % or more"
        yield share(f"sample ratio, {LOOKS} days of 4,000 users: {what}", hits, count, bound, kept)
    yield Row("51/49: days until then in the median", float(np.median(days)), math.nan, math.nan)


def guardrail(bank: Bank, runs: int) -> Iterator[Row]:
    """An arm that halves shares, looked at each 50 requests."""
    users = requests = 10_000
    rng = np.random.default_rng(8)
    shared = Audience(bank, users * 50, requests * 50, rng).days(0.3, "shares")[0]
    left = float((rng.binomial(shared.astype(np.int64), 0.5) > 0).sum() / (shared > 0).sum())
    yield Row("halved shares: units that share, by those that did", left, math.nan, math.nan)
    found: dict[str, list[tuple[float, float]]] = {"counts": [], "mean": []}
    for run in range(runs):
        rng = np.random.default_rng([7, run])
        course = Course(Audience(bank, users, requests, rng), rng)
        shared, open_ = np.zeros(users), set(found)
        for _ in range(LOOKS * requests // 50):
            more = course.go_on(50 / requests)
            shared = shared + np.where(course.treated, rng.binomial(more.astype(np.int64), 0.5), more)
            counts = [int(((shared > 0) & (course.treated == side)).sum()) for side in (False, True)]
            alarms = {
                "counts": by_counts(*counts, 0.5, "falls", alpha=GUARD).alarm,
                "mean": by_mean(difference(*course.arms(shared)), PLANNED, "falls", alpha=GUARD).alarm,
            }
            for name in [name for name in open_ if alarms[name]]:
                found[name].append((float(sum(counts)), float(course.requests.sum())))
                open_.remove(name)
            if not open_:
                break
    for name, times in found.items():
        yield share(f"halved shares, by {name}: found", len(times), runs, "all", len(times) == runs)
        yield mean(f"halved shares, by {name}: requests until then, both arms", [one[1] for one in times])
    units = [one[0] for one in found["counts"]]
    for what, of, bound in (("of these units", left, "at most 1.5"), ("of independent shares", 0.5, "")):
        least = -math.log(GUARD) / divergence(of, 0.5)
        what = f"halved shares: units that shared until then, by log(1/alpha)/KL {what} ({least:.0f})"
        yield mean(what, [one / least for one in units], bound, 1.5)


def layers(bank: Bank, runs: int) -> Iterator[Row]:
    """Arms of two layers over a million units, and what assigning takes."""
    del bank, runs
    arms = (Arm(name="control", share=5_000), Arm(name="treated", share=5_000, revision=2))
    two = [Layer(name=name, salt=f"salt of {name}") for name in ("fusion", "bundles", "third")]
    every = [
        Experiment(
            id=f"test_{layer.name}_{k}", layer=layer.name, arms=arms, first=1_000 * k, size=1_000, ramp=1_000,
            state="running", scenes=("default",), when={"tab": ["feed", "discover"]},
        )
        for layer in two
        for k in range(10)
    ]  # fmt: skip
    whole = [one.model_copy(update={"first": 0, "size": 10_000, "ramp": 10_000}) for one in every]
    units = [f"u{k}" for k in range(1_000_000)]
    left, right = (arms_of(layer, whole[10 * k], units) for k, layer in enumerate(two[:2]))
    table = np.bincount(left * 2 + right, minlength=4).reshape(2, 2)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    chi = float(((table - expected) ** 2 / expected).sum())
    yield Row(
        "two layers, 1,000,000 units: chi-square of independence (1 degree)",
        chi,
        math.nan,
        math.nan,
        "at most 10.8 (p .001)",
        chi <= 10.8,
    )
    assigner = Assigner(Experiments(layers=tuple(two), experiments=tuple(every)))
    took = []
    for _ in range(10):
        began = time.thread_time()
        for unit in units[:2_000]:
            assigner.of({"user": unit, "session": unit, "request": unit}, "default", {"tab": "feed"}, 0)
        took.append((time.thread_time() - began) / 2_000 * 1e6)
    yield mean("a request's arms in three layers with ten experiments each, us", took, "at most 50", 50.0)


SUITES: dict[str, tuple[Callable[[Bank, int], Iterator[Row]], int]] = {
    "aa": (aa, 2_000),
    "power": (power, 200),
    "by_user": (by_user, 100),
    "ratio": (ratio, 10_000),
    "guardrail": (guardrail, 200),
    "layers": (layers, 1),
}


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(SUITES)}")] = None,
    runs: Annotated[
        int | None, typer.Option(min=2, help="of each suite, where not as many as it has")
    ] = None,
    json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure, and print what was found."""
    bank, rows = Bank.of(), []
    for name, (suite, many) in SUITES.items():
        if only is None or name in only:
            rows += list(suite(bank, runs or many))
    if json:
        print(jsons.dumps([asdict(row) for row in rows], indent=1))
        return
    table = Table("what", "found", "95 % interval", "bound", "kept")
    for row in rows:
        ends = "" if math.isnan(row.low) else f"{row.low:.4g} to {row.high:.4g}"
        table.add_row(
            row.what,
            f"{row.found:.4g}",
            ends,
            row.bound,
            "" if row.kept is None else "yes" if row.kept else "no",
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    typer.run(main)
