"""The judged rows: those of a log whose predictions are held against their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.schema import Schema
from training.preparation.preparation import PreparedLog
from training.rows.batches import EncodedLog

Predictions = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Judged:
    """The rows that are judged.

    Attributes:
        schema: of the bundle whose labels count.
        log: all rows.
        rows: the judged ones' places in it.
        encoded: the judged ones, as the network takes them.
        group: the column of `encoded.group`.
    """

    schema: Schema
    log: PreparedLog
    rows: npt.NDArray[np.int64]
    encoded: EncodedLog
    group: str

    @property
    def video_len_s(self) -> npt.NDArray[np.float64]:
        """Seconds, NaN where unknown, [judged rows]."""
        return self.log.video_len_s[self.rows]

    def known(self, place: int) -> npt.NDArray[np.bool_]:
        """Rows whose label is known, inside the task's sample space or not."""
        labels = self.encoded.labels[:, place]
        binary = self.schema.tasks[place].type == "binary"
        return np.isin(labels, (0.0, 1.0)) if binary else np.isfinite(labels)
