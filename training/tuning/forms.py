"""Forms: a formula with free parameters, its dials, so that a search may turn them. Knows no searches.

Dials stand in units in which each moves the order alike: a weight of `log_power` and a price as what they do
per standard deviation of the predictions, beside the largest of them, which is fixed, since a common factor
changes no order; smoothings as log10 of multiples of the task's mean; lengths as log10 of seconds. Where a
search starts, and which weight is fixed, is what least squares say.

Shapes: D dials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from model.errors import FulcrumError
from model.fusion import LogPower, PricedTask, Scene, TaskTerm, WeightedSum, duration_factor
from model.fusion.bounds import MAX_WEIGHT
from model.fusion.formulas.weighted_sum import MAX_PRICE
from model.fusion.lengths import LengthKind, LogLength, LognormalLength, NoLength, SigmoidLength
from training.tuning.prices import LONGEST_S, Prices
from training.tuning.problem import Problem
from training.tuning.requests import Floats

SEARCHED = ("log_power", "weighted_sum")
KINDS = ("log", "sigmoid", "lognormal")
"""Of f(video_len) that are tried."""
_WEIGHT = "weight of the length"
_NEAR = 0.01
"""Of a dial's range: nearer to an end than that is at it."""


@dataclass(frozen=True)
class Dial:
    """A free parameter.

    Attributes:
        name: for people.
        low: its lowest value.
        high: its highest.
        start: where a search starts.
    """

    name: str
    low: float
    high: float
    start: float


@dataclass(frozen=True, eq=False)
class Form:
    """A formula with its dials.

    Attributes:
        dials: D.
        make: the scene of their values, by name.
        incumbent: where they stand for the incumbent, by name, nearly; of a dial that is not named, its
            start. None where the form has no such scene.
    """

    dials: tuple[Dial, ...]
    make: Callable[[Mapping[str, float]], Scene]
    incumbent: Mapping[str, float] | None

    @property
    def starts(self) -> tuple[Floats, ...]:
        """Where a search starts, each dial from 0 to 1 [D]: where least squares point, and the incumbent."""
        places = [self._placed({})] + ([] if self.incumbent is None else [self._placed(self.incumbent)])
        return tuple(places)

    def scene(self, at: Floats) -> Scene:
        """The scene where dials stand there [D], each from 0 to 1."""
        inside = np.clip(at, 0.0, 1.0).tolist()
        return self.make(
            {
                dial.name: dial.low + place * (dial.high - dial.low)
                for dial, place in zip(self.dials, inside, strict=True)
            }
        )

    def at_ends(self, at: Floats) -> tuple[str, ...]:
        """A doubt for each dial that stands at an end of its range [D]: more may lie beyond."""
        return tuple(
            f"the {dial.name} stands at the {'low' if place < 0.5 else 'high'} end of what is searched"
            for dial, place in zip(self.dials, at.tolist(), strict=True)
            if not _NEAR < place < 1.0 - _NEAR
        )

    def _placed(self, values: Mapping[str, float]) -> Floats:
        """Where values by name are, those of other dials at their starts [D]."""
        at = [(values.get(dial.name, dial.start) - dial.low) / (dial.high - dial.low) for dial in self.dials]
        return np.clip(np.array(at, np.float64), 0.0, 1.0)


def forms_of(problem: Problem, prices: Prices) -> dict[str, Form]:
    """Forms of the problem's formula, by the kind of f(video_len).

    Args:
        problem: whose formula, tasks and lengths.
        prices: what least squares found.

    Raises:
        FulcrumError: the formula is none that is searched.
    """
    if problem.formula not in SEARCHED:
        raise FulcrumError(
            f"formula {problem.formula}: a search finds {' or '.join(SEARCHED)}; "
            "the method trees finds a learned one"
        )
    form = _products if problem.formula == "log_power" else _sums
    lengths = known_lengths(problem)
    if not len(lengths):
        return {"none": form(problem, prices, _Length(lengths, NoLength()))}
    if not problem.smoothing:
        return {
            problem.incumbent.video_len.kind: form(
                problem, prices, _Length(lengths, problem.incumbent.video_len)
            )
        }
    return {kind: form(problem, prices, _Length(lengths, kind)) for kind in KINDS}


