"""Answers: how many of each arm failed, were degraded or slow, since its comparison began.

Services count since they were started, and say so in /metrics; what was added since the last look is kept in
a file, so that neither a restart of the service nor one of whoever looks loses or doubles much. Knows no
experiments' terms.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from model.errors import FulcrumError
from model.files import FileLock, read_file, replace_file

COUNTED, TOOK = "fulcrum_arm_answers_total", "fulcrum_arm_seconds_bucket"
"""Of /metrics: answers by arm and outcome; rankings by arm that took at most so many seconds."""
_LINE = re.compile(r"^(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_MOST_BYTES = 16 << 20
_FORMAT = 1

Counts = Mapping[str, float]
"""By `outcome` or `le SECONDS`."""


def counted(text: str) -> dict[str, Counter[str]]:
    """What a service's /metrics says, by label of an arm (`layer/experiment:arm`).

    Keys are outcomes, and `le SECONDS` for rankings that took at most so long, `le +Inf` for all.
    """
    found: dict[str, Counter[str]] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or match[1] not in (COUNTED, TOOK):
            continue
        labels = dict(_LABEL.findall(match[2]))
        key = labels.get("outcome", "") if match[1] == COUNTED else f"le {labels.get('le', '')}"
        found.setdefault(labels.get("arm", ""), Counter())[key] += float(match[3])  # type: ignore[assignment]
    return found


class Answers:
    """Sums by arm, kept in a file.

    Args:
        path: of the file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, raw: Mapping[str, Counts], since_ms: Mapping[str, int]) -> dict[str, Counts]:
        """Add what is new.

        Args:
            raw: what the service has counted, by label.
            since_ms: when the comparisons that run began, by label of their arms.

        Returns:
            sums since then, by label. What was counted before the first look of a comparison counts only
            where the look before met no comparison of that arm. A counter that fell began again at 0.

        Raises:
            FulcrumError: the file cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_suffix(".lock")):
            before = self._read()
            arms = {
                label: self._arm(before, label, raw.get(label, {}), since_ms[label]) for label in since_ms
            }
            idle = {label: {"raw": dict(now)} for label, now in raw.items() if label not in since_ms}
            document = {"format": _FORMAT, "arms": {**idle, **arms}}
            replace_file(self._path, orjson.dumps(document), durable=True)
        return {label: arm["sums"] for label, arm in arms.items()}

    def _arm(
        self, before: Mapping[str, Mapping[str, Counts]] | None, label: str, now: Counts, since_ms: int
    ) -> dict[str, Counts]:
        known = (before or {}).get(label, {})
        went_on = known.get("since", {}).get("ms") == since_ms
        if went_on or (before is not None and "since" not in known):
            last, sums = known.get("raw", {}), known.get("sums", {})
        else:  # what another comparison counted, or nobody knows which
            last, sums = now, {}
        grown = {key: float(sums.get(key, 0.0)) + _growth(now[key], last.get(key, 0.0)) for key in now}
        return {"since": {"ms": since_ms}, "raw": dict(now), "sums": {**sums, **grown}}

    def _read(self) -> Mapping[str, Mapping[str, Counts]] | None:
        try:
            document = orjson.loads(read_file(self._path, _MOST_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError) as error:
            raise FulcrumError(f"{self._path}: cannot be read ({error}); move it away") from error
        arms: Mapping[str, Mapping[str, Counts]] = document["arms"]
        return arms if document.get("format") == _FORMAT else None


def _growth(now: float, last: float) -> float:
    return now - last if now >= last else now


def of_metric(sums: Counts, metric: str, slow_ms: float) -> int:
    """How many answers of an arm were `failed`, `degraded` or `slow`."""
    if metric != "slow":
        return round(sums.get(metric, 0.0))
    bounds = dict(_bounds(sums))
    fast = min((bound for bound in bounds if bound >= slow_ms / 1000.0), default=math.inf)
    return round(sums.get("le +Inf", 0.0) - bounds.get(fast, sums.get("le +Inf", 0.0)))


def _bounds(sums: Counts) -> Iterator[tuple[float, float]]:
    for key, count in sums.items():
        if key.startswith("le "):
            yield float(key.removeprefix("le ")), count
