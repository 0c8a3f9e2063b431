"""A log's own groups as requests, predicted by a bundle: what replay takes where nothing was served yet.

A group is the recipe's (`data.group`, such as a request id). What was shown together is all that is known of
its candidates, so that a replay of it says less than one of a joined log.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from model.bundle import Bundle
from model.errors import FulcrumError
from training.datasets import read_source
from training.evaluation.predicting import bundle_predictions
from training.preparation.expressions import floats
from training.preparation.preparation import PreparedLog, prepare_log
from training.progress import Note, Observer, Stage, Warned, silent
from training.rows.material import encode_rows
from training.tuning.requests import Numbers, Requests

_CANDIDATES = 1 << 18
"""Of requests that are replayed at once."""


class JudgedRequests:
    """Groups of the rows that a bundle is judged on.

    Args:
        bundle: verified; on its own training folder the validation split counts, on any other all rows.
        folder: the log's files; None where the data set needs none.
        scene: that all requests ask for.
        observer: called with progress.
        where: Polars SQL over the log: the rows that count; all where None.

    Attributes:
        tasks: of the bundle.
        log: the rows, prepared.
        rows: of it, of each candidate [N].
        items: their numbers.
        group: the column that names groups.

    Raises:
        FulcrumError: the data does not fit the bundle's schema, or no group has two rows.
    """

    def __init__(
        self,
        bundle: Bundle,
        folder: Path | None,
        scene: str,
        observer: Observer = silent,
        where: str | None = None,
    ) -> None:
        schema = bundle.schema
        source = read_source(schema, folder)
        same = source.fingerprint == bundle.manifest.data.get("fingerprint")
        log = prepare_log(schema, source, split=same)
        rows = np.flatnonzero(log.validation) if same else np.arange(len(log))
        if where is not None:
            rows = rows[floats(log.frame, where, "where")[rows] == 1.0]
        self.tasks = tuple(bundle.task_names)
        self.items = Numbers()
        self.group = schema.data.group or schema.data.user
        if schema.data.group is None:
            observer(Warned("the recipe names no data.group: all rows of a user are taken for one request"))
        # Rows of a group behind each other, in the order of the log; groups in that of their first rows.
        _, first, number, size = np.unique(
            log.group[rows], return_index=True, return_inverse=True, return_counts=True
        )
        order = np.lexsort((np.arange(len(rows)), first[number]))
        order = order[size[number[order]] > 1]
        if not len(order):
            some = "" if where is None else f", where {where}"
            raise FulcrumError(
                f"--data {folder or '(made by the recipe)'}{some}: no group of {self.group} has two rows; "
                "nothing is there to order"
            )
        chosen = rows[order]
        self.log, self.rows = log, chosen
        observer(Stage(f"Predicting {len(chosen):,} rows of {int((size > 1).sum()):,} requests"))
        if len(order) < len(rows):
            observer(Note(f"{len(rows) - len(order):,} rows are alone in their group and are left out"))
        encoded = encode_rows(bundle.encoder, log, chosen)
        predictions = bundle_predictions(bundle.variant_path("fp32"), encoded, observer)
        group = log.group[chosen]
        starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        heads = chosen[starts]
        names = log.frame[schema.data.item or schema.data.user].gather(chosen).cast(pl.String)
        nothing = np.zeros(len(heads), np.bool_)
        self.requests = Requests(
            ids=log.frame[self.group].gather(heads).cast(pl.String).fill_null("(none)").to_numpy(),
            user=log.user[heads],
            time_ms=np.zeros(len(heads), np.int64),
            scene=np.full(len(heads), scene, np.object_),
            said=_said(log, [spec.name for spec in schema.side("context")], heads),
            unit_hash=_mixed(group[starts]),
            fixed=nothing,
            start=np.append(starts, len(chosen)),
            item=self.items.of(names.fill_null("(none)")),
            video_len_s=log.video_len_s[chosen],
            predictions=predictions,
            version=np.full(len(heads), None, np.object_),
            explored=nothing,
            weights={},
            shown=np.zeros(0, np.int64),
            shown_start=np.zeros(len(heads) + 1, np.int64),
        )

    def batches(self) -> list[Requests]:
        """All requests, some at once."""
        of = self.requests.start[:-1] // _CANDIDATES
        return [self.requests.kept(of == part) for part in np.unique(of)]


def _said(log: PreparedLog, features: list[str], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    """What requests say of their context, as JSON [R]: that of their first rows."""
    values = [map(log.columns[name].value, rows.tolist()) for name in features]
    found = [dict(zip(features, row, strict=True)) for row in zip(*values, strict=True)] or [{}] * len(rows)
    return np.array([orjson.dumps(one, default=str).decode() for one in found], np.object_)


def _mixed(number: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """A hash of each group's number: SplitMix64's last step."""
    x = number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return x ^ (x >> np.uint64(31))
