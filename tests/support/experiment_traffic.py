"""Traffic for experiments: requests whose arms a service says, logged as a service logs them, with feedback
that comes when it is due. What viewers do is the caller's."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.events import EventCatalogue, Exposure, Feedback
from tests.support.event_log import exposure_id, write_events, write_exposures, write_folder
from tests.support.experiment_service import ExperimentService

CATALOGUE = EventCatalogue.model_validate(
    {"kinds": [{"kind": "is_click", "window_s": 1800}, {"kind": "is_share", "window_s": 3600}]}
)
CONTROL = "control"
Did = Sequence[tuple[str, Mapping[str, float]]]
"""Of each video of an answer: its id, and values by kind; what is 0 did not happen."""


@dataclass
class Traffic:
    """Requests and events of one service.

    Args:
        path: of the folder of events.
        service: says who is in which arm.
        did: what came of a request: of its user, its arm (`control` for none) and chance.
        late_ms: after which events are received.
    """

    path: Path
    service: ExperimentService
    did: Callable[[str, str, random.Random], Did]
    catalogue: EventCatalogue = CATALOGUE
    late_ms: int = 1_000
    seed: int = 0
    seconds: Callable[[str], float] = lambda item: 10.0
    exposures: int = 0
    by_arm: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._folder = write_folder(self.path, (), self.catalogue)
        self._chance, self._waiting = random.Random(self.seed), list[Feedback]()

    def serve(self, users: Sequence[str], start_ms: int, stop_ms: int) -> None:
        """A request of each of these users, one after the other between two times."""
        assigner, made = self.service.assigner(), []
        for number, user in enumerate(users):
            time_ms = start_ms + (stop_ms - start_ms) * number // len(users)
            identity = exposure_id(time_ms, self._chance)
            units: Any = {"user": user, "session": f"session of {user}", "request": identity}
            arms = assigner.of(units, "feed", {}, time_ms)
            arm = next((one.arm.name for one in arms if one.arm is not None), CONTROL)
            for one in arms:
                self.by_arm[one.label] = self.by_arm.get(one.label, 0) + 1
            shown = self.did(user, arm, self._chance)
            made.append(self._exposure(identity, time_ms, user, [one.label for one in arms], shown))
            for item, values in shown:
                for kind, value in values.items():
                    if value:
                        received = time_ms + self.late_ms
                        name = f"{identity}-{item}-{kind}"
                        self._waiting.append(
                            Feedback(name, identity, item, kind, float(value), time_ms + 500, received)
                        )
        self.exposures += len(made)
        write_exposures(self._folder, made, (), batch_rows=1_000)
        self.deliver(stop_ms)

    def deliver(self, now_ms: int) -> None:
        """Events that are due."""
        write_events(self._folder, [one for one in self._waiting if one.received_ms <= now_ms])
        self._waiting = [one for one in self._waiting if one.received_ms > now_ms]

    def _exposure(self, identity: str, time_ms: int, user: str, arms: Sequence[str], shown: Did) -> Exposure:
        items = [item for item, _ in shown]
        seconds = np.array([self.seconds(item) for item in items])
        return Exposure(
            identity, None, time_ms, user, 0, "feed", {}, "sha256:bundle", "fp32", "", None, arms,
            {"video_len": 0.0}, False, [], items, seconds, None, session=f"session of {user}",
        )  # fmt: skip
