"""Columns of the joined log: what they are called, their types, and exposures as a frame that has them.

They are the union over all bundles and all requests of a log: a prediction or a feature that an exposure
lacks is null. Knows neither files nor feedback.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from model.events.catalogue import ROW_COLUMNS, EventCatalogue
from model.events.exposures import VIDEO_LEN, layout, predictions_of

_KINDS = {
    "bool": pl.Boolean(),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "text": pl.String(),
    "texts": pl.List(pl.String()),
}
"""What a logged feature of a request may be, narrow before wide."""
_FEEDBACK = {"flag": pl.Int8(), "integer": pl.Int64(), "number": pl.Float64()}
_TEXTS = pl.List(pl.String())


@dataclass(frozen=True)
class Columns:
    """Columns of the joined log.

    Attributes:
        tasks: whose predictions are in it, in the order of their first bundle.
        context: kinds of values by name of a feature of requests.
        catalogue: the kinds of feedback.
    """

    tasks: tuple[str, ...]
    context: Mapping[str, str]
    catalogue: EventCatalogue

    @property
    def terms(self) -> tuple[str, ...]:
        """Of the fusion's weights."""
        return (*self.tasks, VIDEO_LEN)

    def name(self, feature: str) -> str:
        """The column of a feature of requests: its name, with `context_` where that is taken."""
        taken = feature in ROW_COLUMNS or feature.startswith(("p_", "w_"))
        return f"context_{feature}" if taken or feature in self._feedback() else feature

    def impressions(self) -> dict[str, pl.DataType]:
        """Columns of impressions, in their order."""
        text, integer = pl.String(), pl.Int64()
        return {
            "exposure_id": text,
            "request_id": text,
            "item_id": text,
            "position": pl.Int32(),
            "user_id": text,
            "session_id": text,
            "unit_hash": pl.UInt64(),
            "scene": text,
            "time_ms": integer,
            "video_len_s": pl.Float64(),
            "bundle_version": text,
            "variant": text,
            "fusion_version": text,
            "revision": integer,
            "arms": _TEXTS,
            "explored": pl.Boolean(),
            "degraded": _TEXTS,
            "mature": pl.Boolean(),
            "context_json": text,
            **{f"w_{term}": pl.Float64() for term in self.terms},
            **{f"p_{task}": pl.Float32() for task in self.tasks},
            **{self.name(feature): _KINDS[kind] for feature, kind in self.context.items()},
            **{kind.name: _FEEDBACK[kind.type] for kind in self.catalogue.kinds},
        }

    def candidates(self) -> dict[str, pl.DataType]:
        """Columns of candidates, in their order."""
        return {
            "exposure_id": pl.String(),
            "item_id": pl.String(),
            "input_index": pl.Int32(),
            "video_len_s": pl.Float64(),
            **{f"p_{task}": pl.Float32() for task in self.tasks},
        }

    def frame(self, rows: pa.Table | None = None) -> pl.DataFrame:
        """Exposures as a segment holds them, with all columns of this log; none of none.

        Returns:
            a row per exposure: the columns of exposures as they are logged, `w_` and `p_` of all terms and
            tasks (lists of float32, NaN for none), and the features of requests in their columns.
        """
        rows = layout(self.tasks).empty_table() if rows is None else rows
        tasks = [task for task in self.tasks if f"p_{task}" in rows.column_names]
        weights = [f"w_{term}" for term in self.terms if f"w_{term}" in rows.column_names]
        if "session_id" not in rows.column_names:  # of an older service
            rows = rows.append_column("session_id", pa.nulls(rows.num_rows, pa.string()))
        logged = [name for name in _LOGGED if name != "context_json"]
        frame = pl.DataFrame(pl.from_arrow(rows.select([*logged, *weights])))
        predictions = {task: _predictions(rows[f"p_{task}"]) for task in tasks}
        nothing = pl.lit(None)
        lists = nothing.cast(pl.List(pl.Float32))
        with_all = frame.with_columns(
            *(nothing.cast(pl.Float64).alias(f"w_{t}") for t in self.terms if f"w_{t}" not in weights),
            *(predictions.get(task, lists).alias(f"p_{task}") for task in self.tasks),
            pl.Series("context_json", pl.from_arrow(rows["context"]), pl.String),
            *self._features(rows["context"]),
        )
        return with_all.select(
            *_LOGGED, *(n for n in self.impressions() if n in with_all and n not in _LOGGED)
        )

    def _features(self, texts: pa.ChunkedArray) -> list[pl.Series]:
        encoded = texts.combine_chunks().dictionary_encode()  # requests of one hour are much alike
        encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
        documents = [context_of(text) for text in encoded.dictionary.to_pylist()]
        at = pl.Series(pl.from_arrow(encoded.indices))
        return [
            pl.Series(
                self.name(feature),
                [_as(kind, of.get(feature)) for of in documents],
                _KINDS[kind],
                strict=False,
            ).gather(at)
            for feature, kind in self.context.items()
        ]

    def _feedback(self) -> list[str]:
        return [kind.name for kind in self.catalogue.kinds]


_LOGGED = (
    "exposure_id",
    "request_id",
    "user_id",
    "session_id",
    "unit_hash",
    "scene",
    "bundle_version",
    "variant",
    "fusion_version",
    "revision",
    "arms",
    "explored",
    "degraded",
    "context_json",
    "items",
    "item_len_s",
    "candidates",
    "candidate_len_s",
)


def union(tasks: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All tasks, in the order in which they are first met."""
    return tuple(dict.fromkeys(task for of in tasks for task in of))


def context_of(text: str) -> Mapping[str, Any]:
    """What is logged of a request; nothing where it is no JSON object."""
    try:
        document = orjson.loads(text)
    except (orjson.JSONDecodeError, TypeError):
        return {}
    return document if isinstance(document, dict) else {}


def kind_of(value: Any) -> str | None:
    """`bool`, `int`, `float`, `text` or `texts`; None of null."""
    match value:
        case None:
            return None
        case bool():
            return "bool"
        case int():
            return "int" if -(2**63) <= value < 2**63 else "float"
        case float():
            return "float"
        case list():
            return "texts"
        case _:
            return "text"


def wider(one: str | None, other: str | None) -> str:
    """The kind that holds values of both."""
    kinds = list(_KINDS)
    return max((kind for kind in (one, other) if kind is not None), key=kinds.index)


def _as(kind: str, value: Any) -> Any:
    if value is None or kind in ("bool", "int", "float"):
        return value
    if kind == "texts":
        return [_text(one) for one in (value if isinstance(value, list) else [value])]
    return _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _predictions(lists: pa.ChunkedArray) -> pl.Series:
    whole = lists.combine_chunks()
    whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    if whole.type.value_type == pa.int16():
        numbers = predictions_of(whole.values.to_numpy(zero_copy_only=False))
        mask = whole.is_null()
        whole = pa.ListArray.from_arrays(whole.offsets, pa.array(numbers), mask=mask)
    return pl.Series(pl.from_arrow(whole))
