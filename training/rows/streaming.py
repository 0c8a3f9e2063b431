"""Streaming: a log that is larger than memory, to an encoder and a cache of encoded rows, chunk by chunk.

Two passes over the log: the first fits the encoder on the training rows and counts labels, the second
encodes. What holds a chunk is what it takes, however long the log: beside it there are the vocabularies, a
sample of the training rows, and nothing that grows with rows. Knows neither networks nor what becomes of the
cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from model.encoding import Encoder
from model.errors import FulcrumError
from model.files import fresh_folder
from model.schema import LastSplit, RuleSplit, Schema
from training.datasets.source import LogSource, LogStream
from training.preparation.doubts import Doubts
from training.preparation.expressions import column_names, evaluated, floats
from training.preparation.joined import refuse_timeless
from training.preparation.needed import needed_columns
from training.preparation.preparation import PreparedLog, prepare_log
from training.preparation.splits import time_of_share
from training.progress import Advanced, Observer, Warned, silent
from training.recipe import StreamConfig
from training.rows.batches import EncodedLog
from training.rows.example import example_request
from training.rows.row_cache import CachedRows, RowLayout, RowWriter
from training.rows.summary import TrainingSummary

_NOTES = "rows.json"
_ENCODER = "encoder.json"
_SPLITS = ("train", "validation")
_ROWS_ALONE = 10_000


class StreamedLog:
    """A log prepared chunk by chunk, as often as it is asked for; each row as `prepare_log` prepares it.

    Args:
        schema: what to prepare.
        stream: the log and its tables.
        rows: of a chunk.

    Raises:
        FulcrumError: the schema asks for what needs the whole log.
    """

    def __init__(self, schema: Schema, stream: LogStream, rows: int) -> None:
        _refuse_what_needs_the_whole_log(schema)
        self.schema = schema
        self._stream, self._rows = stream, rows
        self._cut: Any = None
        # Rows are kept, and splits cut, here: a chunk may well be without any of either.
        data = schema.data.model_copy(update={"keep": None})
        self._of_chunk = schema.model_copy(update={"data": data})
        keys = {table.key for table in stream.tables}
        self._columns = sorted(needed_columns(schema) | keys | set(_read_columns(schema.data.keep)))

    @property
    def rows(self) -> int:
        """Rows of the log, before any is left out."""
        return self._stream.rows

    def chunks(self, doing: str, observer: Observer = silent) -> Iterator[PreparedLog]:
        """The log's rows, with the splits marked as `prepare_log` marks them."""
        data = self.schema.data
        if isinstance(data.split, LastSplit) and self._cut is None:
            self._cut = self._time_of_cut(data.split.last, observer)
        for frame in self._kept(self._stream.chunks(self._rows, self._columns), doing, observer):
            log = prepare_log(self._of_chunk, LogSource(frame, self._stream.tables, ""), split=False)
            self._check_alone(log.frame)
            train, validation = self._split(log.frame)
            # Numbers by rank would need all rows; hashes tell groups and users apart as well.
            group, user = (
                log.frame[name].hash().to_numpy().view(np.int64)
                for name in (data.group or data.user, data.user)
            )
            yield replace(log, train=train, validation=validation, group=group, user=user)

    def _kept(self, frames: Iterator[pl.DataFrame], doing: str, observer: Observer) -> Iterator[pl.DataFrame]:
        done = 0
        keep = self.schema.data.keep
        for frame in frames:
            kept = frame if keep is None else frame.filter(truths(frame, keep, "data.keep"))
            if kept.height:
                yield kept
            done += frame.height
            observer(Advanced(doing, done, self.rows, "rows"))

    def _time_of_cut(self, share: float, observer: Observer) -> Any:
        """Where the last share begins: the same moment as in the whole log, sorted."""
        time = self.schema.data.time or ""

        def times() -> Iterator[pl.Series]:
            columns = [time, *_read_columns(self.schema.data.keep)]
            chunks = self._stream.chunks(self._rows, columns)
            for frame in self._kept(chunks, "finding the time that parts the splits", observer):
                refuse_timeless(frame[time])
                yield frame[time]

        return time_of_share(times, 1.0 - share)

    def _split(self, frame: pl.DataFrame) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        data = self.schema.data
        if isinstance(data.split, RuleSplit):
            train = truths(frame, data.split.train, "data.split.train")
            validation = truths(frame, data.split.validation, "data.split.validation")
            if both := int((train & validation).sum()):
                raise FulcrumError(f"data.split: {both} rows are in training and in validation; part them")
            return train, validation
        train = (frame[data.time or ""] < self._cut).to_numpy()
        return train, ~train

    def _check_alone(self, frame: pl.DataFrame) -> None:
        """A value that depends on other rows would depend on where chunks end."""
        some = frame.head(min(_ROWS_ALONE, (frame.height + 1) // 2))
        for field, text in _expressions(self.schema):
            whole = evaluated(text, frame, field).head(some.height)
            if not evaluated(text, some, field).equals(whole, null_equal=True):
                raise FulcrumError(
                    f"{field}: {text!r} gives a row another value when other rows are left out, which a "
                    "streamed log cannot have; put the value into a column, or train without training.stream"
                )


@dataclass(frozen=True)
class RowStore:
    """Where a streamed log's encoded rows are kept, and how.

    Attributes:
        folder: of this log's rows alone; it appears whole or not at all.
        config: how they are read back.
        seed: of the sample that numbers are standardised by.
    """

    folder: Path
    config: StreamConfig
    seed: int


class StreamedRows:
    """What a training needs of a streamed log.

    Attributes:
        encoder: fitted on the training rows.
        train, validation: the cached rows of the two splits.
        example: of `example_request`, of the last chunk with validation rows.
    """

    def __init__(self, folder: Path, schema: Schema, config: StreamConfig) -> None:
        notes = orjson.loads((folder / _NOTES).read_bytes())
        self.folder = folder
        self.made_of: dict[str, str] = notes["made_of"]
        self.example: dict[str, Any] = notes["example"]
        self.encoder = Encoder.from_json(schema, (folder / _ENCODER).read_bytes())
        layout = RowLayout(**notes["layout"])
        self.train, self.validation = (
            CachedRows(
                folder / f"{split}.rows",
                layout,
                notes["rows"][split],
                [float("nan") if mean is None else mean for mean in notes["label_means"]],
                block=config.block,
                buffer=config.buffer,
            )
            for split in _SPLITS
        )


def open_rows(store: RowStore, schema: Schema, made_of: Mapping[str, str]) -> StreamedRows | None:
    """The rows that a store holds, None where there are none, or none made of this."""
    try:
        rows = StreamedRows(store.folder, schema, store.config)
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, FulcrumError):
        return None
    return rows if rows.made_of == made_of else None


def encode_stream(
    log: StreamedLog,
    store: RowStore,
    made_of: Mapping[str, str],
    grow: Callable[[Encoder], Encoder],
    observer: Observer = silent,
) -> None:
    """Fit an encoder and write both splits' rows into a store, in place of what it holds.

    Args:
        log: read twice.
        store: where to.
        made_of: names what the rows come from, for `open_rows`.
        grow: from the encoder that was fitted to the one that is used.
        observer: called with `Advanced` as the reading goes on.

    Raises:
        FulcrumError: bad data, as in `prepare_log`; or a split is empty, or a task has nothing to learn from.
    """
    folder, schema = store.folder, log.schema
    with fresh_folder(folder) as fresh:
        summary, labels, doubts = TrainingSummary(schema, store.seed), _Labels(schema), Doubts(schema)
        for chunk in log.chunks("fitting the encoder", observer):
            labels.add(chunk)
            doubts.add(chunk)
            summary.add(chunk.columns, chunk.train)
        labels.check(log.rows)
        for doubt in doubts.found():
            observer(Warned(doubt))
        encoder = grow(Encoder.fit(schema, summary.columns()))
        del summary
        writers = {
            split: RowWriter(fresh / f"{split}.rows", judged=split == "validation") for split in _SPLITS
        }
        shown: dict[str, Any] = {}
        for chunk in log.chunks("encoding", observer):
            user, item = encoder.encode(chunk.columns, len(chunk))
            encoded = EncodedLog(user, item, chunk.labels, chunk.masks, chunk.group, chunk.user)
            for split, rows in (("train", chunk.train), ("validation", chunk.validation)):
                if rows.any():
                    writers[split].append(encoded.take(rows))
            if chunk.validation.any():
                shown = example_request(schema, chunk)
        for writer in writers.values():
            writer.close()
        layout = writers["train"].layout
        notes = {
            "made_of": dict(made_of),
            "layout": asdict(layout) if layout is not None else {},
            "rows": {split: writer.rows for split, writer in writers.items()},
            "label_means": labels.means(),
            "example": shown,
        }
        (fresh / _ENCODER).write_bytes(encoder.to_json())
        (fresh / _NOTES).write_bytes(orjson.dumps(notes, option=orjson.OPT_INDENT_2))


class _Labels:
    """Rows of the splits, and sums of each task's training labels."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        tasks = len(schema.tasks)
        self._rows = dict.fromkeys(_SPLITS, 0)
        self._count, self._sum = np.zeros(tasks, np.int64), np.zeros(tasks)
        self._low, self._high = np.full(tasks, np.inf), np.full(tasks, -np.inf)

    def add(self, chunk: PreparedLog) -> None:
        self._rows["train"] += int(chunk.train.sum())
        self._rows["validation"] += int(chunk.validation.sum())
        for place in range(len(self._count)):
            labels = chunk.labels[chunk.train & chunk.masks[:, place], place].astype(np.float64)
            self._count[place] += len(labels)
            self._sum[place] += labels.sum()
            self._low[place] = min(self._low[place], labels.min(initial=np.inf))
            self._high[place] = max(self._high[place], labels.max(initial=-np.inf))

    def means(self) -> list[float | None]:
        """[T]; None where a task has no rows."""
        return [
            float(total / count) if count else None
            for total, count in zip(self._sum, self._count, strict=True)
        ]

    def check(self, rows: int) -> None:
        """Refuse what nothing can be learned from."""
        for split, count in self._rows.items():
            if not count:
                raise FulcrumError(f"data.split.{split}: no row of {rows} is in it; is the rule right?")
        for place, task in enumerate(self._schema.tasks):
            what = None
            if not self._count[place]:
                what = "no row has a label"
            elif task.type == "binary" and self._low[place] == self._high[place]:
                what = f"every label is {self._low[place]:g}"
            if what is not None:
                raise FulcrumError(
                    f"tasks.{task.name}: {what} in the training split; nothing can be learned from it"
                )


def truths(frame: pl.DataFrame, text: str, field: str) -> npt.NDArray[np.bool_]:
    """Rows of which an expression holds."""
    return np.asarray(floats(frame, text, field) == 1.0)


def _expressions(schema: Schema) -> Iterator[tuple[str, str]]:
    """Those that see other rows of the log where it is prepared whole; features never do."""
    split = schema.data.split
    if isinstance(split, RuleSplit):
        yield from (("data.split.train", split.train), ("data.split.validation", split.validation))
    for task in schema.tasks:
        yield f"tasks.{task.name}.label", task.label
        if task.where is not None:
            yield f"tasks.{task.name}.where", task.where


def _read_columns(text: str | None) -> Sequence[str]:
    return sorted(column_names(text)) if text is not None else ()


def _refuse_what_needs_the_whole_log(schema: Schema) -> None:
    for spec in schema.data.past:
        raise FulcrumError(
            f"data: {spec.name!r} is made of earlier rows, which a streamed log cannot look back at; "
            "put it into a table with as_of, or train without training.stream"
        )