def product(
    problem: Problem, weights: Mapping[str, float], smoothings: Mapping[str, float], video_len: LengthKind
) -> LogPower:
    """A `log_power` of these weights, which a common factor makes sum to what the incumbent's do.

    The factor changes no order; with it, exploring disturbs weights as before.
    """
    old = problem.incumbent.tasks if isinstance(problem.incumbent, LogPower) else {}
    total = sum(abs(term.weight) for term in old.values()) or float(len(problem.tasks))
    scale = total / max(sum(map(abs, weights.values())), 1e-9)
    tasks = {}
    for task, weight in weights.items():
        clip = {"clip": old[task].clip} if task in old else {}
        tasks[task] = TaskTerm(weight=_within(weight * scale), smoothing=smoothings[task], **clip)
    length = video_len.model_copy(update={"weight": _within(video_len.weight * scale)})
    return LogPower(tasks=tasks, video_len=length, calibration=problem.calibration)


def _products(problem: Problem, prices: Prices, length: _Length) -> Form:
    """`log_power`: weights, the length, and smoothings where they are searched."""
    old = problem.incumbent.tasks if isinstance(problem.incumbent, LogPower) else {}
    spreads, means = _spreads(problem.predictions), problem.means
    priced = {task: price + prices.per_s[task] * prices.missing_s for task, price in prices.price.items()}
    sizes = {f"weight of {task}": priced[task] * spreads[task] for task in priced}
    fixed, dials = _beside_the_largest(sizes)
    if problem.smoothing:
        dials += [Dial(f"smoothing of {task}", -2.0, 2.0, 1.0) for task in problem.tasks]

    def make(values: Mapping[str, float]) -> Scene:
        turned = {**values, **fixed}
        smoothings = {
            task: _digits(means[task] * 10.0 ** turned[f"smoothing of {task}"])
            if problem.smoothing
            else old[task].smoothing
            if task in old
            else 0.0
            for task in problem.tasks
        }
        weights = {
            task: turned[f"weight of {task}"] * (means[task] + smoothings[task]) / spreads[task]
            for task in problem.tasks
        }
        return product(problem, weights, smoothings, length.scene(values))

    per_s = sum(price * means[task] for task, price in prices.per_s.items())
    spread = float(np.minimum(length.seconds, LONGEST_S).std()) if len(length.seconds) else 0.0
    of_length = per_s * spread / (max(map(abs, sizes.values())) or 1.0)
    now: dict[str, float] | None = None
    if isinstance(problem.incumbent, LogPower) and length.holds(problem.incumbent.video_len):
        now = dict.fromkeys(sizes, 0.0)
        for task, term in old.items():
            now[f"weight of {task}"] = term.weight * spreads[task] / (means[task] + term.smoothing)
        now = _beside_the_fixed(now | length.size(problem.incumbent.video_len), fixed)
    if now is not None and isinstance(problem.incumbent, LogPower):
        now |= length.shape(problem.incumbent.video_len)
        for task, term in old.items():
            now[f"smoothing of {task}"] = math.log10(max(term.smoothing / means[task], 1e-9))
    return Form((*dials, *length.dials(of_length)), make, now)


def _sums(problem: Problem, prices: Prices, length: _Length) -> Form:
    """`weighted_sum`: prices, prices per second, and a power of the length's factor."""
    seconds = np.nan_to_num(problem.outcomes.requests.video_len_s, nan=prices.missing_s).clip(0.0, LONGEST_S)
    once = _spreads(problem.predictions)
    per_s = _spreads({task: p * seconds for task, p in problem.predictions.items()})
    starts = {f"price of {task}": price * once[task] for task, price in prices.price.items()}
    if seconds.std():
        starts |= {f"price per second of {task}": price * per_s[task] for task, price in prices.per_s.items()}
    unit = max(map(abs, starts.values())) or 1.0
    fixed, dials = _beside_the_largest(starts)

    def make(values: Mapping[str, float]) -> Scene:
        sizes = {**values, **fixed}
        tasks = {
            task: PricedTask(
                price=_within(unit * sizes[f"price of {task}"] / once[task], MAX_PRICE),
                price_per_s=_within(
                    unit * sizes.get(f"price per second of {task}", 0.0) / per_s[task], MAX_PRICE
                ),
            )
            for task in problem.tasks
        }
        return WeightedSum(
            tasks=tasks,
            video_len=length.scene(values),
            longest_s=LONGEST_S,
            missing_s=prices.missing_s,
            calibration=problem.calibration,
        )

    now: dict[str, float] | None = None
    old = problem.incumbent
    if isinstance(old, WeightedSum) and old.combine == "times" and length.holds(old.video_len):
        now = dict.fromkeys(starts, 0.0)
        for task, term in old.tasks.items():
            now[f"price of {task}"] = term.price * once[task]
            now[f"price per second of {task}"] = term.price_per_s * per_s[task]
        now = _beside_the_fixed(now, fixed)
    if now is not None:
        now |= length.size(old.video_len) | length.shape(old.video_len)
    return Form((*dials, *length.dials(0.0)), make, now)


