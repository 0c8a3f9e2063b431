"""Watched: which experiments run, and how long ago anybody looked at them: for metrics. Decides nothing.

A thread reads the store now and then, so that whoever scrapes never waits for it. While the store is away,
what was read stays, and ages grow.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model.experiments import Experiment
from service.control.experiments.looks import Looks
from service.control.state.control import ControlStore
from service.control.state.desired import StateError

_EVERY_S = 10.0
_LEAVE_S = 2.0


@dataclass(frozen=True)
class _Seen:
    experiment: Experiment
    look_ms: int

    @property
    def label(self) -> str:
        return f"{self.experiment.layer}/{self.experiment.id}"


class Watched:
    """What a control store says of experiments that were started and not stopped, by `layer/experiment`.

    Args:
        store: that has them.
        clock: Unix time, seconds.
    """

    def __init__(self, store: ControlStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._seen: tuple[_Seen, ...] = ()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watched", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no longer."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_LEAVE_S)

    def read(self) -> None:
        """Read once.

        Raises:
            StateError: the store is away.
        """
        document = self._store.read()
        experiments = () if document is None else document.experiments.experiments
        known = [one for one in experiments if one.state in ("running", "paused")]
        looks = Looks(self._store).newest([one.id for one in known])
        self._seen = tuple(_Seen(one, looks.get(one.id, {}).get("time_ms", 0)) for one in known)

    def live(self) -> Mapping[str, int]:
        """Buckets that are live; 0 where nobody takes part."""
        now_ms = int(self._clock() * 1000.0)
        return {
            seen.label: seen.experiment.ramp if seen.experiment.live_at(now_ms) else 0 for seen in self._seen
        }

    def ages(self) -> Mapping[str, float]:
        """Seconds since the last look at those that run and say how they are judged; since they began where
        nobody has looked."""
        now_s = self._clock()
        found = {}
        for seen in self._seen:
            one = seen.experiment
            if one.terms is not None and one.live_at(int(now_s * 1000.0)):
                newest_ms = max(seen.look_ms, one.since_ms or 0, one.start_ms or 0)
                found[seen.label] = max(now_s - newest_ms / 1000.0, 0.0)
        return found

    def _run(self) -> None:
        while True:
            with contextlib.suppress(StateError):  # whatever follows the revision says so
                self.read()
            if self._stopped.wait(_EVERY_S):
                return
