"""Row cache: a log's encoded rows in one file, read back through a shuffle buffer in bounded memory.

A row is a record of 32-bit words, so that a block of rows is one read and a batch one gather:

    user ids | user numbers | item ids | item numbers | labels      (ids int32, the rest float32; NaN: masked)

An epoch takes the file's blocks in random order, as many at a time as the buffer holds, and mixes their
rows. The order comes of the shuffler's state alone, so a training that is resumed goes on within an epoch by
reading only the buffer that it had reached. Blocks are read, not mapped, so that resident memory is the
buffer and no more. Knows nothing of raw values, networks or the run that it belongs to.

Shapes: R rows, B rows of a batch, C words of a record, T tasks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.encoding import EncodedRows
from model.errors import FulcrumError
from training.rows.batches import Batch, EncodedLog, spread_places

_WORD = np.dtype("<i4")
_READ_ROWS = 8192


@dataclass(frozen=True)
class RowLayout:
    """How many words of a record each part takes."""

    user_ids: int
    user_numeric: int
    item_ids: int
    item_numeric: int
    labels: int

    @classmethod
    def of(cls, log: EncodedLog) -> Self:
        """The layout of these rows."""
        parts = (log.user.ids, log.user.numeric, log.item.ids, log.item.numeric, log.labels)
        return cls(*(part.shape[1] for part in parts))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Words a part, in the order in which they lie."""
        return self.user_ids, self.user_numeric, self.item_ids, self.item_numeric, self.labels

    @property
    def words(self) -> int:
        """C."""
        return sum(self.sizes)

    def pack(self, log: EncodedLog) -> npt.NDArray[np.int32]:
        """Rows to records: [R, C]."""
        labels = np.where(log.masks, log.labels, np.float32(np.nan)).astype(np.float32)
        numbers = (np.ascontiguousarray(part) for part in (log.user.numeric, log.item.numeric, labels))
        user, item, known = (part.astype(np.float32, copy=False).view(_WORD) for part in numbers)
        return np.concatenate(
            [log.user.ids, user, log.item.ids, item, known], axis=1, dtype=_WORD, casting="same_kind"
        )

    def batch(self, records: Tensor) -> Batch:
        """Records to what the trainer takes: int32 [B, C]."""
        user_ids, user, item_ids, item, labels = torch.split(records, list(self.sizes), dim=1)
        known = labels.view(torch.float32)
        return Batch(
            user_ids.long(),
            user.view(torch.float32),
            item_ids.long(),
            item.view(torch.float32),
            known,
            ~known.isnan(),
        )


class RowWriter:
    """Writes rows as they come: their records, and where they are judged, the groups in which orders count.

    Args:
        path: the file.
        judged: whether groups are kept.
    """

    def __init__(self, path: Path, *, judged: bool) -> None:
        self.rows = 0
        self.layout: RowLayout | None = None
        self._records = path.open("wb")
        self._groups = _groups(path).open("wb") if judged else None

    def append(self, log: EncodedLog) -> None:
        """Write rows after those that are there."""
        if self.layout is None:
            self.layout = RowLayout.of(log)
        self.layout.pack(log).tofile(self._records)
        if self._groups is not None:
            log.group.astype("<i8").tofile(self._groups)
        self.rows += len(log)

    def close(self) -> None:
        """Leave the files whole on the disk."""
        for file in (self._records, self._groups):
            if file is not None:
                file.flush()
                os.fsync(file.fileno())
                file.close()


