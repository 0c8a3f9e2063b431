"""Array files of a packed store: written whole with a checksum, mapped after it was compared.

A mapped file that somebody shortens in place ends the process that reads it (SIGBUS), and one that is written
over changes under the reader: so a reader asks `MappedArray.untouched` first. Knows no tables.
"""

from __future__ import annotations

import json
import mmap
import os
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

from model.errors import FulcrumError
from model.files import open_regular, read_file

CHECKSUMS = "checksums.json"
"""XXH3-64 of each file of a generation, by name, in hexadecimal."""

_MOST_BYTES = 64 * 1024
_BLOCK_BYTES = 1 << 16


class StoreDamagedError(FulcrumError):
    """The store has files that cannot be used: publishing again helps."""


class MappedArray:
    """One array file, mapped.

    Attributes:
        array: its elements, read-only.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        """Map the file.

        Args:
            path: an npy file of one dimension.
            dtype: of its elements.

        Raises:
            StoreDamagedError: it is missing, or something else.
        """
        try:
            with open_regular(path) as file:
                found, shape, offset = _header(file)
                size = os.fstat(file.fileno()).st_size
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._descriptor = os.dup(file.fileno())
        except Exception as error:  # numpy raises its tokenizer's errors too over a damaged header
            raise StoreDamagedError(
                f"feature store: {path} is missing or damaged ({error}); publish again"
            ) from error
        weakref.finalize(self, os.close, self._descriptor)
        self._path = path
        self._seen = _stamp(self._descriptor)
        if found != dtype or len(shape) != 1:
            raise StoreDamagedError(
                f"feature store: {path} holds {found}, expected {dtype}; publish again with this bundle"
            )
        if offset + shape[0] * dtype.itemsize != size or self._seen[0] != size:
            raise StoreDamagedError(
                f"feature store: {path} is damaged: its size is not its header's; publish again"
            )
        self.array: npt.NDArray[Any] = np.ndarray(shape, dtype, mapped, offset)

    @property
    def untouched(self) -> bool:
        """Whether the file is as it was when it was mapped: nobody wrote to it."""
        return _stamp(self._descriptor) == self._seen

    def compare(self, checksum: str) -> None:
        """Read the file, through no map, and compare it.

        Raises:
            StoreDamagedError: it has another checksum, or was written to meanwhile.
        """
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            found = _checksum(file)
        if found != checksum or not self.untouched:
            raise StoreDamagedError(
                f"feature store: {self._path} is damaged: expected checksum {checksum}, found {found}; "
                "publish again"
            )


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array, through to the disk."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write down what these files of the folder hold."""
    found = {}
    for name in names:
        with open_regular(folder / name) as file:
            found[name] = _checksum(file)
    (folder / CHECKSUMS).write_text(json.dumps(found, indent=2))


def read_checksums(folder: Path) -> Mapping[str, str] | None:
    """By file; None for a generation of before there were any.

    Raises:
        StoreDamagedError: they cannot be read.
    """
    path = folder / CHECKSUMS
    try:
        found = json.loads(read_file(path, _MOST_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreDamagedError(f"feature store: {path} is damaged ({error}); publish again") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise StoreDamagedError(f"feature store: {path} is damaged: it holds no checksums; publish again")
    return found


def _header(file: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Of an npy file: type, shape, and where the elements begin."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"expected npy format 1.0, found {version[0]}.{version[1]}")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if by_columns and len(shape) > 1:
        raise ValueError("expected rows one after the other")
    return dtype, shape, file.tell()


def _stamp(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns


def _checksum(file: BinaryIO) -> str:
    digest = xxhash.xxh3_64()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()
