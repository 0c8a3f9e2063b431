"""The objective: what the first places of an order are worth, request by request.

    value of a request = sum over places k of looks_k * worth of the item in place k

Unnormalised, so that a rare share keeps its worth; NDCG divides by each request's ideal and loses it
(docs/tuning.md has the figures). Worth is a reward model's, or what is known to have come of each item.

Shapes: R requests, N candidates of all of them, S places.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from model.fusion import FusionConfig, Scene, Scorer, score
from training.tuning.replay import Replay
from training.tuning.requests import Floats, Ints, Requests


class Slates:
    """Requests whose candidates lie side by side, shorter ones filled up: [R, P].

    Args:
        requests: R.

    Attributes:
        requests: these.
        of_request: the request of each candidate [N].
    """

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        sizes = requests.sizes
        self.of_request = np.repeat(np.arange(len(requests)), sizes)
        self._column = np.arange(len(requests.item)) - np.repeat(requests.start[:-1], sizes)
        self._most = int(sizes.max(initial=0))

    def padded(self, values: npt.NDArray[np.floating], fill: float) -> Floats:
        """Values of candidates [N] -> [R, P]."""
        wide = np.full((len(self.requests), self._most), fill)
        wide[self.of_request, self._column] = values
        return wide

    def first(self, value: Floats, places: int) -> Ints:
        """Candidates' rows in the first places of the order by `value` [N]: [R, S], -1 where there are fewer.

        Ties keep the order of the input; what has no value comes last.
        """
        wide = self.padded(-np.where(np.isnan(value), -np.inf, value), np.inf)
        count = min(places, self._most)
        chosen = np.sort(np.argpartition(wide, count - 1, axis=1)[:, :count], axis=1)
        last = np.take_along_axis(wide, chosen, axis=1).max(axis=1, keepdims=True)
        tied = np.flatnonzero((wide <= last).sum(axis=1) > count)
        if len(tied):  # a partition takes any of equal values
            chosen[tied] = np.sort(np.argsort(wide[tied], axis=1, kind="stable")[:, :count], axis=1)
        order = np.argsort(np.take_along_axis(wide, chosen, axis=1), axis=1, kind="stable")
        columns = np.take_along_axis(chosen, order, axis=1)
        rows = self.requests.start[:-1, None] + columns
        found = np.where(columns < self.requests.sizes[:, None], rows, -1)
        return np.pad(found, ((0, 0), (0, places - count)), constant_values=-1)


class Objective:
    """What orders of some requests are worth.

    Args:
        requests: R.
        worth: of each candidate where it is looked at for certain [N].
        looks: how often each place is looked at, the first 1 [S].
    """

    def __init__(self, requests: Requests, worth: Floats, looks: Floats) -> None:
        self.slates = Slates(requests)
        self.worth, self.looks = worth, looks
        self._worth = np.append(worth, 0.0)  # what is not there is worth nothing

    def per_request(self, value: Floats) -> Floats:
        """What the order by `value` [N] is worth: [R]."""
        first = self.slates.first(value, len(self.looks))
        return np.asarray(self._worth[first] @ self.looks, np.float64)

    def value(self, scene: Scene) -> float:
        """The mean over requests of a scene without conditions and network."""
        return float(self.per_request(scored(scene, self.slates.requests)).mean())


def scored(scene: Scene, requests: Requests) -> Floats:
    """What a scene without conditions and network orders candidates by: [N]."""
    found = score(scene, requests.predictions, requests.video_len_s)
    return np.asarray(found.order, np.float64)


def ranked(config: FusionConfig, requests: Requests, scorers: Mapping[str, Scorer] | None = None) -> Floats:
    """What a config orders candidates by where it explores nothing: [N].

    Raises:
        FulcrumError: it weighs a task without predictions, or lacks a network.
    """
    plain = without_exploring(config)
    return Replay(plain, list(requests.predictions), scorers=scorers).of(requests).value


def without_exploring(config: FusionConfig) -> FusionConfig:
    """The same config, of which no request's weights are drawn."""
    scenes = {
        name: scene if scene.explore is None else scene.model_copy(update={"explore": None})
        for name, scene in config.scenes.items()
    }
    return config.model_copy(update={"scenes": scenes})
