"""Material: what a training needs of its data, from a log in memory or one that is streamed.

Reads, prepares, fits the encoder and encodes. Knows neither networks nor what a run folder holds, but for the
place where a streamed log's rows are kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from model.encoding import EncodedRows, Encoder
from model.errors import FulcrumError
from model.schema import Schema
from training.datasets import read_source, stream_source
from training.datasets.served import over_what_was_served
from training.preparation.doubts import Doubts, known_past
from training.preparation.preparation import PreparedLog, prepare_log
from training.progress import Note, Observer, Warned, silent
from training.rows.batches import EncodedLog, JudgedRows, TrainingRows
from training.rows.example import example_request
from training.rows.streaming import RowStore, StreamedLog, encode_stream, open_rows

_SAMPLED = 4096


@dataclass(frozen=True)
class Growth:
    """What becomes of an encoder that was fitted on the training rows.

    Attributes:
        grow: from that encoder to the one that is used.
        source: names what it grows from, such as a bundle's version.
    """

    grow: Callable[[Encoder], Encoder]
    source: str


AS_FITTED = Growth(lambda fitted: fitted, "")
"""The fitted encoder is used as it is."""


@dataclass(frozen=True)
class Material:
    """Both splits, encoded, and what belongs to them.

    Attributes:
        encoder: what the rows are encoded by.
        train, validation: the splits' rows.
        sample: validation rows in memory, to compare torch and onnxruntime on.
        example: a request that the bundle can answer.
        fingerprint: of the data.
        held_out: the log again, piece by piece, and the same rows as another schema prepares them: the first
            one marks the validation rows, in the order of `validation`.
        past: of `known_past`.
        scratch: a folder that is of no use after the training.
    """

    encoder: Encoder
    train: TrainingRows
    validation: JudgedRows
    sample: EncodedLog
    example: dict[str, Any]
    fingerprint: str
    held_out: Callable[[Schema], Iterator[tuple[PreparedLog, PreparedLog]]]
    past: dict[str, Any] = field(default_factory=dict)
    scratch: Path | None = field(default=None)

    def clear(self) -> None:
        """Remove what was kept for the training alone."""
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)


def material_in_memory(
    schema: Schema, folder: Path | None, growth: Growth = AS_FITTED, observer: Observer = silent
) -> Material:
    """Read the whole log.

    Args:
        schema: what to read.
        folder: the data, None where they need no files.
        growth: what becomes of the fitted encoder.
        observer: called with notes.

    Raises:
        FulcrumError: bad data, or data that nothing can be learned from.
    """
    source = read_source(schema, folder)
    for note in source.notes:
        observer(Note(note))
    log = prepare_log(schema, source)
    doubts = Doubts(schema, source)
    doubts.add(log)
    for doubt in doubts.found():
        observer(Warned(doubt))
    counts = f"{log.train.sum():,} to train on, {log.validation.sum():,} to validate"
    observer(Note(f"{len(log):,} impressions: {counts}"))
    for task, positives in _empty_tasks(schema, log):
        raise FulcrumError(f"tasks.{task}: {positives} in the training split; nothing can be learned from it")
    encoder = growth.grow(
        Encoder.fit(schema, {name: column.take(log.train) for name, column in log.columns.items()})
    )
    encoded = encode_log(encoder, log)
    validation = encoded.take(log.validation)

    def held_out(other: Schema) -> Iterator[tuple[PreparedLog, PreparedLog]]:
        other = over_what_was_served(other, schema)
        rows = {"split": schema.data.split, "keep": schema.data.keep}
        same = other.data.model_copy(update=rows) == schema.data
        same = same and other.id_columns() == schema.id_columns()
        theirs = source if same else read_source(other, folder)
        yield log, prepare_log(other, theirs, split=False)

    return Material(
        encoder,
        encoded.take(log.train),
        validation,
        validation,
        example_request(schema, log),
        source.fingerprint,
        held_out,
        known_past(schema, log),
    )


def streamed_material(
    schema: Schema,
    folder: Path | None,
    store: RowStore,
    growth: Growth = AS_FITTED,
    observer: Observer = silent,
) -> Material:
    """Read the log chunk by chunk; its encoded rows are kept in the store, and found there again.

    Args:
        schema: what to read.
        folder: the data.
        store: where its rows are kept.
        growth: what becomes of the fitted encoder.
        observer: called with `Advanced` and notes.

    Raises:
        FulcrumError: bad data, data that nothing can be learned from, or a schema that needs the whole log.
    """
    stream = stream_source(schema, folder)
    chunk = store.config.chunk
    log = StreamedLog(schema, stream, chunk)
    made_of = {
        "data": stream.fingerprint,
        "recipe": _hash(schema, chunk, store.seed),
        "from": growth.source,
    }
    rows = open_rows(store, schema, made_of)
    if rows is None:
        encode_stream(log, store, made_of, growth.grow, observer)
        rows = open_rows(store, schema, made_of)
        if rows is None:
            raise FulcrumError(
                f"{store.folder}: the rows that were just written cannot be read; is the disk full?"
            )
    counts = f"{len(rows.train):,} to train on, {len(rows.validation):,} to validate"
    observer(Note(f"{log.rows:,} impressions, streamed: {counts}"))

    def held_out(other: Schema) -> Iterator[tuple[PreparedLog, PreparedLog]]:
        cut = other.data.model_copy(update={"split": schema.data.split})
        others = StreamedLog(other.model_copy(update={"data": cut}), stream, chunk)
        yield from zip(log.chunks("comparing"), others.chunks("comparing"), strict=True)

    return Material(
        rows.encoder,
        rows.train,
        rows.validation,
        rows.validation.sample(_SAMPLED),
        rows.example,
        stream.fingerprint,
        held_out,
        scratch=store.folder,
    )


def encode_log(encoder: Encoder, log: PreparedLog) -> EncodedLog:
    """All rows of a prepared log as arrays."""
    user, item = encoder.encode(log.columns, len(log))
    return EncodedLog(_narrow(user), _narrow(item), log.labels, log.masks, log.group, log.user)


def encode_rows(encoder: Encoder, log: PreparedLog, rows: npt.NDArray[np.int64]) -> EncodedLog:
    """These rows of a prepared log as arrays, in this order."""
    columns = {name: column.take(rows) for name, column in log.columns.items()}
    user, item = encoder.encode(columns, len(rows))
    return EncodedLog(user, item, log.labels[rows], log.masks[rows], log.group[rows], log.user[rows])


def _narrow(rows: EncodedRows) -> EncodedRows:
    """With ids in half the bytes, where they fit: of large logs they are most of the memory."""
    if rows.ids.size and rows.ids.max() > np.iinfo(np.int32).max:
        return rows
    return EncodedRows(rows.ids.astype(np.int32), rows.numeric)


def _empty_tasks(schema: Schema, log: PreparedLog) -> list[tuple[str, str]]:
    empty = []
    for place, task in enumerate(schema.tasks):
        labels = log.labels[log.train & log.masks[:, place], place]
        if not labels.size:
            empty.append((task.name, "no row has a label"))
        elif task.type == "binary" and labels.min() == labels.max():
            empty.append((task.name, f"every label is {labels[0]:g}"))
    return empty


def _hash(schema: Schema, chunk: int, seed: int) -> str:
    text = orjson.dumps([schema.model_dump(mode="json"), chunk, seed])
    return f"xxh3:{xxhash.xxh3_128_hexdigest(text)}"