class CachedRows:
    """Rows that a `RowWriter` wrote: both what is trained on and what is judged.

    Args:
        path: the file.
        layout: of its records.
        rows: how many it holds.
        means: mean label of each task over its own rows, [T].
        block: rows that are read together.
        buffer: rows that are mixed at a time, at least.

    Raises:
        FulcrumError: the file is not of this size.
    """

    def __init__(
        self, path: Path, layout: RowLayout, rows: int, means: Sequence[float], *, block: int, buffer: int
    ) -> None:
        self._path, self._layout, self._rows = path, layout, rows
        self._means = list(means)
        self._block, self._blocks_at_once = block, max(1, buffer // block)
        self._bytes = layout.words * _WORD.itemsize
        if not path.is_file() or path.stat().st_size != rows * self._bytes:
            raise FulcrumError(f"{path}: the rows of this run are missing or damaged; start a new run")

    def __len__(self) -> int:
        return self._rows

    def label_means(self) -> list[float]:  # noqa: D102 (TrainingRows says it)
        return self._means

    def spread(self, rows: int) -> Batch:  # noqa: D102 (TrainingRows says it)
        places, start, parts = spread_places(self._rows, rows), 0, []
        for records in self._neighbours(_READ_ROWS):
            inside = places[(places >= start) & (places < start + len(records))]
            parts.append(records[inside - start])
            start += len(records)
        return self._layout.batch(torch.from_numpy(np.concatenate(parts)))

    def epoch(self, shuffler: torch.Generator, size: int, done: int) -> Iterator[Batch]:  # noqa: D102
        count = -(-self._rows // self._block)
        windows = torch.split(torch.randperm(count, generator=shuffler), self._blocks_at_once)
        # Drawn at once, so that the shuffler moves on by the same draws however far the epoch goes.
        seeds = torch.randint(2**62, (len(windows),), generator=shuffler).tolist()
        buffer = np.empty((min(self._blocks_at_once * self._block, self._rows), self._layout.words), _WORD)
        records = torch.from_numpy(buffer)
        rest = records[:0]
        with self._path.open("rb", buffering=0) as file:
            for window, seed in zip(windows, seeds, strict=True):
                # Neighbours in the file are read one after another; the mixing makes their order no matter.
                blocks = window.sort().values.tolist()
                rows = sum(self._rows_in(block) for block in blocks)
                if done >= rows:
                    done -= rows
                    continue
                self._read(file, blocks, buffer)
                order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))[done:]
                done = 0
                for some in _cut(order, size, size - len(rest)):
                    rest = torch.cat([rest, records.index_select(0, some)])
                    if len(rest) == size:
                        yield self._layout.batch(rest)
                        rest = rest[:0]
        if len(rest):
            yield self._layout.batch(rest)

    def slices(self, size: int) -> Iterator[Batch]:
        """Neighbouring rows in their order."""
        for records in self._neighbours(size):
            yield self._layout.batch(torch.from_numpy(records))

    @cached_property
    def labels(self) -> npt.NDArray[np.float32]:
        """[R, T]; NaN where the mask is False."""
        last = slice(self._layout.words - self._layout.labels, None)
        parts = [records[:, last].copy() for records in self._neighbours(_READ_ROWS)]
        return np.concatenate(parts).view(np.float32)

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """[R, T]."""
        return ~np.isnan(self.labels)

    @cached_property
    def group(self) -> npt.NDArray[np.int64]:
        """[R]."""
        return np.fromfile(_groups(self._path), "<i8")

    def sample(self, rows: int) -> EncodedLog:
        """So many rows of the beginning, in memory, as users of their own."""
        batch = self._layout.batch(torch.from_numpy(next(self._neighbours(rows))))
        user_ids, user, item_ids, item, labels, masks = (
            part.numpy()
            for part in (
                batch.user_ids,
                batch.user_numeric.contiguous(),
                batch.item_ids,
                batch.item_numeric.contiguous(),
                batch.labels.contiguous(),
                batch.masks,
            )
        )
        numbers = np.arange(len(labels))
        return EncodedLog(
            EncodedRows(user_ids, user), EncodedRows(item_ids, item), labels, masks, numbers, numbers
        )

    def _rows_in(self, block: int) -> int:
        return min(self._block, self._rows - block * self._block)

    def _read(self, file: BinaryIO, blocks: Sequence[int], into: npt.NDArray[np.int32]) -> None:
        """Read blocks, one after another, into the buffer's first rows."""
        start = 0
        for block in blocks:
            stop = start + self._rows_in(block)
            file.seek(block * self._block * self._bytes)
            # `readinto` may stop early, at a signal for one.
            view = into[start:stop].data.cast("B")
            while view:
                got = file.readinto(view)  # type: ignore[attr-defined]
                if not got:
                    raise FulcrumError(f"{self._path}: shorter than it was; start a new run")
                view = view[got:]
            start = stop

    def _neighbours(self, rows: int) -> Iterator[npt.NDArray[np.int32]]:
        with self._path.open("rb") as file:
            for start in range(0, self._rows, rows):
                count = min(rows, self._rows - start) * self._layout.words
                yield np.fromfile(file, _WORD, count).reshape(-1, self._layout.words)


def _cut(order: Tensor, size: int, first: int) -> Iterator[Tensor]:
    """Parts of `size`; the first of `first`, which completes a batch that another buffer began."""
    start, stop = 0, first
    while start < len(order):
        yield order[start:stop]
        start, stop = stop, stop + size


def _groups(path: Path) -> Path:
    return path.with_suffix(".groups")
