"""What a crash leaves of a database: a VFS that records what SQLite writes, and a disk that forgets.

A crash leaves of each file what was synced, and of the writes since then some, of which some in part; of
files made or deleted since their folder was synced, some.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

__all__ = ["VFS", "Disk", "Log", "Recorder"]

VFS = "recorder"
"""Name of the VFS, for `apsw.Connection(..., vfs=VFS)`."""
SECTOR = 512
Log = list[tuple[Any, ...]]


class Recorder(apsw.VFS):
    """The default VFS, with a log of all that changes files."""

    def __init__(self) -> None:
        self.log: Log = []
        super().__init__(VFS, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self.log, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.log.append(("delete", Path(filename).name))
        if syncdir:
            self.log.append(("sync folder",))


class _File(apsw.VFSFile):
    def __init__(self, log: Log, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._log = log
        self._name = Path(name if isinstance(name, str) else name.filename()).name
        # As os_unix.c: the first sync of a journal or of a log syncs its folder, too.
        self._syncs_folder = self._name.endswith(("-journal", "-wal"))
        log.append(("create", self._name))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._log.append(("write", self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._log.append(("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._log.append(("sync", self._name))
        if self._syncs_folder:
            self._syncs_folder = False
            self._log.append(("sync folder",))


class Disk:
    """Files as a log leaves them, and as a crash would."""

    def __init__(self) -> None:
        self._there: dict[str, bytearray] = {}
        self._synced: dict[str, bytearray] = {}
        self._since: dict[str, Log] = {}
        self._names: Log = []

    def apply(self, entry: tuple[Any, ...]) -> None:
        match entry:
            case ("create", name):
                if name not in self._there:
                    self._there[name] = bytearray()
                    self._synced[name], self._since[name] = bytearray(), []
                    self._names.append(entry)
            case ("delete", name):
                del self._there[name]
                self._names.append((*entry, self._synced.pop(name), self._since.pop(name)))
            case ("sync", name):
                self._synced[name], self._since[name] = bytearray(self._there[name]), []
            case ("sync folder",):
                self._names = []
            case (_, name, *_):
                _change(self._there[name], entry)
                self._since[name].append(entry)

    def crash(self, folder: Path, draw: random.Random) -> None:
        """Write to a folder what a crash might leave."""
        kept = draw.randint(0, len(self._names))  # a file system keeps changes of a folder in their order
        lost = self._names[kept:]
        gone = {entry[1] for entry in lost if entry[0] == "create"}
        files = {name: (content, self._since[name]) for name, content in self._synced.items()}
        for entry in reversed(lost):
            if entry[0] == "delete":
                files[entry[1]] = entry[2:]
        for name, (synced, since) in files.items():
            if name in gone:
                continue
            content = bytearray(synced)
            for entry in since:
                for part in _left(entry, draw):
                    _change(content, part)
            (folder / name).write_bytes(content)


def _left(entry: tuple[Any, ...], draw: random.Random) -> Iterator[tuple[Any, ...]]:
    """What there is of a change that was not synced: all, nothing, or some sectors, one of them in part."""
    fate = draw.random()
    if fate < 0.4 or entry[0] == "truncate":
        if fate < 0.4:
            yield entry
        return
    if fate < 0.7:
        return
    kind, name, offset, data = entry
    for start in range(0, len(data), SECTOR):
        if draw.random() < 0.5:
            length = draw.randint(1, SECTOR) if draw.random() < 0.2 else SECTOR
            yield kind, name, offset + start, data[start : start + length]


def _change(content: bytearray, entry: tuple[Any, ...]) -> None:
    if entry[0] == "truncate":
        del content[entry[2] :]
        return
    _, _, offset, data = entry
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data
