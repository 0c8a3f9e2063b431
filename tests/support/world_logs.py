"""Logs of a synthetic world, made in this process: what a service would have logged of the same visits.

Requests, their predictions and their truth are worked out once; a log of them takes a second or two. Knows no
estimators and no tuners. Shapes: R requests, N candidates of all of them, K videos shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

import numpy as np
import orjson

from model.bundle import Bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.encoding import EncodedRows
from model.encoding.columns import Column
from model.fusion import (
    DEFAULT_SCENE,
    FusionConfig,
    LogPower,
    Scene,
    WeightedSum,
    duration_factor,
    version,
)
from training.datasets import read_source
from training.publishing.publish import packed_tables
from training.simulation import Behaviour, Impressions, Truth, World
from training.simulation.behaviour import TABS, WATCHED_MS
from training.tuning.objective import Slates, ranked, scored
from training.tuning.outcomes import Outcomes
from training.tuning.replay import Replay
from training.tuning.requests import Flags, Floats, Ints, Requests
from training.viewers import Audience

TASKS = ("vtr", "vcr", "shr", "cmr")
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_BLOCK = 1 << 17
"""Rows whose truth is worked out at once."""
Predictions = Mapping[str, np.ndarray]
Predictor = Callable[[Impressions, Ints, Truth | None], Predictions]
"""(candidates [N], of each request [R], their truth) -> by task [N]."""


@dataclass(frozen=True, eq=False)
class WorldRequests:
    """Visits of an audience with all their candidates, what a network says of each, and what it is worth.

    Attributes:
        audience: whose visits.
        visit: number of each [R].
        requests: of the default scene; numbers of users and items are the world's, but for users of
            `resampled`. What a config does to them is empty: unit hashes, versions, what was shown.
        viewer: index into the world's viewers [R].
        worth: true reward of each candidate that is looked at for certain [N].
        drawn: rows of the requests in those that they were drawn from [R]; empty where they were not.
    """

    audience: Audience
    visit: Ints
    requests: Requests
    viewer: Ints
    worth: Floats
    drawn: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, world: World, count: int, predictor: Predictor, seed: int = 1) -> WorldRequests:
        """The first visits of an audience, spread over the days of the world.

        Args:
            world: whose viewers come.
            count: R.
            predictor: `by_bundle(...)` or `by_truth(...)`.
            seed: of the audience.
        """
        audience = Audience(world, seed)
        visits = list(islice(audience.visits(count), count))
        number, viewer, hour, tab = (
            np.array([getattr(visit, name) for visit in visits], np.int64)
            for name in ("number", "user", "hour", "tab")
        )
        day = number * world.config.days // count
        time_ms = world.config.start_ms + day * _DAY_MS + hour * _HOUR_MS + number % _HOUR_MS
        order = np.argsort(time_ms, kind="stable")
        number, viewer, hour, tab, time_ms = (one[order] for one in (number, viewer, hour, tab, time_ms))
        item = np.concatenate([visits[row].candidates for row in order.tolist()])
        sizes = np.array([len(visits[row].candidates) for row in order.tolist()], np.int64)
        rows = Impressions(
            np.repeat(viewer, sizes), item, np.repeat(hour, sizes), np.repeat(tab, sizes), None
        )
        truth = _truth(world, rows)
        said = [
            orjson.dumps({"hour": h, "tab": TABS[t]}).decode()
            for h, t in zip(hour.tolist(), tab.tolist(), strict=True)
        ]
        requests = Requests(
            ids=_ids(count),
            user=viewer,
            time_ms=time_ms,
            scene=np.full(count, DEFAULT_SCENE, np.object_),
            said=np.array(said, np.object_),
            unit_hash=np.zeros(count, np.uint64),
            fixed=np.zeros(count, np.bool_),
            start=_starts(sizes),
            item=item,
            video_len_s=world.videos.duration_ms[item] / 1000.0,
            predictions={task: p.astype(np.float32) for task, p in predictor(rows, sizes, truth).items()},
            version=np.full(count, None, np.object_),
            explored=np.zeros(count, np.bool_),
            weights={},
            shown=np.zeros(0, np.int64),
            shown_start=np.zeros(count + 1, np.int64),
        )
        return cls(audience, number, requests, viewer, truth.reward)

    def __len__(self) -> int:
        return len(self.visit)

    @property
    def world(self) -> World:
        """Where they take place."""
        return self.audience.world

    @cached_property
    def slates(self) -> Slates:
        """Their candidates side by side."""
        return Slates(self.requests)

    def true_values(self, value: Floats) -> Floats:
        """Expected reward of each request where candidates are ordered by `value` [N]: [R]."""
        slots = self.world.config.slots
        first = self.slates.first(value, slots)
        looks = self.world.viewers.patience[self.viewer][:, None] ** np.arange(slots)
        return np.asarray((np.append(self.worth, 0.0)[first] * looks).sum(axis=1), np.float64)

    def true_value(self, config: FusionConfig) -> float:
        """Mean expected reward of a request under a config that explores nothing and has no network."""
        return float(self.true_values(ranked(config, self.requests)).mean())

    def resampled(self, count: int, rng: np.random.Generator) -> WorldRequests:
        """A draw of about `count` requests from these as a population: viewers, each with all their visits.

        Viewers are drawn with replacement, and one who is drawn twice is two users, so that a mean over
        requests has the variance between users that a bootstrap over users estimates.
        """
        order = np.argsort(self.viewer, kind="stable")
        names, first, visits = np.unique(self.viewer[order], return_index=True, return_counts=True)
        drawn = rng.integers(0, len(names), 2 * count)
        drawn = drawn[: int(np.searchsorted(np.cumsum(visits[drawn]), count)) + 1]
        rows = order[runs(first[drawn], visits[drawn])]
        user = np.repeat(np.arange(len(drawn)), visits[drawn])
        by_time = np.argsort(self.requests.time_ms[rows], kind="stable")
        rows, user = rows[by_time], user[by_time]
        at = runs(self.requests.start[rows], self.requests.sizes[rows])
        old = self.requests
        requests = replace(
            old,
            ids=_ids(len(rows)),
            user=user,
            start=_starts(old.sizes[rows]),
            item=old.item[at],
            video_len_s=old.video_len_s[at],
            predictions={task: p[at] for task, p in old.predictions.items()},
            shown_start=np.zeros(len(rows) + 1, np.int64),
            **{name: getattr(old, name)[rows] for name in _OF_REQUESTS},
        )
        return WorldRequests(
            self.audience, self.visit[rows], requests, self.viewer[rows], self.worth[at], rows
        )

    def log(
        self,
        config: FusionConfig,
        rng: np.random.Generator | None = None,
        unit_hash: np.ndarray | None = None,
    ) -> WorldLog:
        """What is logged where a config ranks them.

        Args:
            config: its default scene, of which nothing but the default formula's settings is drawn here.
            rng: what viewers do is drawn from it, all at once; where None they do what they would over HTTP,
                which takes some 300 us a request.
            unit_hash: of each request [R]; drawn where None.
        """
        count, slots = len(self), self.world.config.slots
        chance = np.random.default_rng([self.audience.seed, 1]) if rng is None else rng
        if unit_hash is None:
            unit_hash = chance.integers(0, 2**64 - 1, count, np.uint64)
        value, explored, weights = drawn_order(config, replace(self.requests, unit_hash=unit_hash))
        first = self.slates.first(value, slots)
        real = first >= 0
        at, position = first[real], np.nonzero(real)[1]
        row = np.nonzero(real)[0]
        item = self.requests.item[at]
        said = [orjson.loads(text) for text in self.requests.said]
        hour, tab = (
            np.array([one["hour"] for one in said]),
            np.array([TABS.index(one["tab"]) for one in said]),
        )
        rows = Impressions(self.viewer[row], item, hour[row], tab[row], position)
        did = self._as_over_http(first) if rng is None else self.world.respond(rows, rng)
        requests = replace(
            self.requests,
            unit_hash=unit_hash,
            version=np.full(count, version(config), np.object_),
            explored=explored,
            weights=weights,
            shown=item,
            shown_start=_starts(real.sum(axis=1)),
        )
        outcomes = Outcomes(
            requests=requests,
            at=at,
            position=position.astype(np.int64),
            reward=self.world.reward(rows, did),
            labels=_labels(self.world, item, did),
            seen=None,
            configs={version(config): config},
            source=f"{count:,} requests of a synthetic world",
        )
        return WorldLog(self, outcomes, did, value)

    def _as_over_http(self, first: Ints) -> Behaviour:
        visits = {visit.number: visit for visit in self.audience.visits(int(self.visit.max(initial=-1)) + 1)}
        parts = [
            vars(self.audience.watch(visits[number], self.requests.item[shown[shown >= 0]]).did)
            for number, shown in zip(self.visit.tolist(), first, strict=True)
        ]
        return Behaviour(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


_OF_REQUESTS = ("time_ms", "scene", "said", "unit_hash", "fixed", "version", "explored")


@dataclass(frozen=True, eq=False)
class WorldLog:
    """A log and the truth behind it.

    Attributes:
        visits: that were ranked.
        outcomes: as a tuner sees them.
        did: what viewers did with what they were shown [K].
        value: what candidates were ordered by, drawn weights included [N].
    """

    visits: WorldRequests
    outcomes: Outcomes
    did: Behaviour
    value: Floats


def by_truth(noise: float = 0.0, seed: int = 0) -> Predictor:
    """The true probabilities, with normal noise of this standard deviation upon their log-odds."""

    def predict(rows: Impressions, sizes: Ints, truth: Truth | None) -> Predictions:
        del rows, sizes
        rng = np.random.default_rng(seed)
        found = {}
        for task in TASKS:
            p = np.clip(getattr(truth, task), 1e-6, 1.0 - 1e-6)
            odds = np.log(p / (1.0 - p)) + noise * rng.standard_normal(len(p))
            found[task] = 1.0 / (1.0 + np.exp(-odds))
        return found

    return predict


def by_bundle(bundle: Bundle, mixed_up: str | None = None) -> Predictor:
    """What the bundle's network says, as it is published and served.

    Args:
        bundle: it.
        mixed_up: a numeric feature of videos that comes from other videos, as after a join by a wrong key.
    """

    def predict(rows: Impressions, sizes: Ints, truth: Truth | None) -> Predictions:
        del truth
        tables = {}
        for name, keys, records in packed_tables(bundle, read_source(bundle.schema, None)):
            order = np.argsort([int(key[1:]) for key in keys])  # u12, v345: by index
            tables[name] = EncodedRows(records["ids"][order], records["numeric"][order])
        if mixed_up is not None:
            place = bundle.encoder.sides["item"].numeric_place[mixed_up]
            numbers = tables["items"].numeric
            numbers[:, place] = numbers[np.random.default_rng(7).permutation(len(numbers)), place]
        start, step = _starts(sizes), 64
        session, parts = NetworkSession(bundle.network_path, threads=1), []
        for low in range(0, len(sizes), step):
            first = start[low : low + step][: len(sizes) - low]
            part = slice(first[0], start[min(low + step, len(sizes))])
            context = {
                "hour": Column(rows.hour[first].tolist()),
                "tab": Column([TABS[k] for k in rows.tab[first]]),
            }
            user = tables["users"].take(rows.user[first])
            user = user.beside(bundle.encoder.sides["context"].encode(context, len(first)))
            which = np.repeat(np.arange(len(first)), sizes[low : low + step])
            parts.append(session.predict(NetworkInputs(user, tables["items"].take(rows.video[part]), which)))
        return {task: np.concatenate([part[task] for part in parts]) for task in bundle.task_names}

    return predict


def drawn_order(config: FusionConfig, requests: Requests) -> tuple[Floats, Flags, dict[str, Floats]]:
    """What candidates are ordered by where a config explores as it says: [N], whether [R], weights [R].

    At once for all requests where the formula is a product or a sum of prices without conditions.
    """
    scene = config.scenes[DEFAULT_SCENE]
    simple = isinstance(scene, LogPower | WeightedSum) and not scene.segments and not scene.calibration
    if scene.explore is None or not simple:
        replayed = Replay(config, list(requests.predictions)).of(requests)
        return replayed.value, replayed.explored, dict(replayed.weights)
    means = scene.parameters()
    taken = scene.explore.take(requests.unit_hash)
    drawn = scene.explore.draw(np.array(list(means.values())), requests.unit_hash, scene.least())
    of_request = dict(zip(means, drawn.T, strict=True))
    value = _value_of_drawn(
        scene, requests, {name: np.repeat(one, requests.sizes) for name, one in of_request.items()}
    )
    plain = value if taken.all() else scored(scene.model_copy(update={"explore": None}), requests)
    terms = {**scene.weights, "video_len": scene.video_len.weight}
    weights = {
        term: np.where(taken, of_request.get(term, terms.get(term, 0.0)), terms.get(term, 0.0))
        for term in (*requests.predictions, "video_len")
    }
    return np.where(np.repeat(taken, requests.sizes), value, plain), taken, weights


def _value_of_drawn(scene: Scene, requests: Requests, drawn: Mapping[str, Floats]) -> Floats:
    """The value of candidates, each by parameters of its own [N]."""
    f = duration_factor(scene.video_len, requests.video_len_s)
    total = np.zeros(len(requests.item))
    if isinstance(scene, LogPower):
        for task, p in requests.predictions.items():
            if task in drawn:
                term, smoothing = scene.tasks[task], drawn.get(f"log_smoothing.{task}")
                bounded = np.clip(p.astype(np.float64), *term.clip)
                total += drawn[task] * np.log(bounded if smoothing is None else bounded + np.exp(smoothing))
        return total + drawn["video_len"] * np.log(f) if "video_len" in drawn else total
    assert isinstance(scene, WeightedSum)
    seconds = np.minimum(requests.video_len_s, scene.longest_s)
    for task, p in requests.predictions.items():
        if task in drawn:
            term = scene.tasks[task]
            price = term.price + term.price_per_s * seconds
            total += drawn[task] / term.weight * price * (term.a + term.b * p.astype(np.float64))
    if "video_len" not in drawn:
        return total
    return total * f ** drawn["video_len"] if scene.combine == "times" else total + drawn["video_len"] * f


def _labels(world: World, item: Ints, did: Behaviour) -> dict[str, Floats]:
    """As the demo's recipe has them: by task, NaN without an entry."""
    duration = world.videos.duration_ms[item]
    entered = (did.play_time_ms > 0) | did.is_click
    inside = {
        "vcr": np.clip(did.play_time_ms / duration, 0.0, 1.0),
        "shr": did.is_share,
        "cmr": did.is_comment,
    }
    return {
        "vtr": (did.play_time_ms >= np.minimum(duration, WATCHED_MS)).astype(np.float64),
        **{task: np.where(entered, values, np.nan) for task, values in inside.items()},
    }


def _truth(world: World, rows: Impressions) -> Truth:
    parts = []
    for low in range(0, len(rows.user), _BLOCK):
        some = {name: getattr(rows, name)[low : low + _BLOCK] for name in ("user", "video", "hour", "tab")}
        parts.append(vars(world.expect(Impressions(**some, position=None))))
    return Truth(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _ids(count: int) -> np.ndarray:
    return np.array([f"x{number:08d}" for number in range(count)], np.object_)


def _starts(sizes: Ints) -> Ints:
    return np.append(0, np.cumsum(sizes)).astype(np.int64)


def runs(first: Ints, sizes: Ints) -> Ints:
    """Numbers of runs that begin at `first`, one after the other."""
    before = np.cumsum(sizes) - sizes
    return np.asarray(np.repeat(first - before, sizes) + np.arange(sizes.sum()), np.int64)
