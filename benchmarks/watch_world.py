"""Planted faults: answers of the synthetic world's requests by what serves and by a bad revision or bundle.

The demo's bundle predicts. The bad revision was tuned on a reward that forgets shares: by replay it is better
at what it was tuned for, and shares halve. The bad bundle has the same network, and one feature of videos
comes from other videos, as after a join by the wrong key. Its fusion is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from model.bundle import load_bundle
from model.fusion import FusionConfig, load_fusion, parse_fusion
from tests.support.world_logs import WorldLog, WorldRequests, by_bundle
from training.datasets.served import world_of
from training.simulation import World
from training.viewers.feedback import BEHAVIOURS

BUNDLE = Path("build/demo/bundle")
REQUESTS = 8_000
"""That are drawn from; whose viewers are drawn anew in each run."""
BROKEN = "video_share_rate"
FORGETS_SHARES = parse_fusion(
    """
    schema_version: 1
    scenes:
      default:
        formula: log_power
        tasks: {vtr: {weight: 1.0}, vcr: {weight: 1.0}, shr: {weight: -0.15}, cmr: {weight: 0.5}}
        video_len: {kind: log, scale_s: 30.0, weight: 1.0}
    """
)
SERVES = load_fusion(Path("examples/fusion.yaml"))


@dataclass(frozen=True, eq=False)
class Planted:
    """A run's requests, and what came of each in both arms.

    Attributes:
        logs: by arm.
    """

    logs: dict[str, WorldLog]

    def did(self, request: int, arm: str) -> list[tuple[str, dict[str, float]]]:
        """What a request showed and what came of it."""
        log = self.logs.get(arm, self.logs["control"])
        start = log.outcomes.requests.shown_start
        rows = range(int(start[request]), int(start[request + 1]))
        items = log.outcomes.requests.shown
        return [(f"v{items[row]}", self._values(arm, row)) for row in rows]

    def _values(self, arm: str, row: int) -> dict[str, float]:
        columns = self._columns[arm if arm in self.logs else "control"]
        return {name: of[row] for name, of in columns.items() if of[row]}

    @cached_property
    def _columns(self) -> dict[str, dict[str, list[float]]]:
        return {
            arm: {name: getattr(log.did, name).astype(float).tolist() for name in BEHAVIOURS}
            for arm, log in self.logs.items()
        }

    @property
    def users(self) -> list[str]:
        """Of each request."""
        return [f"u{user}" for user in self.logs["control"].outcomes.requests.user.tolist()]

    def seconds(self, item: str) -> float:
        """Of a video."""
        return float(self.logs["control"].visits.world.videos.duration_ms[int(item[1:])] / 1000.0)


class Faults:
    """Draws runs.

    Args:
        bundle: of the demo.
        requests: that are drawn from.
    """

    def __init__(self, bundle: Path = BUNDLE, requests: int = REQUESTS) -> None:
        self.bundle = load_bundle(bundle)
        world = World.create(world_of(self.bundle.schema, str(bundle)))
        self._sound = WorldRequests.of(world, requests, by_bundle(self.bundle), 3)
        self._requests, self._world = requests, world

    @cached_property
    def _broken(self) -> WorldRequests:
        return WorldRequests.of(self._world, self._requests, by_bundle(self.bundle, BROKEN), 3)

    def drawn(self, what: str, count: int, seed: int) -> Planted:
        """A run: `revision`, `bundle`, or `none` for arms that are alike."""
        visits = {
            "control": (self._sound, SERVES),
            "treated": (self._broken if what == "bundle" else self._sound, _fusion(what)),
        }
        logs = {}
        for number, (arm, (of, config)) in enumerate(visits.items()):
            some = of.resampled(count, np.random.default_rng([seed, 1]))
            logs[arm] = some.log(config, np.random.default_rng([seed, 2 + number]))
        return Planted(logs)

    def replayed(self, what: str) -> dict[str, float]:
        """Of the treated arm by the control's, as predictions and the truth have it."""
        found = {}
        for name, of, config in (
            ("control", self._sound, SERVES),
            ("treated", self._broken if what == "bundle" else self._sound, _fusion(what)),
        ):
            log = of.log(config, np.random.default_rng(1))
            at, p = log.outcomes.at, of.requests.predictions
            seconds = of.requests.video_len_s[at]
            found[name] = {
                "watched, by predictions": float((p["vcr"][at] * seconds).mean()),
                "shares, by predictions": float(p["shr"][at].mean()),
                "shares": float(log.did.is_share.mean()),
                "true reward": of.true_value(config),
            }
        return {key: found["treated"][key] / found["control"][key] - 1.0 for key in found["control"]}


def _fusion(what: str) -> FusionConfig:
    return FORGETS_SHARES if what == "revision" else SERVES
