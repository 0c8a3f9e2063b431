"""Looks: what controllers saw of experiments, kept apart from the document, which never waits for them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from typing import Any

import orjson

from model.experiments import MOST_LOOKS, LookReport
from service.control.state.control import ControlStore
from service.control.state.desired import StateError

MAX_BYTES = 4 * 1024 * 1024
"""Of all looks that are kept of an experiment."""


class Looks:
    """Looks at experiments, by id. Methods raise StateError where the store cannot be read or written."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    def keep(self, name: str, look: LookReport) -> None:
        """Keep a look. Where there are too many, the one whose neighbours are closest goes: weeks of looks a
        minute are still weeks."""
        newest = look.model_dump_json().encode()
        kept = [*self._lines(name), newest]
        if len(kept) > MOST_LOOKS or _size(kept) > MAX_BYTES:
            times = [orjson.loads(line)["time_ms"] for line in kept]
            while len(kept) > 2 and (len(kept) > MOST_LOOKS or _size(kept) > MAX_BYTES):
                place = min(range(1, len(kept) - 1), key=lambda at: times[at + 1] - times[at - 1])
                del kept[place], times[place]
        self._store.keep_looks(name, newest, b"\n".join(kept))

    def all(self, name: str) -> list[dict[str, Any]]:
        """All that are kept, the oldest first."""
        return [orjson.loads(line) for line in self._lines(name)]

    def newest(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """The newest look at each of these that has one."""
        return {name: orjson.loads(look) for name, look in self._store.newest_looks(names).items()}

    def forget(self, names: Iterable[str]) -> None:
        """Of experiments that are no more. Where it fails, so be it: they decide nothing."""
        with contextlib.suppress(StateError):
            for name in names:
                if self._store.looks(name):
                    self._store.keep_looks(name, b"", b"")

    def _lines(self, name: str) -> list[bytes]:
        return self._store.looks(name).splitlines()


def _size(lines: Collection[bytes]) -> int:
    return sum(len(line) + 1 for line in lines)