class _Length:
    """f(video_len): its weight, and of a kind that is searched its settings.

    Args:
        seconds: typical lengths, increasing; empty where none is known.
        kind: that is searched, or f(video_len) as it is.
    """

    def __init__(self, seconds: Floats, kind: str | LengthKind) -> None:
        self.seconds, self._kind = seconds, kind

    def dials(self, weight: float) -> tuple[Dial, ...]:
        """Its dials; its weight starts there, as what it does to the order."""
        if not len(self.seconds):
            return ()
        low, middle, high = np.log10(np.quantile(self.seconds, (0.02, 0.5, 0.98))).tolist()
        settings = {
            "log": (Dial("scale_s of the length", low - 1.0, high + 0.5, middle),),
            "sigmoid": (
                Dial("mid_s of the length", low, high, middle),
                Dial("width_s of the length", low - 0.5, high, middle - 0.5),
            ),
            "lognormal": (
                Dial("mode_s of the length", low, high + 0.5, high),
                Dial("sigma of the length", -0.5, 0.7, 0.0),
            ),
        }
        return (Dial(_WEIGHT, -1.0, 2.0, weight), *settings.get(str(self._kind), ()))

    def scene(self, values: Mapping[str, float]) -> LengthKind:
        """f(video_len) where the dials stand there."""
        if not len(self.seconds):
            return NoLength()
        found = self._factor(values)
        logs = np.log(duration_factor(found, self.seconds))
        return found.model_copy(update={"weight": _within(values[_WEIGHT] / max(float(logs.std()), 0.01))})

    def holds(self, video_len: LengthKind) -> bool:
        """Whether there is a place of the dials for it."""
        return self._kind in (video_len.kind, video_len) or not self.size(video_len)[_WEIGHT]

    def size(self, video_len: LengthKind) -> dict[str, float]:
        """The dial of the weight where it is that of another f(video_len)."""
        logs = np.log(duration_factor(video_len, self.seconds))
        return {_WEIGHT: video_len.weight * float(logs.std()) if len(logs) else 0.0}

    def shape(self, video_len: LengthKind) -> dict[str, float]:
        """Its other dials, where the kind is the same."""
        if video_len.kind != self._kind:
            return {}
        settings = video_len.model_dump(exclude={"kind", "weight", "missing"})
        return {f"{name} of the length": math.log10(max(value, 1e-3)) for name, value in settings.items()}

    def _factor(self, values: Mapping[str, float]) -> LengthKind:
        if not isinstance(self._kind, str):
            return self._kind
        shape = {
            name.removesuffix(" of the length"): _digits(10.0**value)
            for name, value in values.items()
            if name.endswith("_s of the length") or name == "sigma of the length"
        }
        kinds = {"log": LogLength, "sigmoid": SigmoidLength, "lognormal": LognormalLength}
        found: LengthKind = kinds[self._kind](**shape)
        usual = float(duration_factor(found, np.array([np.median(self.seconds)]))[0])
        return found.model_copy(update={"missing": _digits(usual)})


def _beside_the_largest(sizes: Mapping[str, float]) -> tuple[dict[str, float], list[Dial]]:
    """The largest, which is fixed at 1 or -1, and dials of the others."""
    largest = max(sizes, key=lambda name: abs(sizes[name]))
    size = abs(sizes[largest]) or 1.0
    dials = [Dial(name, -1.0, 2.0, value / size) for name, value in sizes.items() if name != largest]
    return {largest: math.copysign(1.0, sizes[largest])}, dials


def _beside_the_fixed(sizes: Mapping[str, float], fixed: Mapping[str, float]) -> dict[str, float] | None:
    """Sizes times the factor that makes the fixed one what it is; None where there is none above 0."""
    ((name, size),) = fixed.items()
    unit = sizes[name] / size
    return {other: value / unit for other, value in sizes.items()} if unit > 0.0 else None


def _spreads(values: Mapping[str, Floats]) -> dict[str, float]:
    return {task: max(float(np.nanstd(each)), 1e-9) for task, each in values.items()}


def known_lengths(problem: Problem) -> Floats:
    """A thousand quantiles of the lengths that are known; none where they do not differ."""
    length = problem.outcomes.requests.video_len_s
    known = np.maximum(length[~np.isnan(length)], 0.1)
    if not len(known) or known.min() == known.max():
        return np.zeros(0)
    return np.asarray(np.quantile(known, np.linspace(0.0, 1.0, 1000)), np.float64)


def _within(value: float, bound: float = MAX_WEIGHT) -> float:
    return float(min(max(value, -bound), bound))


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
