"""Estimating: what viewers would have done with another config's orders, from a log, or why it cannot say.

The estimate is doubly robust (Dudik, Langford and Li 2011, "Doubly Robust Policy Evaluation and Learning"),
with weights on the exposure of items. An order t is worth, request by request,

    sum over candidates of e_t * worth
        + sum over items shown of (min(e_t / e_log, MOST_WEIGHT) + balance) * (reward - looks * worth)

where worth is a reward model's that was never fitted on the same users. The log speaks for exposures up to
MOST_WEIGHT times its own; what is beyond, of items that it showed hardly ever or never, the reward model says
alone, corrected by the weights that a regression has there (`reward_model.Balance`). Larger weights would
bring more noise than news (Su et al. 2020, "Doubly robust off-policy evaluation with shrinkage").

A difference is one order's mean over the other's, less 1, with the interval of a bootstrap over users: what
both share cancels out. No resampling knows how wrong a model is where it was never checked, so that the
interval is widened, by squares, for an error of MODEL_ERROR (one standard deviation) of what it says alone.

Beside it stand the model alone (`direct`), weights normalised by their own sum (`self_normalised`), and the
exact density of the weights that were drawn (`weight_space`), which compares the configs' noise laws.

Knows no files. Shapes: R requests, N candidates of all of them, K items shown, S places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from model.fusion import FusionConfig, Scorer
from training.events.columns import context_of
from training.metrics.resampling import LEAST_USERS as RESAMPLED
from training.metrics.resampling import Resamples, interval_around
from training.progress import Observer, silent
from training.tuning.exposure import DRAWS, Exposure
from training.tuning.outcomes import Outcomes
from training.tuning.requests import Floats
from training.tuning.reward_model import Balance
from training.tuning.support import Verdict, verdicts
from training.tuning.weight_space import Density, density

LEAST_REQUESTS = 1_000
LEAST_USERS = 30
LEAST_EFFECTIVE = 1_000.0
"""Requests that speak for a config, at least: their weights' sum, squared, by the sum of their squares."""
MOST_NEVER_LOGGED = 0.05
"""Of a config's exposure, that of candidates which no draw shows."""
MOST_OFF = 0.02
"""That the mean weight may be away from 1."""
MOST_WEIGHT = 10.0
"""That an item shown counts, at most: what is exposed more often yet is left to the reward model."""
MODEL_ERROR = 0.1
"""Standard deviation of the reward model's relative error there. In worlds whose truth is known it is 0 to
.15 (docs/tuning.md); a log cannot tell."""
Method = Literal["doubly_robust", "direct", "self_normalised", "weight_space"]
_Z = 1.959964
_POWER = _Z + 0.841621
"""Quantiles of the normal distribution: a two-sided test at 5 %, found in 80 of 100 experiments."""


@dataclass(frozen=True)
class Figure:
    """A difference as a fraction of the other's mean, and its 95 % interval; None where there is none."""

    difference: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Support:
    """How far the log speaks for one config.

    Attributes:
        never_logged: share of its exposure on candidates that no draw shows.
        by_model: share of its exposure that the reward model speaks for alone, what is never logged included.
        mean_weight: of the items shown, by their looks; 1 where the law that logged is as declared.
        effective: requests that speak for it.
        mean_reward: per request, estimated.
    """

    never_logged: float
    by_model: float
    mean_weight: float
    effective: float
    mean_reward: float


