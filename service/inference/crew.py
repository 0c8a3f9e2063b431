"""Crew: threads that share the rows of one inference while cores are idle. Knows no networks and no requests.

Rows do not depend on each other, so an inference parts by rows at no loss: each thread runs the whole network
on its own, where threads inside an operator would wait for each other at the end of every one of a hundred.
Where all cores have an inference to run already, nothing is parted.

Shapes: N candidates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from model.bundle.inputs import NetworkInputs

_LEAST_ROWS = 32
"""Rows of a part at least: fewer cost more to hand over than another core saves."""

_GRAIN = 16
"""Parts end at multiples of so many rows, of which kernels take that many at a time."""

Predictions = dict[str, npt.NDArray[np.float32]]
Predict = Callable[[NetworkInputs], Predictions]


class Crew:
    """The cores of one worker.

    Args:
        cores: inferences, or parts of them, that run at the same time.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._at_work = 0
        self._lock = threading.Lock()
        self._others = ThreadPoolExecutor(cores - 1, thread_name_prefix="crew") if cores > 1 else None

    def run(self, predict: Predict, inputs: NetworkInputs) -> Predictions:
        """What `predict` gives for all rows, in this thread and in as many others as are free."""
        rows = len(inputs.row_to_user)
        others = self._take(rows // _LEAST_ROWS - 1)
        try:
            if self._others is None or not others:
                return predict(inputs)
            ends = _ends(rows, others + 1)
            parts = [inputs.rows(start, end) for start, end in zip([0, *ends], ends, strict=False)]
            running = [self._others.submit(predict, part) for part in parts[1:]]
            found = [predict(parts[0])]
            found += [
                _outcome(future, predict, part) for future, part in zip(running, parts[1:], strict=True)
            ]
        finally:
            self._leave(others)
        return {task: np.concatenate([part[task] for part in found]) for task in found[0]}

    def close(self) -> None:
        """End the threads."""
        if self._others is not None:
            self._others.shutdown()

    def _take(self, wanted: int) -> int:
        with self._lock:
            self._at_work += 1
            others = max(0, min(wanted, self._cores - self._at_work))
            self._at_work += others
            return others

    def _leave(self, others: int) -> None:
        with self._lock:
            self._at_work -= 1 + others


def _ends(rows: int, parts: int) -> list[int]:
    return [round(rows * part / parts / _GRAIN) * _GRAIN for part in range(1, parts)] + [rows]


def _outcome(future: Future[Predictions], predict: Predict, part: NetworkInputs) -> Predictions:
    """Of another thread; or of this one, where the other has not begun."""
    return predict(part) if future.cancel() else future.result()
