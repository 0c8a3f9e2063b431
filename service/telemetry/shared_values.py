"""Values of metrics in memory that workers share, and their sum. Knows no metric.

Stands in for prometheus-client's files of several processes, which a full disk turns into a crash and a
cleaned folder into silence. Each worker's memory holds its values one after the other:

    bytes in use | length of key, key, padding to 8 bytes, value | ...

The key names type, family, sample, labels and help, as JSON. A worker's successor goes on with its counters.
"""

from __future__ import annotations

import json
import struct
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.processes.board import Board
from service.processes.fleet import Fleet

_LENGTH = struct.Struct("<I")
_VALUE = struct.Struct("<d")
_START = 8
_Labels = tuple[tuple[str, str], ...]
_Key = tuple[str, str, str, _Labels, str]


def value_class(memory: memoryview) -> type:
    """A class for `prometheus_client.values.ValueClass`, whose values lie in this memory as long as it lasts;
    further ones count in this process alone and are not scraped.
    """
    lock = threading.Lock()
    known = {key: at for key, at, _ in _entries(memory)}

    class SharedValue:
        """One number, and where it lies."""

        _multiprocess = True

        def __init__(
            self,
            typ: str,
            metric_name: str,
            name: str,
            labelnames: Sequence[str],
            labelvalues: Sequence[str],
            help_text: str,
            **_: Any,
        ) -> None:
            labels = sorted(zip(labelnames, labelvalues, strict=True))
            key = json.dumps([typ, metric_name, name, labels, help_text])
            with lock:
                if key not in known:
                    known[key] = _append(memory, key.encode())
                self._at = known[key]
                self._value = 0.0
                if self._at is not None and typ != "gauge":  # a gauge says what is now
                    self._value = _VALUE.unpack_from(memory, self._at)[0]
                self._put()

        def inc(self, amount: float) -> None:
            with lock:
                self._value += amount
                self._put()

        def set(self, value: float, timestamp: float | None = None) -> None:
            del timestamp
            with lock:
                self._value = value
                self._put()

        def get(self) -> float:
            return self._value

        def set_exemplar(self, exemplar: object) -> None:
            """There are none."""

        def get_exemplar(self) -> None:
            """There are none."""

        def _put(self) -> None:
            if self._at is not None:
                # Assigned at once: `pack_into` would let readers see a zero in between.
                memory[self._at : self._at + _VALUE.size] = _VALUE.pack(self._value)

    return SharedValue


class SharedValues(Collector):
    """The values of all workers: counters and histograms of those who died, too, gauges of the living.

    Args:
        fleet: says who lives.
        board: where the values lie.
    """

    def __init__(self, fleet: Fleet, board: Board) -> None:
        self._fleet = fleet
        self._board = board

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead of time."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """As of now."""
        living = {report.worker for report in self._fleet.workers()}
        families: dict[tuple[str, str, str], dict[tuple[str, _Labels], float]] = {}
        for number, place in enumerate(self._board.places):
            for key, _, value in _entries(place.counts):
                typ, family, name, labels, help_text = _parsed(key)
                if typ == "gauge" and number not in living:
                    continue
                sums = families.setdefault((typ, family, help_text), defaultdict(float))
                sums[name, labels] += value
        for (typ, family, help_text), sums in families.items():
            metric = Metric(family, help_text, typ)
            for name, labels, value in _accumulated(family, sums) if typ == "histogram" else _plain(sums):
                metric.add_sample(name, dict(labels), value)
            yield metric


def _plain(sums: dict[tuple[str, _Labels], float]) -> Iterator[tuple[str, _Labels, float]]:
    for (name, labels), value in sums.items():
        yield name, labels, value


def _accumulated(family: str, sums: dict[tuple[str, _Labels], float]) -> Iterator[tuple[str, _Labels, float]]:
    """Each bucket with those below it, and their number: workers count each observation in one bucket."""
    buckets: dict[_Labels, list[tuple[float, _Labels, float]]] = defaultdict(list)
    for (name, labels), value in sums.items():
        if name.endswith("_bucket"):
            others = tuple(label for label in labels if label[0] != "le")
            buckets[others].append((float(dict(labels)["le"]), labels, value))
    for others, found in buckets.items():
        below = 0.0
        for _, labels, value in sorted(found):
            below += value
            yield f"{family}_bucket", labels, below
        yield f"{family}_count", others, below
        yield f"{family}_sum", others, sums.get((f"{family}_sum", others), 0.0)


def _parsed(key: str) -> _Key:
    typ, family, name, labels, help_text = json.loads(key)
    return typ, family, name, tuple((label, value) for label, value in labels), help_text


def _entries(memory: memoryview) -> Iterator[tuple[str, int | None, float]]:
    """Key, where its value lies, and the value, of all that are whole."""
    used, at = _LENGTH.unpack_from(memory, 0)[0], _START
    while at < used:
        length = _LENGTH.unpack_from(memory, at)[0]
        begin = at + _LENGTH.size
        value_at = _aligned(begin + length)
        yield (
            bytes(memory[begin : begin + length]).decode(),
            value_at,
            _VALUE.unpack_from(memory, value_at)[0],
        )
        at = value_at + _VALUE.size


def _append(memory: memoryview, key: bytes) -> int | None:
    """Where a new value lies; None where there is no memory left. It counts once it is whole."""
    at = max(_LENGTH.unpack_from(memory, 0)[0], _START)
    begin = at + _LENGTH.size
    value_at = _aligned(begin + len(key))
    end = value_at + _VALUE.size
    if end > len(memory):
        return None
    _LENGTH.pack_into(memory, at, len(key))
    memory[begin : begin + len(key)] = key
    _VALUE.pack_into(memory, value_at, 0.0)
    memory[: _LENGTH.size] = _LENGTH.pack(end)
    return value_at


def _aligned(position: int) -> int:
    return -(-position // 8) * 8
