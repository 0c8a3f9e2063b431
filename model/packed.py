"""Packed rows: users and items as the network takes them, one fixed-width record each, mapped from disk.

The format of the embedded feature store, written by publishing and read by serving:

    STORE/<encoder fingerprint>/CURRENT                 names the generation that readers open
    STORE/<encoder fingerprint>/<generation>/           users.* and items.*:
        <table>.rows.npy  <table>.hashes.npy  <table>.index.npy

Rows of two encoders live side by side; a generation is written whole, then CURRENT is replaced atomically.
Knows nothing of raw values (the encoder made the rows) nor of HTTP.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from model.encoding import EncodedRows, Encoder, SideEncoder
from model.errors import FulcrumError
from model.key_index import KeyIndex

__all__ = ["PackedLayout", "PackedTable", "TableName", "open_tables", "write_store"]

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


def write_store(
    root: Path, encoder: Encoder, tables: Iterable[tuple[TableName, Sequence[str], npt.NDArray[np.void]]]
) -> Path:
    """Write a generation and make it current; readers see the old one or the new one, whole.

    Args:
        root: the store's folder, made where absent.
        encoder: made the records.
        tables: name, unique keys [R] and records [R] of each table, written as they come.

    Returns:
        The generation's folder.
    """
    home = root / encoder.fingerprint
    home.mkdir(parents=True, exist_ok=True)
    generation = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
    unfinished = home / f".unfinished-{generation}"
    unfinished.mkdir()
    try:
        for name, keys, records in tables:
            index = KeyIndex.build(keys)
            for part, array in (("rows", records), ("hashes", index.hashes), ("index", index.rows)):
                _save(unfinished / f"{name}.{part}.npy", array)
        folder = unfinished.rename(home / generation)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    previous = _current(home)
    pointer = home / f".CURRENT-{generation}"
    pointer.write_text(generation)
    pointer.replace(home / "CURRENT")
    for old in home.iterdir():
        # A reader that opened the previous generation goes on reading its maps; older ones go.
        if old.is_dir() and old.name not in {generation, previous} and not old.name.startswith("."):
            shutil.rmtree(old, ignore_errors=True)
    return folder


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
            f"{', '.join(held) or 'none'}); run `fulcrum publish BUNDLE --to {root}` with this bundle"
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
        except (OSError, ValueError, EOFError) as error:
            raise FulcrumError(
                f"feature store: {path} is missing or damaged ({error}); publish again"
            ) from error
        if array.dtype != dtype or array.ndim != 1:
            raise FulcrumError(
                f"feature store: {path} holds {array.dtype}, expected {dtype}; publish again with this bundle"
            )
        # A plain array over the same mapped pages: np.memmap's own indexing costs ten times as much.
        arrays[part] = np.asarray(array).view(np.ndarray)
    rows, hashes, index = arrays["rows"], arrays["hashes"], arrays["index"]
    if not len(rows) == len(hashes) == len(index) or (
        len(index) and not 0 <= index.min() <= index.max() < len(rows)
    ):
        raise FulcrumError(f"feature store: {folder}/{name}.* disagree about their rows; publish again")
    return PackedTable(KeyIndex(hashes, index), rows)


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
