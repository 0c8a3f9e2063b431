"""Answers: how many of each arm failed, were degraded or slow, since its comparison began.

Services count since they were started, and say so in /metrics; what was added since the last look is kept in
a file, so that neither a restart of the service nor one of whoever looks loses or doubles much. Where several
hosts answer to one address, each look meets one of them, and what was added is counted by host. Knows no
experiments' terms.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from model.errors import FulcrumError
from model.files import FileLock, read_file, replace_file

COUNTED, TOOK, HOST = "fulcrum_arm_answers_total", "fulcrum_arm_seconds_bucket", "fulcrum_host"
"""Of /metrics: answers by arm and outcome; rankings by arm and upper bound in seconds; who counts."""
_LINE = re.compile(r"^(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_MOST_BYTES = 16 << 20
_MOST_HOSTS = 200
_FORMAT = 1

Counts = Mapping[str, float]
"""By `outcome` or `le SECONDS`."""


@dataclass(frozen=True)
class Counted:
    """What a host has counted since it was started.

    Attributes:
        host: its name.
        arms: by label (`layer/experiment:arm`): numbers by outcome, and of rankings that took at most so
            long, as `le SECONDS`, `le +Inf` for all.
    """

    host: str = ""
    arms: Mapping[str, Counts] = field(default_factory=dict)


def counted(text: str) -> Counted:
    """What a service's /metrics says."""
    host, arms = "", dict[str, dict[str, float]]()
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or match[1] not in (COUNTED, TOOK, HOST):
            continue
        labels = dict(_LABEL.findall(match[2]))
        if match[1] == HOST:
            host = labels.get("host", "")
            continue
        key = labels.get("outcome", "") if match[1] == COUNTED else f"le {labels.get('le', '')}"
        arms.setdefault(labels.get("arm", ""), {})[key] = float(match[3])
    return Counted(host, arms)


class Answers:
    """Sums by arm, kept in a file.

    Args:
        path: of the file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, now: Counted, since_ms: Mapping[str, int]) -> dict[str, Counts]:
        """Add what is new.

        Args:
            now: what a host has counted.
            since_ms: when the comparisons that run began, by label of their arms.

        Returns:
            sums since then, by label. What a host had counted when it was first met counts nowhere, nor what
            it counted while another comparison of that arm ended and this one began. A counter that fell
            began again at 0.

        Raises:
            FulcrumError: the file cannot be read or written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_suffix(".lock")):
            hosts, sums = self._read()
            before = hosts.pop(now.host, None)
            found: dict[str, Any] = {}
            for label, since in since_ms.items():
                known = sums.get(label, {})
                total = dict(known["sums"]) if known.get("since") == since else {}
                if before is not None and before["since"].get(label, since) == since:
                    last = before["arms"].get(label, {})
                    for key, count in now.arms.get(label, {}).items():
                        total[key] = total.get(key, 0.0) + _growth(count, last.get(key, 0.0))
                found[label] = {"since": since, "sums": total}
            hosts[now.host] = {"since": since_ms, "arms": now.arms}
            newest = dict(list(hosts.items())[-_MOST_HOSTS:])
            document = {"format": _FORMAT, "hosts": newest, "sums": found}
            replace_file(self._path, orjson.dumps(document), durable=True)
        return {label: of["sums"] for label, of in found.items()}

    def _read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            document = orjson.loads(read_file(self._path, _MOST_BYTES))
        except FileNotFoundError:
            return {}, {}
        except (OSError, orjson.JSONDecodeError) as error:
            raise FulcrumError(f"{self._path}: cannot be read ({error}); move it away") from error
        if document.get("format") != _FORMAT:
            return {}, {}
        return document["hosts"], document["sums"]


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
