"""Board: memory that the supervisor and its workers share. Knows nothing of what is written on it.

Made before the workers are forked, so that all of them have it, and on no disk: a full or a cleaned folder
changes nothing, and no page of it can be missing. Each worker writes to its own place alone:

    heartbeat | report | fusion config | counts
"""

from __future__ import annotations

import mmap
import struct
import time
import zlib

_PAGE = 4096
_REPORT_BYTES = 512 << 10
_FUSION_BYTES = 2 * ((1 << 20) + _PAGE)
_COUNTS_BYTES = 4 << 20
_PLACE_BYTES = _PAGE + _REPORT_BYTES + _FUSION_BYTES + _COUNTS_BYTES
_HEADER = struct.Struct("<II")
_NUMBER = struct.Struct("<d")
_START = 8
_TRIES = 10
"""Reads of a record, where two writes fall into one."""


class Record:
    """Bytes that one process writes and others read, whole: those before them stand until the new ones do.

    Args:
        memory: where they lie, in two halves of which one counts.
    """

    def __init__(self, memory: memoryview) -> None:
        half = (len(memory) - _START) // 2
        self._which = memory[:1]
        self._halves = [memory[start : start + half] for start in (_START, _START + half)]

    def write(self, content: bytes) -> bool:
        """Put `content` in place of what is there; False where it is too long, and nothing has changed."""
        other = 1 - self._which[0]
        half, end = self._halves[other], _HEADER.size + len(content)
        if end > len(half):
            return False
        half[_HEADER.size : end] = content
        _HEADER.pack_into(half, 0, len(content), zlib.crc32(content))
        self._which[0] = other
        return True

    def read(self) -> bytes | None:
        """What was written last, if anything."""
        for _ in range(_TRIES):
            half = self._halves[self._which[0]]
            length, checksum = _HEADER.unpack_from(half, 0)
            content = bytes(half[_HEADER.size : _HEADER.size + length])
            if length and zlib.crc32(content) == checksum:
                return content
        return None

    def clear(self) -> None:
        """Nothing is there."""
        for half in self._halves:
            _HEADER.pack_into(half, 0, 0, 0)


class Place:
    """What one worker after another writes.

    Attributes:
        report: of itself.
        fusion: the last good fusion config, for a worker that starts while the file holds a bad one.
        counts: metrics, as `service.telemetry.shared_values` lays them out.
    """

    def __init__(self, memory: memoryview) -> None:
        self._beat = memory[:_PAGE]
        parts, start = [], _PAGE
        for size in (_REPORT_BYTES, _FUSION_BYTES, _COUNTS_BYTES):
            parts.append(memory[start : start + size])
            start += size
        self.report, self.fusion, self.counts = Record(parts[0]), Record(parts[1]), parts[2]

    def beat(self) -> None:
        """Its event loop turns."""
        _NUMBER.pack_into(self._beat, 0, time.monotonic())

    @property
    def beaten_at(self) -> float:
        """When it last did, of `time.monotonic`, which all processes share; 0 for never."""
        return float(_NUMBER.unpack_from(self._beat, 0)[0])

    def leave(self) -> None:
        """The worker is gone: what it said of itself no longer holds; what it counted does."""
        _NUMBER.pack_into(self._beat, 0, 0.0)
        self.report.clear()


class Board:
    """The shared memory of one service. Pages that nobody writes to take no memory.

    Args:
        workers: how many places.
    """

    def __init__(self, workers: int) -> None:
        flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        memory = memoryview(mmap.mmap(-1, _PAGE + workers * _PLACE_BYTES, flags=flags))
        self._replaced = memory[:_PAGE]
        starts = range(_PAGE, len(memory), _PLACE_BYTES)
        self.places = [Place(memory[start : start + _PLACE_BYTES]) for start in starts]

    @property
    def replaced(self) -> int:
        """How many workers died and were replaced since the start; the supervisor writes it."""
        return int(_NUMBER.unpack_from(self._replaced, 0)[0])

    @replaced.setter
    def replaced(self, number: int) -> None:
        _NUMBER.pack_into(self._replaced, 0, float(number))