@dataclass(frozen=True)
class Estimate:
    """What a log says of one config against another.

    Attributes:
        difference: doubly robust, a fraction of the other's mean reward; None where it is refused.
        interval: of it, 95 %.
        refused: whether the log cannot say.
        reason: why not, in one line.
        methods: all figures, also where the estimate is refused: then they rest on the reward model for what
            the log does not show.
        diagnostics: `after`, `against` (`Support` as JSON), `requests`, `users`, `explored`, `shift`,
            `speaking` (`weight_space.Density`), `spread`: the standard deviation of a request's reward by its
            mean, so inflated that users' requests count as independent; `drift`: a `Figure` as JSON, the
            difference on the last days that hold a third of the requests, less that before; None of one day.
    """

    difference: float | None
    interval: tuple[float, float] | None
    refused: bool
    reason: str | None
    methods: Mapping[Method, Figure]
    diagnostics: Mapping[str, Any]

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def difference(
    outcomes: Outcomes,
    worth: Floats,
    looks: Floats,
    after: FusionConfig,
    against: FusionConfig,
    *,
    scorers: Mapping[str, Scorer] | None = None,
    logged: Floats | None = None,
    balance: Balance | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    observer: Observer = silent,
) -> Estimate:
    """What a config's orders are worth against another's; neither explores.

    Args:
        outcomes: what was logged.
        worth: of each candidate where it is looked at, by models that were fitted on other users [N].
        looks: how often each place is looked at, the first 1 [S].
        after: the config.
        against: the other one.
        scorers: networks of their learned formulas, by checksum.
        logged: `Exposure.logged`, where it is known already [N].
        balance: of the outcomes, where it is known already.
        draws: of the noise law per request: what rests on fewer takes less time, and says less of what is
            rarely shown.
        seed: of the draws and of the resampling.
        observer: called with progress.

    Raises:
        FulcrumError: a config weighs a task without predictions, or lacks a network.
    """
    exposure = Exposure(outcomes, looks)
    wanted = [exposure.of_config(config, scorers) for config in (after, against)]
    if logged is None:
        logged = exposure.logged(draws=draws, seed=seed, observer=observer)
    balance = balance or Balance(outcomes, looks)
    sides = [_Side(outcomes, worth, exposure.shown, logged, one, balance) for one in wanted]
    resamples = Resamples(outcomes.requests.user, seed=seed)
    laws = [density(outcomes, config) for config in (after, against)]
    reward = outcomes.per_request(outcomes.reward)
    found = dict(_figures(reward, sides, laws, resamples))
    diagnostics = {
        "after": asdict(sides[0].support),
        "against": asdict(sides[1].support),
        "requests": len(outcomes),
        "users": resamples.users,
        "explored": int(outcomes.requests.explored.sum()),
        "shift": laws[0].shift if math.isfinite(laws[0].shift) else None,
        "speaking": laws[0].speaking,
        "spread": _spread(reward, resamples),
        "drift": _drift(outcomes, sides, resamples),
    }
    if np.array_equal(wanted[0], wanted[1]):
        return Estimate(0.0, (0.0, 0.0), False, None, found, diagnostics)
    reasons = list(_reasons(outcomes, after, against, sides, resamples))
    best = found["doubly_robust"]
    if reasons or best.difference is None:
        reason = (
            "; ".join(reasons) or "the other's mean reward is not above 0, so that nothing is a share of it"
        )
        return Estimate(None, None, True, reason, found, diagnostics)
    return Estimate(best.difference, best.interval, False, None, found, diagnostics)


def requests_to_see(relative: float, spread: float) -> int:
    """Requests in each of two arms of an experiment that finds this difference in 80 of 100 runs at 5 %.

    Args:
        relative: the difference, as a fraction of the mean; not 0.
        spread: standard deviation of a request's reward by its mean (`Estimate.diagnostics`).
    """
    return math.ceil(2.0 * (_POWER * spread / relative) ** 2)


class _Side:
    """A config's sums by request [R]."""

    def __init__(
        self,
        outcomes: Outcomes,
        worth: Floats,
        shown: Floats,
        logged: Floats,
        wanted: Floats,
        balance: Balance,
    ) -> None:
        requests, at = outcomes.requests, outcomes.at
        of = np.repeat(np.arange(len(requests)), requests.sizes)

        def summed(values: Floats) -> Floats:
            return np.bincount(of, values, len(requests)).astype(np.float64)

        spoken = np.minimum(wanted, MOST_WEIGHT * logged)  # that the log speaks for [N]
        weight = np.divide(spoken, logged, out=np.zeros(len(wanted)), where=logged > 0.0)[at]  # [K]
        error = outcomes.reward - shown[at] * worth[at]
        self.direct = summed(wanted * worth)
        self.robust = self.direct + outcomes.per_request((weight + balance.weights(wanted - spoken)) * error)
        self.by_model = float(((wanted - spoken) * np.abs(worth)).sum())  # in sum over requests
        self.weighted = outcomes.per_request(weight * outcomes.reward)
        self.weights = outcomes.per_request(weight * shown[at])
        self.exposure = summed(wanted)
        total, known = float(wanted.sum()), float(spoken.sum())
        each = self.weights / np.maximum(summed(spoken), 1e-12)
        squares, mass = float(each @ each), float(each.sum())
        self.support = Support(
            never_logged=float(wanted[logged <= 0.0].sum()) / total if total else 1.0,
            by_model=1.0 - known / total if total else 1.0,
            mean_weight=float(self.weights.sum()) / known if known else 0.0,
            effective=mass * mass / squares if squares else 0.0,
            mean_reward=float(self.robust.mean()),
        )


def _figures(
    reward: Floats, sides: Sequence[_Side], laws: Sequence[Density], resamples: Resamples
) -> Iterator[tuple[Method, Figure]]:
    one, other = sides
    plain = figure(resamples, lambda a, b: a / b - 1.0, one.robust, other.robust)
    yield "doubly_robust", _widened(plain, one, other)
    yield "direct", figure(resamples, lambda a, b: a / b - 1.0, one.direct, other.direct)
    columns = [column for side in sides for column in (side.weighted, side.weights, side.exposure)]
    yield (
        "self_normalised",
        figure(resamples, lambda a, b, c, d, e, f: (a / b * c) / (d / e * f) - 1.0, *columns),
    )
    if min(law.speaking for law in laws) < LEAST_EFFECTIVE:
        yield "weight_space", Figure(None, None)
        return
    columns = [column for law in laws for column in (law.weight * reward, law.weight)]
    yield "weight_space", figure(resamples, lambda a, b, c, d: (a / b) / (c / d) - 1.0, *columns)


