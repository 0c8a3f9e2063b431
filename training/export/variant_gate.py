"""The quality gate of a variant: what it may lose against float32 on held-out rows. Knows no graphs.

Both forms of the network predict the same rows, so differences are paired and their intervals narrow. A task
with enough labels is held to what it loses, a rare one to how far its predictions drift, since its labels are
too few to tell. Orders are held to their regret: requests as a service gets them, ranked by the bundle's own
fusion config.

Shapes: n rows, N candidates of a request.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.fusion import Scene, Scorer, score, top_k
from model.schema import TaskSpec
from training.evaluation.judged import Predictions
from training.metrics.comparison import compare_task
from training.metrics.resampling import widening
from training.rows.batches import EncodedLog

K = 50
"""Places of a ranking whose worth counts."""

_LEAST_LABELS = 1_000
"""Positives, and negatives, that a binary task needs for its AUC to judge."""

_AUC_LOSS = 0.0005
_MSE_RISE = 0.005
_DRIFT = 0.05
_RATE = 0.01
_REGRET = 0.002
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Check:
    """One thing that a variant is held to.

    Attributes:
        name: such as `vtr.auc`.
        loss: what it loses, in the measure's unit; less is better.
        interval: 95 %, or the loss twice where it has none.
        most: the loss that the whole interval must stay under.
        meaning: of the measure, for people.
        share: whether it is a share, and not a difference of AUC.
    """

    name: str
    loss: float
    interval: tuple[float, float]
    most: float
    meaning: str
    share: bool = True

    @property
    def passed(self) -> bool:
        """Whether the variant surely loses no more; not so where the interval cannot be computed."""
        return bool(self.interval[1] < self.most)

    @property
    def verdict(self) -> str:
        """For people."""
        if self.passed:
            return "passed"
        if math.isnan(self.loss):
            return "failed: it cannot be computed"
        return "undecided: more rows are needed" if not self.interval[0] > self.most else "failed"


@dataclass(frozen=True)
class VariantGate:
    """The outcome.

    Attributes:
        checks: all must pass.
        rows: judged.
        requests: ranked.
        overlap: mean share of the best `K` that both forms have in common.
    """

    checks: Sequence[Check]
    rows: int
    requests: int
    overlap: float

    @property
    def failures(self) -> list[Check]:
        """The checks that do not pass."""
        return [check for check in self.checks if not check.passed]

    def report(self) -> dict[str, Any]:
        """For the manifest."""
        checks = {
            check.name: {
                "loss": check.loss,
                "interval": check.interval,
                "most": check.most,
                "passed": check.passed,
            }
            for check in self.checks
        }
        return {"rows": self.rows, "requests": self.requests, "overlap": self.overlap, "checks": checks}


@dataclass(frozen=True)
class Request:
    """A request's candidates as each form of the network sees them.

    Attributes:
        exact: predictions in float32, [N] each.
        variant: of the variant.
        video_len_s: seconds, NaN where unknown, [N].
    """

    exact: Predictions
    variant: Predictions
    video_len_s: npt.NDArray[np.float64]


def judge_tasks(
    tasks: Iterable[TaskSpec], exact: Predictions, variant: Predictions, rows: EncodedLog
) -> list[Check]:
    """What each task loses on its own rows.

    Args:
        tasks: in the order of the rows' labels.
        exact: float32 predictions by task, [n].
        variant: the variant's.
        rows: labels, masks and users.
    """
    checks = []
    for place, task in enumerate(tasks):
        inside = rows.masks[:, place]
        labels = rows.labels[inside, place]
        before, after = exact[task.name][inside], variant[task.name][inside]
        positives = int(labels.sum()) if task.type == "binary" else 0
        if task.type == "binary" and min(positives, len(labels) - positives) < _LEAST_LABELS:
            checks += _drift(task.name, exact[task.name], variant[task.name])
            continue
        compared = compare_task(
            task.type, after, before, labels, rows.group[inside], rows.user_number[inside]
        )
        if task.type == "binary":
            low, high = compared["auc"].interval
            loss = -compared["auc"].difference
            checks.append(Check(f"{task.name}.auc", loss, (-high, -low), _AUC_LOSS, "AUC lost", share=False))
        else:
            found = compared["mse"]
            low, high = (bound / found.other for bound in found.interval)
            rise = found.difference / found.other
            checks.append(Check(f"{task.name}.mse", rise, (low, high), _MSE_RISE, "MSE risen, of itself"))
    return checks


def _drift(name: str, exact: npt.NDArray[np.float32], variant: npt.NDArray[np.float32]) -> list[Check]:
    """Of a task too rare for labels to judge: noise in its log-odds, of their own spread, and its mean."""
    before, after = _log_odds(exact), _log_odds(variant)
    noise = float(np.sqrt(np.mean((after - before) ** 2)) / max(float(before.std()), 1e-9))
    rate = abs(float(variant.mean(dtype=np.float64) / exact.mean(dtype=np.float64)) - 1.0)
    return [
        Check(f"{name}.drift", noise, (noise, noise), _DRIFT, "noise in log-odds, of their spread"),
        Check(f"{name}.rate", rate, (rate, rate), _RATE, "mean prediction moved, of itself"),
    ]


def _log_odds(p: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    clipped = np.clip(p.astype(np.float64), 1e-9, 1.0 - 1e-9)
    return np.log(clipped) - np.log1p(-clipped)


def judge_orders(
    scene: Scene, requests: Iterable[Request], scorer: Scorer | None = None
) -> tuple[Check, float]:
    """The regret of the variant's best `K`: the share of the float32 score that they lack.

    Returns:
        The check, and the mean overlap of the best `K`.
    """
    regrets, overlaps = [], []
    scene, _ = scene.of_request({})
    for request in requests:
        fused = score(scene, request.exact, request.video_len_s, scorer=scorer)
        exact = fused.order
        variant = score(scene, request.variant, request.video_len_s, scorer=scorer).order
        worth = np.exp(exact - exact.max()) if scene.in_logs else exact - exact.min()
        ours, best = top_k(variant, K), top_k(exact, K)
        most = worth[best].sum()
        regrets.append(1.0 - worth[ours].sum() / most if most else 0.0)
        overlaps.append(len(np.intersect1d(ours, best)) / len(best))
    mean = float(np.mean(regrets))
    half = _half_width(regrets)
    check = Check("order.regret", mean, (mean - half, mean + half), _REGRET, f"worth of the best {K} lost")
    return check, float(np.mean(overlaps))


def _half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of a mean, by Student's quantile."""
    count = len(values)
    if count < 2:
        return math.inf
    return _NORMAL_95 * widening(count) * float(np.std(values)) / math.sqrt(count)
