"""Packed rows: users and items as the network takes them, one fixed-width record each, mapped from disk.

The format of the embedded feature store, written by publishing and read by serving:

    STORE/<encoder fingerprint>/CURRENT                 names the generation that readers open
    STORE/<encoder fingerprint>/<generation>/           users.* and items.*:
        <table>.rows.npy  <table>.hashes.npy  <table>.index.npy

Rows of two encoders live side by side; a generation is written whole, then CURRENT is replaced atomically.
An increment is a generation, too: the rows before it with the changed and the new ones among them; a table
that did not change is linked, not copied. Knows nothing of raw values, which the encoder made rows of, nor
of HTTP.
"""

from __future__ import annotations

import os
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
from model.files import FileLock, replace_file

TableName = Literal["users", "items"]
_TABLES: tuple[TableName, TableName] = ("users", "items")


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
    """One table, memory-mapped: keys to records."""

    def __init__(self, index: KeyIndex, records: npt.NDArray[np.void]) -> None:
        self.index = index
        self.records = records

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
    """Name of the generation that `open_tables` would open."""
    return _current(root / encoder.fingerprint)


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
        folder = unfinished.rename(home / generation)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    previous = _current(home)
    replace_file(home / "CURRENT", generation.encode())
    for old in home.iterdir():
        # A reader that opened the previous generation goes on reading its maps; older ones go.
        if old.is_dir() and old.name not in {generation, previous} and not old.name.startswith("."):
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _write_table(folder: Path, name: TableName, index: KeyIndex, records: npt.NDArray[np.void]) -> None:
    for part, array in (("rows", records), ("hashes", index.hashes), ("index", index.rows)):
        _save(folder / f"{name}.{part}.npy", array)


def _link_table(folder: Path, name: TableName, held: Path) -> None:
    for part in ("rows", "hashes", "index"):
        file = f"{name}.{part}.npy"
        try:
            os.link(held / file, folder / file)
        except OSError:  # a file system without links
            shutil.copyfile(held / file, folder / file)


def open_tables(root: Path, encoder: Encoder) -> tuple[str, dict[TableName, PackedTable]]:
    """Map the current generation of this encoder's rows: its name and its tables.

    Raises:
        FulcrumError: the store lacks this encoder's rows, or a file is damaged; names it.
    """
    home = root / encoder.fingerprint
    generation = _current(home)
    if generation is None:
        held = sorted(path.name for path in root.glob("*/") if (path / "CURRENT").is_file())
        raise FulcrumError(
            f"feature store {root}: no rows of encoder {encoder.fingerprint} (it holds "
            f"{', '.join(held) or 'none'}); run `fulcrum publish` for this bundle and this store"
        )
    return generation, {
        name: _open(home / generation, PackedLayout.of(encoder, name), name) for name in _TABLES
    }


def _open(folder: Path, layout: PackedLayout, name: TableName) -> PackedTable:
    arrays = {}
    for part, dtype in (("rows", layout.dtype), ("hashes", np.dtype("<u8")), ("index", np.dtype("<i8"))):
        path = folder / f"{name}.{part}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # numpy raises its tokenizer's errors too over a damaged header
            raise FulcrumError(
                f"feature store: {path} is missing or damaged ({error}); publish again"
            ) from error
        if array.dtype != dtype or array.ndim != 1:
            raise FulcrumError(
                f"feature store: {path} holds {array.dtype}, expected {dtype}; publish again with this bundle"
            )
        if array.offset + array.nbytes != path.stat().st_size:
            raise FulcrumError(
                f"feature store: {path} is damaged: its size is not its header's; publish again"
            )
        # A plain array over the same mapped pages: np.memmap's own indexing costs ten times as much.
        arrays[part] = np.asarray(array).view(np.ndarray)
    rows, hashes, index = arrays["rows"], arrays["hashes"], arrays["index"]
    if not len(rows) == len(hashes) == len(index) or (
        len(index) and not 0 <= index.min() <= index.max() < len(rows)
    ):
        raise FulcrumError(f"feature store: {folder}/{name}.* disagree about their rows; publish again")
    return PackedTable(KeyIndex(hashes, index), rows)


def _bytes(records: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Records to compare bit by bit: NaN equals NaN."""
    return np.ascontiguousarray(records).view(np.dtype((np.void, records.dtype.itemsize)))


def _current(home: Path) -> str | None:
    try:
        return (home / "CURRENT").read_text().strip() or None
    except OSError:
        return None


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
