"""Batches: encoded rows of a log as the trainer takes them, in a fresh order each epoch.

Knows neither raw values nor what is made of a batch.

Shapes: B rows of a batch, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.encoding import EncodedRows


@dataclass(frozen=True)
class Batch:
    """Some rows in torch's hands: what one step of training or judging takes, [B, ...] each."""

    user_ids: Tensor
    user_numeric: Tensor
    item_ids: Tensor
    item_numeric: Tensor
    labels: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the network takes: each row with a user of its own."""
        numbers = torch.arange(len(self), device=self.labels.device)
        return self.user_ids, self.user_numeric, self.item_ids, self.item_numeric, numbers

    def each(self, pick: Callable[[Tensor], Tensor]) -> Batch:
        """The same done to every part."""
        return Batch(*(pick(getattr(self, place.name)) for place in fields(self)))

    def on(self, device: torch.device) -> Batch:
        """On a device; the same where it lies there already. A GPU takes it while the caller goes on."""
        # Only from pinned memory is a copy asynchronous; torch keeps that memory until the copy is done.
        lying = self.each(Tensor.pin_memory) if device.type == "cuda" else self
        return lying.each(lambda part: part.to(device, non_blocking=True))

    def widened(self) -> Batch:
        """With ids as int64, which embeddings take."""
        return replace(self, user_ids=self.user_ids.long(), item_ids=self.item_ids.long())


class TrainingRows(Protocol):
    """Rows that an epoch goes through once, wherever they lie."""

    def __len__(self) -> int: ...

    def label_means(self) -> list[float]:
        """Mean label of each task over its own rows, [T]; NaN where it has none."""
        ...

    def spread(self, rows: int) -> Batch:
        """At most so many rows, evenly spread over all, in their order."""
        ...

    def epoch(self, shuffler: torch.Generator, size: int, done: int) -> Iterator[Batch]:
        """Every row once, in an order that depends on the shuffler's state and on nothing else.

        Args:
            shuffler: moves on by the same draws however many rows are taken.
            size: rows a batch; the last one may have fewer.
            done: rows to leave out at the start, whole batches of them.
        """
        ...


class JudgedRows(Protocol):
    """Rows that a network is judged on: labels, masks and groups in memory, the rest in slices."""

    @property
    def labels(self) -> npt.NDArray[np.float32]:
        """[rows, T]; anything where the mask is False."""
        ...

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """[rows, T]."""
        ...

    @property
    def group(self) -> npt.NDArray[np.int64]:
        """[rows]."""
        ...

    def __len__(self) -> int: ...

    def slices(self, size: int) -> Iterator[Batch]:
        """Neighbouring rows in their order."""
        ...


def spread_places(count: int, at_most: int) -> npt.NDArray[np.int64]:
    """Numbers of at most so many of `count` rows, evenly spread."""
    taken = min(count, at_most)
    return np.arange(taken) * count // taken


@dataclass(frozen=True)
class EncodedLog:
    """Rows of a log in memory.

    Attributes:
        user, item: encoded columns, [rows, ...]; ids may be int32, which a batch widens.
        labels: float32 [rows, T]; anything where the mask is False.
        masks: bool [rows, T].
        group, user_number: int64 [rows], for AUC within groups and intervals by user.
    """

    user: EncodedRows
    item: EncodedRows
    labels: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]
    group: npt.NDArray[np.int64]
    user_number: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.bool_]) -> EncodedLog:
        """The rows that are marked; neighbours, as a split by time marks them, without a copy."""
        marked = np.flatnonzero(rows)
        kept: npt.NDArray[np.int64] | slice = marked
        if len(marked) and marked[-1] - marked[0] == len(marked) - 1:
            kept = slice(int(marked[0]), int(marked[-1]) + 1)
        return EncodedLog(
            self.user.take(kept),
            self.item.take(kept),
            self.labels[kept],
            self.masks[kept],
            self.group[kept],
            self.user_number[kept],
        )

    def label_means(self) -> list[float]:  # noqa: D102 (TrainingRows says it)
        columns = zip(self.labels.T, self.masks.T, strict=True)
        return [float(labels[mask].mean()) if mask.any() else float("nan") for labels, mask in columns]

    def spread(self, rows: int) -> Batch:  # noqa: D102 (TrainingRows says it)
        places = torch.from_numpy(spread_places(len(self), rows))
        return self._batch().each(lambda part: part.index_select(0, places)).widened()

    def epoch(self, shuffler: torch.Generator, size: int, done: int) -> Iterator[Batch]:  # noqa: D102
        rows = self._batch()
        order = torch.randperm(len(self), generator=shuffler)
        for start in range(done, len(self), size):
            some = order[start : start + size]
            # Indexing with brackets gives the same and takes five times as long.
            yield rows.each(lambda part, some=some: part.index_select(0, some)).widened()  # type: ignore[misc]

    def slices(self, size: int) -> Iterator[Batch]:  # noqa: D102 (JudgedRows says it)
        rows = self._batch()
        for start in range(0, len(self), size):
            yield rows.each(lambda part, start=start: part[start : start + size]).widened()  # type: ignore[misc]

    def _batch(self) -> Batch:
        """All rows, sharing their memory."""
        arrays = (
            self.user.ids,
            self.user.numeric,
            self.item.ids,
            self.item.numeric,
            self.labels,
            self.masks,
        )
        return Batch(*(torch.from_numpy(array) for array in arrays))
