"""Packed rows: users and items as the network takes them, one fixed-width record each, mapped from disk.

The format of the embedded feature store, written by publishing and read by serving:

    STORE/<encoder fingerprint>/CURRENT                 names the generation that readers open
    STORE/<encoder fingerprint>/<generation>/           users.* and items.*:
        <table>.rows.npy  <table>.hashes.npy  <table>.index.npy     and checksums.json of all of them

Rows of two encoders live side by side; a generation is written whole, then CURRENT is replaced atomically.
An increment is a generation, too: the rows before it with the changed and the new ones among them; a table
that did not change is linked, not copied. Knows nothing of raw values, which the encoder made rows of, nor
of HTTP.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt

from model.encoding import EncodedRows, Encoder, SideEncoder
from model.encoding.key_index import KeyIndex
from model.errors import FulcrumError
from model.files import FileLock, read_file, replace_file
from model.store.arrays import (
    MappedArray,
    StoreDamagedError,
    read_checksums,
    write_array,
    write_checksums,
)

TableName = Literal["users", "items"]
_TABLES: tuple[TableName, TableName] = ("users", "items")
_PARTS = ("rows", "hashes", "index")
_GENERATION = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,200}")


@dataclass(frozen=True)
class PackedLayout:
    """How a row of one side lies in a record.

    Attributes:
        ids: embedding indices a row.
        numeric: float32 columns a row.
        length: whether the record holds the video's length in seconds (NaN where unknown).
    """

    ids: int
    numeric: int
    length: bool

    @classmethod
    def of(cls, encoder: Encoder, table: TableName) -> Self:
        """The layout of this encoder's users or items."""
        side: SideEncoder = encoder.sides["user" if table == "users" else "item"]
        return cls(side.id_columns, side.numeric_columns, table == "items")

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The record."""
        fields: list[tuple[Any, ...]] = [("ids", "<i8", (self.ids,)), ("numeric", "<f4", (self.numeric,))]
        if self.length:
            fields.append(("video_len_s", "<f8"))
        return np.dtype(fields)

    def pack(
        self, rows: EncodedRows, video_len_s: npt.NDArray[np.float64] | None = None
    ) -> npt.NDArray[np.void]:
        """Encoded rows to records: [R]."""
        records = np.zeros(len(rows), self.dtype)
        records["ids"] = rows.ids
        records["numeric"] = rows.numeric
        if self.length:
            records["video_len_s"] = np.nan if video_len_s is None else video_len_s
        return records


class PackedTable:
    """One table, memory-mapped: keys to records.

    Args:
        index: row number of each key.
        records: [R].
        files: that both are mapped from.
    """

    def __init__(
        self, index: KeyIndex, records: npt.NDArray[np.void], files: Sequence[MappedArray] = ()
    ) -> None:
        self.index = index
        self.records = records
        self._files = files

    @property
    def untouched(self) -> bool:
        """Whether nobody wrote to its files since they were mapped; else, to read may end the process."""
        return all(file.untouched for file in self._files)

    def __len__(self) -> int:
        return len(self.records)

    def find(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Record number of each key, -1 where the table lacks it."""
        return self.index.find(keys)

    def merge(self, index: KeyIndex, records: npt.NDArray[np.void]) -> tuple[Self | None, int]:
        """This table with other records in it, and how many of them differ; None where none does."""
        places = self.index.find_hashes(index.hashes)  # of the hash's own order, as is what follows
        given = records[index.rows]
        known = places >= 0
        differs = np.ones(len(given), np.bool_)
        differs[known] = _bytes(self.records[places[known]]) != _bytes(given[known])
        changed = int(differs.sum())
        if not changed:
            return None, 0
        rows = np.concatenate([self.records, given[~known]])
        rows[places[known & differs]] = given[known & differs]
        added = np.arange(len(self.records), len(rows))
        hashes = np.concatenate([self.index.hashes, index.hashes[~known]])
        order = np.argsort(hashes, kind="stable")
        return type(self)(
            KeyIndex(hashes[order], np.concatenate([self.index.rows, added])[order]), rows
        ), changed


_Rows = tuple[TableName, Sequence[str], npt.NDArray[np.void]]


def write_store(root: Path, encoder: Encoder, tables: Iterable[_Rows]) -> Path:
    """Write a generation of these rows alone and make it current; readers see the old or the new one, whole.

    Args:
        root: the store's folder, made where absent.
        encoder: made the records.
        tables: name, unique keys [R] and records [R] of each table, written as they come.

    Returns:
        The generation's folder.
    """
    home = root / encoder.fingerprint

    def write(folder: Path) -> bool:
        for name, keys, records in tables:
            _write_table(folder, name, KeyIndex.build(keys), records)
        return True

    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home):
        return cast(Path, _add_generation(home, write))


def update_store(root: Path, encoder: Encoder, tables: Iterable[_Rows]) -> dict[TableName, int]:
    """Put rows in the place of those with their keys, or beside them; rows of other keys stay.

    Where nothing changed, no generation is made.

    Args:
        root: the store's folder, made where absent.
        encoder: made the records.
        tables: name, unique keys [R] and records [R] of each table.

    Returns:
        Rows that changed or are new, by table.
    """
    home = root / encoder.fingerprint
    changed: dict[TableName, int] = {}

    def write(folder: Path) -> bool:
        generation, held = _held(root, encoder)
        for name, keys, records in tables:
            index = KeyIndex.build(keys)
            table = held.get(name)
            if table is None:
                changed[name] = len(keys)
                _write_table(folder, name, index, records)
                continue
            merged, changed[name] = table.merge(index, records)
            if merged is not None:
                _write_table(folder, name, merged.index, merged.records)
            elif generation is not None:
                _link_table(folder, name, home / generation)
        return not held or any(changed.values())

    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home):  # one publishing at a time
        _add_generation(home, write)
    return changed