def figure(resamples: Resamples, of: Callable[..., Any], *columns: Floats) -> Figure:
    """A function of sums over requests, of columns [R]; None where it has no value.

    A few large weights decide on it, and a bootstrap of few is too sure of itself: intervals are widened for
    as many users as have a variance that is known as well (Satterthwaite 1946), by the values without each.
    """
    by_user = [np.bincount(resamples.user, column, resamples.users) for column in columns]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(of(*(by.sum() for by in by_user)))
        if not math.isfinite(value):
            return Figure(None, None)
        squares = np.square(of(*(by.sum() - by for by in by_user)) - value)  # without each user
        fourth = float(squares @ squares)
        freedom = 2.0 * float(squares.sum()) ** 2 / fourth if fourth > 0.0 else math.inf
        users = resamples.users if freedom > resamples.users else max(2, int(freedom) + 1)
        if resamples.users < RESAMPLED:
            return Figure(value, None)
        draws = np.asarray(of(*(sums[:, 0] for sums in resamples.sums(*columns))), np.float64)
    return Figure(value, interval_around(value, draws, users))


def _widened(found: Figure, one: _Side, other: _Side) -> Figure:
    """With an interval that allows for the error of what the reward model says alone."""
    if found.difference is None or found.interval is None:
        return found
    value, mean = found.difference, float(other.robust.sum())
    error = _Z * MODEL_ERROR * math.hypot(one.by_model, (1.0 + value) * other.by_model) / abs(mean)
    low, high = found.interval
    return Figure(value, (value - math.hypot(value - low, error), value + math.hypot(high - value, error)))


def _drift(outcomes: Outcomes, sides: Sequence[_Side], resamples: Resamples) -> dict[str, Any] | None:
    """What changed with the days; the model's error is that of all of them, and leaves no mark here."""
    days, counts = np.unique(outcomes.day, return_counts=True)
    after = len(outcomes) - np.cumsum(counts)  # requests of later days
    late = ~np.isin(outcomes.day, days[after >= len(outcomes) / 3.0])
    if late.all():
        return None
    columns = [np.where(part, side.robust, 0.0) for part in (late, ~late) for side in sides]
    return asdict(figure(resamples, lambda a, b, c, d: a / b - c / d, *columns))


def _spread(reward: Floats, resamples: Resamples) -> float | None:
    """Of a request's reward, by its mean, as if requests were independent."""
    mean = float(reward.mean()) if len(reward) else 0.0
    if mean <= 0.0 or resamples.users < 2:
        return None
    by_user = np.bincount(resamples.user, reward - mean, resamples.users)
    return math.sqrt(float(by_user @ by_user) / len(reward)) / mean


def _reasons(
    outcomes: Outcomes,
    after: FusionConfig,
    against: FusionConfig,
    sides: Sequence[_Side],
    resamples: Resamples,
) -> Iterator[str]:
    """Why the log cannot say; none where it can."""
    requests = outcomes.requests
    if len(outcomes) < LEAST_REQUESTS:
        yield f"{len(outcomes):,} requests, where {LEAST_REQUESTS:,} are needed: log more"
    if resamples.users < LEAST_USERS:
        yield f"requests of {resamples.users:,} users, where {LEAST_USERS} are needed: log more"
    explores = any(
        config.scene(name)[0].explore is not None
        for config in outcomes.configs.values()
        for name in np.unique(requests.scene)
    )
    for config, side, which in zip((after, against), sides, ("it", "what it is compared with"), strict=True):
        verdict = next(_outside(outcomes, config), None)
        if verdict is not None:
            yield verdict.text if config is after else f"what it is compared with: {verdict.text}"
            continue
        of = side.support
        if of.never_logged > MOST_NEVER_LOGGED:
            yield (
                f"{of.never_logged:.1%} of the exposure that {which} gives goes to items that the log never "
                f"showed in such requests ({MOST_NEVER_LOGGED:.0%} at most): "
                + ("explore with more noise" if explores else "it explored nothing; serve with `explore`")
                + ", or run an experiment"
            )
            continue
        if abs(of.mean_weight - 1.0) > MOST_OFF:
            yield (
                f"the mean weight of {which} is {of.mean_weight:.3f}, which should be 1 within {MOST_OFF}: "
                "log more, or see whether the log's configs are those that ranked"
            )
        if of.effective < LEAST_EFFECTIVE:
            yield (
                f"{of.effective:,.0f} of {len(outcomes):,} requests speak for {which}, where "
                f"{LEAST_EFFECTIVE:,.0f} are needed: log more, or run an experiment"
            )


def _outside(outcomes: Outcomes, config: FusionConfig) -> Iterator[Verdict]:
    """Another formula, settings that no exploring varies, conditions on what is not logged."""
    requests = outcomes.requests
    found = verdicts(
        config,
        list(outcomes.configs.values()),
        list(np.unique(requests.scene)),
        requests=len(outcomes),
        exposures=len(outcomes),
        never_shown=0.0,
        top=outcomes.slots,
        said={name for text in set(requests.said) for name in context_of(text)},
    )
    return (one for one in found if one.outside and one.kind in ("formula", "settings", "conditions"))
