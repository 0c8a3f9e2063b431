"""Examination: how often each place of an answer is looked at, the first place's share being 1.

Logged where `seen` is among the kinds of feedback, else modelled, or declared; never two of these. The model:
what a place does not get though its items deserve it was not looked at,

    looks_k = sum of outcomes in place k / sum of what is expected there of who looks.

What is expected comes from predictions, by a model of other users. Given predictions, the log's order leaves
a place to exploring alone, so that what else makes items good is spread over places by chance (the position
bias of Joachims, Swaminathan and Schnabel 2017, "Unbiased Learning-to-Rank with Biased Feedback", whose
interventions are here the noise law's). Looks do not grow with the place: the fit is isotonic.

Shapes: K items shown, S places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from model.errors import FulcrumError
from training.tuning.outcomes import Outcomes
from training.tuning.requests import Floats
from training.tuning.reward_model import cross_fitted_of_shown

How = Literal["logged", "modelled", "declared"]
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Looks:
    """How often places are looked at.

    Attributes:
        looks: by place, the first 1, not increasing [S].
        how: it is known.
    """

    looks: Floats
    how: How


def looks_of(outcomes: Outcomes, declared: float | None = None) -> Looks:
    """Of a log's answers.

    Args:
        outcomes: of its requests.
        declared: share of those who look at a place that look at the next one, too; asks for what is logged
            or modelled where None.

    Raises:
        FulcrumError: the share is not above 0 and at most 1, or is declared though `seen` is logged.
    """
    slots = outcomes.slots
    if declared is not None:
        if not 0.0 < declared <= 1.0:
            raise FulcrumError(f"--examination {declared:g}: expected a share above 0, and at most 1")
        if outcomes.seen is not None:
            raise FulcrumError(
                "--examination: the log has `seen`, which says what was looked at; leave it out"
            )
        return Looks(declared ** np.arange(slots, dtype=np.float64), "declared")
    if outcomes.seen is not None:
        shown = np.bincount(outcomes.position, minlength=slots).astype(np.float64)
        seen = np.bincount(outcomes.position, outcomes.seen.astype(np.float64), slots)
        return Looks(_not_increasing(seen / np.maximum(shown, 1.0), shown), "logged")
    return Looks(_modelled(outcomes, slots), "modelled")


def _modelled(outcomes: Outcomes, slots: int) -> Floats:
    what = _common(outcomes)
    of = replace(outcomes, reward=what)
    got = np.bincount(outcomes.position, what, slots)
    shown = np.bincount(outcomes.position, minlength=slots).astype(np.float64)
    looks = _not_increasing(got / np.maximum(shown, 1.0), shown)
    for _ in range(_ROUNDS):
        deserved = np.maximum(cross_fitted_of_shown(of, looks), 0.0)
        expected = np.bincount(outcomes.position, deserved, slots).astype(np.float64)
        looks = _not_increasing(got / np.maximum(expected, 1e-12), expected)
    return looks


def _common(outcomes: Outcomes) -> Floats:
    """The outcome that tells places apart best: labels that every row has, each in units of its mean [K].

    A rare reward that is worth much says little about who looked.
    """
    known = [label for label in outcomes.labels.values() if not np.isnan(label).any() and label.mean() > 0]
    if not known:
        return outcomes.reward
    return np.asarray(sum(label / label.mean() for label in known), np.float64)


def _not_increasing(values: Floats, weights: Floats) -> Floats:
    """The nearest values that do not increase, by weighted squares (pool adjacent violators), the first 1."""
    blocks: list[list[float]] = []  # value, weight, count
    for value, weight in zip(values.tolist(), np.maximum(weights, 1e-12).tolist(), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            (v, w, n), (u, x, m) = blocks[-2:]
            blocks[-2:] = [[(v * w + u * x) / (w + x), w + x, n + m]]
    found = np.repeat([value for value, _, _ in blocks], [int(count) for _, _, count in blocks])
    return np.asarray(found / found[0] if found[0] > 0 else np.ones(len(found)), np.float64)
