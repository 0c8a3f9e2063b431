"""Rows: both splits, encoded once, in files that a report's processes map into their memory.

Knows arrays; which tasks a run learns from is its own choice. The files are the report's while
it trains, and are removed in the end.

Shapes: T tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.encoding import EncodedRows
from training.rows.batches import EncodedLog

_SPLITS = ("train", "validation")


def save_rows(folder: Path, train: EncodedLog, validation: EncodedLog) -> None:
    """Write both splits."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in zip(_SPLITS, (train, validation), strict=True):
        for name, array in _arrays(rows).items():
            np.save(folder / f"{split}.{name}.npy", array)


def map_rows(folder: Path) -> tuple[EncodedLog, EncodedLog]:
    """Both splits, of which processes share the memory until one writes to it."""
    found = []
    for split in _SPLITS:
        # Not read-only, which torch warns of: a page that somebody writes to becomes their own.
        part = {
            name: np.load(folder / f"{split}.{name}.npy", mmap_mode="c")
            for name in ("user_ids", "user_numeric", "item_ids", "item_numeric", "labels", "masks", "group")
        }
        part["user_number"] = np.load(folder / f"{split}.user_number.npy", mmap_mode="c")
        found.append(
            EncodedLog(
                EncodedRows(part["user_ids"], part["user_numeric"]),
                EncodedRows(part["item_ids"], part["item_numeric"]),
                part["labels"],
                part["masks"],
                part["group"],
                part["user_number"],
            )
        )
    return found[0], found[1]


def of_places(rows: EncodedLog, places: Sequence[int]) -> EncodedLog:
    """The same rows with the labels and masks of some tasks, in this order."""
    if list(places) == list(range(rows.labels.shape[1])):
        return rows
    some = list(places)
    return replace(
        rows,
        labels=np.ascontiguousarray(rows.labels[:, some]),
        masks=np.ascontiguousarray(rows.masks[:, some]),
    )


def _arrays(rows: EncodedLog) -> dict[str, npt.NDArray[Any]]:
    return {
        "user_ids": rows.user.ids,
        "user_numeric": rows.user.numeric,
        "item_ids": rows.item.ids,
        "item_numeric": rows.item.numeric,
        "labels": rows.labels,
        "masks": rows.masks,
        "group": rows.group,
        "user_number": rows.user_number,
    }