def current_generation(root: Path, encoder: Encoder) -> str | None:
    """Name of the generation that `open_tables` would open; None where there is none.

    Raises:
        StoreDamagedError: CURRENT names none.
    """
    return _current(root / encoder.fingerprint)


def generation_stamp(root: Path, encoder: Encoder) -> tuple[object, ...]:
    """Differs once `open_tables` might find something else: a generation, or other files in it."""
    home = root / encoder.fingerprint
    try:
        generation = _current(home)
    except StoreDamagedError as error:
        return (str(error),)
    stats: list[object] = []
    for name in (f"{table}.{part}.npy" for table in _TABLES for part in _PARTS):
        try:
            found = (home / (generation or "") / name).stat()
            stats.append((found.st_ino, found.st_size, found.st_mtime_ns))
        except OSError as error:
            stats.append(error.errno)
    return (generation, *stats)


def new_generation() -> str:
    """A name that sorts by time."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def _held(root: Path, encoder: Encoder) -> tuple[str | None, dict[TableName, PackedTable]]:
    """The generation to add to; nothing where there is none, or where it is damaged and to be made anew."""
    try:
        return open_tables(root, encoder)
    except FulcrumError:
        return None, {}


def _add_generation(home: Path, write: Callable[[Path], bool]) -> Path | None:
    """Let `write` fill a folder and make it current; None where it says that there is nothing to keep."""
    for killed in home.glob(".unfinished-*"):
        shutil.rmtree(killed, ignore_errors=True)
    generation = new_generation()
    unfinished = home / f".unfinished-{generation}"
    unfinished.mkdir()
    try:
        if not write(unfinished):
            shutil.rmtree(unfinished, ignore_errors=True)
            return None
        write_checksums(unfinished, sorted(path.name for path in unfinished.iterdir()))
        folder = unfinished.rename(home / generation)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    try:
        previous = _current(home)
    except StoreDamagedError:
        previous = None
    replace_file(home / "CURRENT", generation.encode())
    for old in home.iterdir():
        # A reader that opened the previous generation goes on reading its maps; older ones go.
        if old.is_dir() and old.name not in {generation, previous} and not old.name.startswith("."):
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _write_table(folder: Path, name: TableName, index: KeyIndex, records: npt.NDArray[np.void]) -> None:
    for part, array in (("rows", records), ("hashes", index.hashes), ("index", index.rows)):
        write_array(folder / f"{name}.{part}.npy", array)


def _link_table(folder: Path, name: TableName, held: Path) -> None:
    for part in _PARTS:
        file = f"{name}.{part}.npy"
        try:
            os.link(held / file, folder / file)
        except OSError:  # a file system without links
            shutil.copyfile(held / file, folder / file)


def open_tables(root: Path, encoder: Encoder) -> tuple[str, dict[TableName, PackedTable]]:
    """Map the current generation of this encoder's rows: its name and its tables.

    Raises:
        StoreDamagedError: a file is damaged; names it.
        FulcrumError: the store lacks this encoder's rows.
    """
    home = root / encoder.fingerprint
    generation = _current(home)
    if generation is None:
        held = sorted(path.name for path in root.glob("*/") if (path / "CURRENT").is_file())
        raise FulcrumError(
            f"feature store {root}: no rows of encoder {encoder.fingerprint} (it holds "
            f"{', '.join(held) or 'none'}); run `fulcrum publish` for this bundle and this store"
        )
    folder = home / generation
    opened = {name: _open(folder, PackedLayout.of(encoder, name), name) for name in _TABLES}
    checksums = read_checksums(folder)
    if checksums is not None:
        for name, files in opened.items():
            for part, file in files.items():
                file.compare(checksums.get(f"{name}.{part}.npy", "none"))
    return generation, {
        name: PackedTable(
            KeyIndex(files["hashes"].array, files["index"].array), files["rows"].array, list(files.values())
        )
        for name, files in opened.items()
    }


def _open(folder: Path, layout: PackedLayout, name: TableName) -> dict[str, MappedArray]:
    """The files of a table by part, which fit each other."""
    dtypes: tuple[np.dtype[Any], ...] = (layout.dtype, np.dtype("<u8"), np.dtype("<i8"))
    files = {
        part: MappedArray(folder / f"{name}.{part}.npy", dtype)
        for part, dtype in zip(_PARTS, dtypes, strict=True)
    }
    rows, hashes, index = (files[part].array for part in _PARTS)
    if not len(rows) == len(hashes) == len(index) or (
        len(index) and not 0 <= index.min() <= index.max() < len(rows)
    ):
        raise StoreDamagedError(f"feature store: {folder}/{name}.* disagree about their rows; publish again")
    return files


def _bytes(records: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Records to compare bit by bit: NaN equals NaN."""
    return np.ascontiguousarray(records).view(np.dtype((np.void, records.dtype.itemsize)))


def _current(home: Path) -> str | None:
    path = home / "CURRENT"
    try:
        generation = read_file(path, 1024).decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreDamagedError(
            f"feature store: {path} cannot be read ({error.strerror}); publish again"
        ) from error
    if not _GENERATION.fullmatch(generation):
        raise StoreDamagedError(f"feature store: {path} names no generation; publish again")
    return generation
