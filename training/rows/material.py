"""Material: what a training needs of its data, from a log in memory or one that is streamed.

Reads, prepares, fits the encoder and encodes. Knows neither networks nor what a run folder holds, but for the
place where a streamed log's rows are kept.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import xxhash
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from model.encoding import EncodedRows, Encoder, canonical
from model.errors import FulcrumError
from model.schema import Schema
from training.datasets import read_source, stream_source
from training.preparation.preparation import PreparedLog, prepare_log
from training.recipe import Recipe, StreamConfig
from training.rows.batches import EncodedLog, JudgedRows, TrainingRows
from training.rows.streaming import StreamedLog, encode_stream, open_rows

__all__ = [
    "Material",
    "encode_log",
    "encode_rows",
    "example_request",
    "material_in_memory",
    "streamed_material",
]

_SAMPLED = 4096
_ROWS = "rows"

Grow = Callable[[Encoder], Encoder]
"""From an encoder that was fitted on the training rows to the one that is used."""


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
        scratch: a folder that is of no use after the training.
    """

    encoder: Encoder
    train: TrainingRows
    validation: JudgedRows
    sample: EncodedLog
    example: dict[str, Any]
    fingerprint: str
    held_out: Callable[[Schema], Iterator[tuple[PreparedLog, PreparedLog]]]
    scratch: Path | None = field(default=None)

    def clear(self) -> None:
        """Remove what was kept for the training alone."""
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)


def material_in_memory(recipe: Recipe, folder: Path | None, console: Console, grow: Grow) -> Material:
    """Read the whole log.

    Raises:
        FulcrumError: bad data, or data that nothing can be learned from.
    """
    schema = recipe.data_schema
    source = read_source(schema.data, folder)
    for note in source.notes:
        console.print(f"  {note}")
    log = prepare_log(schema, source)
    console.print(
        f"  {len(log):,} impressions: {log.train.sum():,} to train on, {log.validation.sum():,} to validate"
    )
    for task, positives in _empty_tasks(schema, log):
        raise FulcrumError(f"tasks.{task}: {positives} in the training split; nothing can be learned from it")
    encoder = grow(
        Encoder.fit(schema, {name: column.take(log.train) for name, column in log.columns.items()})
    )
    encoded = encode_log(encoder, log)
    validation = encoded.take(log.validation)

    def held_out(other: Schema) -> Iterator[tuple[PreparedLog, PreparedLog]]:
        rows = {"split": schema.data.split, "keep": schema.data.keep}
        same = other.data.model_copy(update=rows) == schema.data
        theirs = source if same else read_source(other.data, folder)
        yield log, prepare_log(other, theirs, split=False)

    return Material(
        encoder,
        encoded.take(log.train),
        validation,
        validation,
        example_request(schema, log),
        source.fingerprint,
        held_out,
    )


def streamed_material(
    recipe: Recipe,
    config: StreamConfig,
    folder: Path | None,
    run: Path,
    console: Console,
    grow: Grow,
    grown_from: str,
) -> Material:
    """Read the log chunk by chunk; its encoded rows are kept in the run's folder, and found there again.

    Args:
        recipe: what to train.
        config: how to stream.
        folder: `--data`.
        run: the run's folder.
        console: where progress goes.
        grow: what becomes of the fitted encoder.
        grown_from: names what `grow` starts from.

    Raises:
        FulcrumError: bad data, data that nothing can be learned from, or a recipe that needs the whole log.
    """
    schema = recipe.data_schema
    stream = stream_source(schema.data, folder)
    log = StreamedLog(schema, stream, config.chunk)
    made_of = {
        "data": stream.fingerprint,
        "recipe": _hash(schema, config, recipe.training.seed),
        "from": grown_from,
    }
    kept = run / _ROWS
    rows = open_rows(kept, schema, config, made_of)
    if rows is None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            bars: dict[str, Any] = {}

            def on_rows(doing: str, count: int) -> None:
                if doing not in bars:
                    bars[doing] = progress.add_task(doing, total=None)
                progress.update(bars[doing], advance=count, total=log.rows)

            encode_stream(
                log,
                kept,
                schema=schema,
                seed=recipe.training.seed,
                made_of=made_of,
                example=example_request,
                on_rows=on_rows,
                grow=grow,
            )
        rows = open_rows(kept, schema, config, made_of)
        if rows is None:
            raise FulcrumError(f"{kept}: the rows that were just written cannot be read; is the disk full?")
    console.print(
        f"  {log.rows:,} impressions, streamed: {len(rows.train):,} to train on, "
        f"{len(rows.validation):,} to validate"
    )

    def held_out(other: Schema) -> Iterator[tuple[PreparedLog, PreparedLog]]:
        cut = other.data.model_copy(update={"split": schema.data.split})
        others = StreamedLog(other.model_copy(update={"data": cut}), stream, config.chunk)
        yield from zip(log.chunks("comparing", _quietly), others.chunks("comparing", _quietly), strict=True)

    return Material(
        rows.encoder,
        rows.train,
        rows.validation,
        rows.validation.sample(_SAMPLED),
        rows.example,
        stream.fingerprint,
        held_out,
        scratch=kept,
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


def example_request(schema: Schema, log: PreparedLog) -> dict[str, Any]:
    """A request that the bundle's store can answer: a late validation row's user and a few of the videos."""
    data = schema.data
    if data.item is None:
        return {}
    last = int(np.flatnonzero(log.validation)[-1])
    items = log.frame[data.item].tail(2_000).unique(maintain_order=True).to_list()
    names = [name for name in (canonical(item) for item in reversed(items)) if name is not None][:5]
    context = {}
    for spec in schema.side("context"):
        value = _plain(log.columns[spec.name].value(last))
        if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            context[spec.name] = value
    user = canonical(log.frame[data.user][last])
    return {"user_id": user, "top_k": 3, "context": context, "candidate_ids": names}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value.item() if isinstance(value, np.generic) else value


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


def _hash(schema: Schema, config: StreamConfig, seed: int) -> str:
    text = orjson.dumps([schema.model_dump(mode="json"), config.chunk, seed])
    return f"xxh3:{xxhash.xxh3_128_hexdigest(text)}"


def _quietly(_doing: str, _rows: int) -> None:
    pass
