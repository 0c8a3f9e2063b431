"""Request log: a line for each request that went badly, but no flood of them. Knows no HTTP."""

from __future__ import annotations

import time

import structlog

from service.ranking.ranker import Ranking
from service.ranking.stopwatch import Stopwatch

_LINES_A_SECOND = 20
"""When all goes badly, the first lines of a second tell it; the next says how many were left out."""

log = structlog.get_logger(__name__)


class RequestLog:
    """Tells of degraded, slow and failed requests.

    Args:
        slow_ms: a ranking that takes longer is slow.
    """

    def __init__(self, slow_ms: float) -> None:
        self._slow_s = slow_ms / 1000.0
        self._second = 0
        self._lines = self._left_out = 0

    def ranked(self, ranking: Ranking, watch: Stopwatch) -> None:
        """A ranking was made."""
        degraded, elapsed = ranking.degraded, watch.elapsed
        if not degraded and elapsed < self._slow_s:
            return
        self._tell(
            "ranking_degraded" if degraded else "ranking_slow",
            degraded=degraded,
            took_ms=round(elapsed * 1e3, 1),
            stages_ms={stage: round(seconds * 1e3, 1) for stage, seconds in watch.stages.items()},
            candidates=ranking.candidates,
            scored=ranking.scored,
            exposure_id=ranking.exposure_id,
        )

    def failed(self, status: int, error: Exception) -> None:
        """A request got an error for an answer that is not its caller's fault."""
        self._tell("request_refused", status=status, reason=str(error))

    def _tell(self, event: str, **fields: object) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > _LINES_A_SECOND:
            self._left_out += 1
            return
        if self._left_out:
            fields["left_out_before"], self._left_out = self._left_out, 0
        log.warning(event, **fields)
