"""Exposure: how much each candidate is looked at, by an order and by the law that logged.

    e_order(i) = looks at the place that the order gives candidate i, 0 beyond the last place of the answer
    e_log(i)   = the mean of that over what exploring may have drawn instead of what it drew

An item's weight e_order(i) / e_log(i) makes what is known of shown items speak for another order: it asks how
often an item is looked at, not for the whole ranking, and so reaches much farther than the density of the
weights (Li et al. 2018, "Offline Evaluation of Ranking Policies with Click Models", the item-position model
with known looks). Knows neither rewards nor what orders are worth.

Shapes: R requests, N candidates of all of them, K items shown, S places.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from model.fusion import Explore, FusionConfig, Scene, Scorer, score
from training.progress import Advanced, Observer, silent
from training.tuning.objective import Slates, ranked
from training.tuning.outcomes import Outcomes
from training.tuning.replay import groups
from training.tuning.requests import Flags, Floats, Requests

DRAWS = 192
"""Of the noise law per request. Few of them miss what it shows rarely, which counts as never logged."""
_BLOCK = 256
"""Requests that share draws: each call of the formula scores as many."""


class Exposure:
    """Exposures of the candidates of logged requests.

    Args:
        outcomes: what was logged.
        looks: how often each place is looked at, the first 1 [S].

    Attributes:
        shown: what the answers themselves gave [N].
    """

    def __init__(self, outcomes: Outcomes, looks: Floats) -> None:
        self._outcomes, self._requests = outcomes, outcomes.requests
        self._slates = Slates(self._requests)
        places = np.diff(self._requests.shown_start)
        self._looks = np.where(np.arange(len(looks)) < places[:, None], looks, 0.0)  # [R, S]
        self.shown = np.zeros(len(self._requests.item))
        self.shown[outcomes.at] = np.append(looks, 0.0)[np.minimum(outcomes.position, len(looks))]

    def of_order(self, value: Floats) -> Floats:
        """Of the order by `value` [N], the highest first, in answers as long as those logged: [N]."""
        return _looked_at(self._slates, value, self._looks)

    def of_config(self, config: FusionConfig, scorers: Mapping[str, Scorer] | None = None) -> Floats:
        """Of a config's orders where it explores nothing: [N].

        Raises:
            FulcrumError: it weighs a task without predictions, or lacks a network.
        """
        return self.of_order(ranked(config, self._requests, scorers))

    def logged(self, *, draws: int = DRAWS, seed: int = 0, observer: Observer = silent) -> Floats:
        """In the mean over what the configs that logged may have drawn: [N].

        With probability 1 - share the plain order, else one of `draws` orders under the noise law. What an
        explored request was answered by is one of its draws. All are alike in law, so that weights
        e / e_log have their mean exactly, however few the draws are; only candidates that none of them shows
        (exposure 0) are not spoken for.

        Args:
            draws: of the noise law per request.
            seed: of the draws.
            observer: called with progress.
        """
        requests, found = self._requests, self.shown.copy()
        rng, done = np.random.default_rng(seed), 0
        for name, config in self._outcomes.configs.items():
            of_version = np.flatnonzero(requests.version == name)
            for rows, scene, _ in groups(config, requests.kept(requests.version == name)):
                if scene.explore is not None:
                    mask = np.zeros(len(requests), np.bool_)
                    mask[of_version[rows]] = True
                    self._disturbed(found, mask, scene, scene.explore, draws, rng)
                done += len(of_version[rows])
                observer(Advanced("drawing what might have been shown", done, len(requests), "requests"))
        return found

    def _disturbed(
        self,
        found: Floats,
        mask: Flags,
        scene: Scene,
        explore: Explore,
        draws: int,
        rng: np.random.Generator,
    ) -> None:
        """Fill in the candidates [N] of requests [R] whose scene explores."""
        requests, looks = self._requests.kept(mask), self._looks[mask]
        at = np.flatnonzero(np.repeat(mask, self._requests.sizes))
        for first in range(0, len(requests), _BLOCK):
            last = min(first + _BLOCK, len(requests))
            part = requests.part(first, last)
            here = at[requests.start[first] : requests.start[last]]
            z = rng.standard_normal((draws, len(scene.parameters())))
            found[here] = _expected(scene, explore, part, looks[first:last], self.shown[here], z)


def _expected(
    scene: Scene,
    explore: Explore,
    requests: Requests,
    looks: Floats,
    shown: Floats,
    z: Floats,
) -> Floats:
    """The mean exposure [N], by looks [R, S], what was shown [N] and draws z [D, weights]."""
    slates, explored = Slates(requests), requests.explored
    lists = slates.of_request if scene.looks_at_the_list else None

    def exposed(law: Scene, looks: Floats) -> Floats:
        value = score(law, requests.predictions, requests.video_len_s, lists=lists).order
        return _looked_at(slates, value, looks)

    means = scene.parameters()
    mu = np.array(list(means.values()))
    total = np.where(explored[slates.of_request], shown, 0.0)  # theirs is one of the draws
    for draw, values in enumerate((mu + explore.deviations(mu, scene.least()) * z).tolist()):
        law = scene.with_parameters(dict(zip(means, values, strict=True)))
        total += exposed(law, looks if draw else np.where(explored[:, None], 0.0, looks))
    plain = np.where(explored[slates.of_request], exposed(scene, looks), shown)
    return np.asarray((1.0 - explore.share) * plain + explore.share * total / len(z), np.float64)


def _looked_at(slates: Slates, value: Floats, looks: Floats) -> Floats:
    """How much candidates [N] are looked at in the order by `value` [N]; places, by `looks` [R, S]."""
    found = np.zeros(len(value) + 1)
    found[slates.first(value, looks.shape[1])] = looks  # row -1 is nobody's
    return found[:-1]
