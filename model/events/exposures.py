"""Exposures: one record per answered ranking, and how records lie in Arrow.

Arrow itself (pyarrow) is imported by `layout`, `batch` and `read_segment` alone: who only makes records needs
none of it. Knows neither who writes segments nor where they lie.

Shapes: N candidates, K items of the answer, R records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = "1"
Precision = Literal["float32", "int16"]
"""How predictions are kept: as served, or as `round(256 * ln p)`, which orders all but near ties."""

VIDEO_LEN = "video_len"
"""The term that is no task."""
_STEPS = 256.0
_NONE, _ZERO = -32_768, -32_767
"""int16 for no prediction, and for 0."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedCandidates:
    """The rows that the network took, as the feature store packs them (`model.store.packed`).

    Attributes:
        generation: of the feature store; None where it named none.
        user: one record.
        items: N records one after the other.
    """

    generation: str | None
    user: bytes
    items: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Everything that was ranked, in the request's order.

    Attributes:
        ids: [N]; an Arrow array of texts where a writer has made one, which is most of the work of `batch`.
        video_len_s: seconds as the formula took them, float64 [N]; NaN where unknown.
        predictions: by task, float32 [N]; NaN where the candidate has none.
        rows: what they were predicted from, where that is logged.
    """

    ids: Sequence[str]
    video_len_s: npt.NDArray[np.float64]
    predictions: Mapping[str, npt.NDArray[np.float32]]
    rows: PackedCandidates | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """One answer.

    Attributes:
        exposure_id: the answer's; feedback names it.
        request_id: the caller's, if it gave one.
        time_ms: when the answer was begun, by the service's clock, milliseconds since 1970.
        user: the id, or its keyed hash.
        unit_hash: 64 bits of salt, layer and unit.
        scene: that was applied.
        context: features that the request gave, by name, as far as the catalogue wants them kept.
        bundle_version: of the bundle that answered.
        variant: of its network.
        fusion_version: of the fusion config that answered.
        revision: of it, where it is a store's.
        arms: of experiments, `layer/experiment:arm`.
        weights: as applied, by term: tasks and `video_len`.
        explored: whether the weights were drawn from a noise law.
        degraded: what went wrong.
        items: ids in the order of the answer [K].
        item_len_s: seconds, float64 [K]; NaN where unknown.
        candidates: all of them, on a share of requests.
        session: its id, or its keyed hash; None where the request named none.
    """

    exposure_id: str
    request_id: str | None
    time_ms: int
    user: str
    unit_hash: int
    scene: str
    context: Mapping[str, Any]
    bundle_version: str
    variant: str
    fusion_version: str
    revision: int | None
    arms: Sequence[str]
    weights: Mapping[str, float]
    explored: bool
    degraded: Sequence[str]
    items: Sequence[str]
    item_len_s: npt.NDArray[np.float64]
    candidates: Candidates | None
    session: str | None = None


def unit_hash(salt: str, layer: str, unit: str) -> int:
    """64 bits of a unit of randomisation: buckets and noise depend on it alone."""
    return xxhash.xxh3_64_intdigest("\0".join((salt, layer, unit)).encode("utf-8", "surrogatepass"))


def layout(tasks: Sequence[str], precision: Precision = "float32") -> pa.Schema:
    """Columns of a segment of exposures whose bundle predicts these tasks."""
    import pyarrow as pa

    text, texts, seconds = pa.string(), pa.list_(pa.string()), pa.list_(pa.float64())
    predictions = pa.list_(pa.int16() if precision == "int16" else pa.float32())
    fields: list[tuple[str, pa.DataType]] = [
        ("exposure_id", text),
        ("request_id", text),
        ("time_ms", pa.int64()),
        ("user_id", text),
        ("session_id", text),
        ("unit_hash", pa.uint64()),
        ("scene", text),
        ("context", text),
        ("bundle_version", text),
        ("variant", text),
        ("fusion_version", text),
        ("revision", pa.int64()),
        ("arms", texts),
        ("explored", pa.bool_()),
        ("degraded", texts),
        *((f"w_{term}", pa.float64()) for term in (*tasks, VIDEO_LEN)),
        ("items", texts),
        ("item_len_s", seconds),
        ("candidates", texts),
        ("candidate_len_s", seconds),
        *((f"p_{task}", predictions) for task in tasks),
        ("generation", text),
        ("user_row", pa.binary()),
        ("item_rows", pa.binary()),
    ]
    about = {"fulcrum.exposures": SCHEMA_VERSION, "tasks": ",".join(tasks), "precision": precision}
    return pa.schema(fields, metadata=about)


def batch(exposures: Sequence[Exposure], schema: pa.Schema) -> pa.RecordBatch:
    """Records as Arrow, in the columns of `layout`: [R]."""
    import pyarrow as pa

    about = schema.metadata
    tasks = [task for task in about[b"tasks"].decode().split(",") if task]
    logged = [one.candidates for one in exposures]
    rows = [one.rows if one else None for one in logged]
    columns: dict[str, Any] = {
        "exposure_id": [one.exposure_id for one in exposures],
        "request_id": [one.request_id for one in exposures],
        "time_ms": [one.time_ms for one in exposures],
        "user_id": [one.user for one in exposures],
        "session_id": [one.session for one in exposures],
        "unit_hash": [one.unit_hash for one in exposures],
        "scene": [one.scene for one in exposures],
        "context": [orjson.dumps(one.context).decode() for one in exposures],
        "bundle_version": [one.bundle_version for one in exposures],
        "variant": [one.variant for one in exposures],
        "fusion_version": [one.fusion_version for one in exposures],
        "revision": [one.revision for one in exposures],
        "arms": [list(one.arms) for one in exposures],
        "explored": [one.explored for one in exposures],
        "degraded": [list(one.degraded) for one in exposures],
        "items": [one.items for one in exposures],
        "candidates": _texts([one.ids if one else None for one in logged]),
        "generation": [one.generation if one else None for one in rows],
        "user_row": [one.user if one else None for one in rows],
        "item_rows": [one.items if one else None for one in rows],
    }
    for term in (*tasks, VIDEO_LEN):
        columns[f"w_{term}"] = [one.weights.get(term) for one in exposures]
    columns["item_len_s"] = _lists([one.item_len_s for one in exposures], pa.float64())
    columns["candidate_len_s"] = _lists([one.video_len_s if one else None for one in logged], pa.float64())
    kind = schema.field(f"p_{tasks[0]}").type.value_type if tasks else None
    for task in tasks:
        values = [None if one is None else _kept(one.predictions[task], kind) for one in logged]
        columns[f"p_{task}"] = _lists(values, kind)
    arrays = [
        columns[field.name]
        if isinstance(columns[field.name], pa.Array)
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def read_segment(path: Path) -> Iterator[pa.RecordBatch]:
    """The whole batches of a segment; what follows a tear is as if it had not been written.

    Raises:
        OSError: the file cannot be opened.
    """
    import pyarrow as pa
    from pyarrow import ipc

    with path.open("rb") as file:
        try:
            reader = ipc.open_stream(file)
            while True:
                yield reader.read_next_batch()
        except (pa.ArrowInvalid, StopIteration, EOFError, OSError):
            return


def predictions_of(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Predictions as a segment keeps them, float32 or int16, as numbers again; NaN where there are none."""
    if values.dtype != np.int16:
        return values.astype(np.float32)
    p = np.exp(values / _STEPS)
    return np.where(values == _NONE, np.nan, np.where(values == _ZERO, 0.0, p)).astype(np.float32)


def _kept(p: npt.NDArray[np.float32], kind: pa.DataType) -> npt.NDArray[Any]:
    if str(kind) != "int16":
        return p
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.round(np.log(p.astype(np.float64)) * _STEPS)
    bounded = np.clip(steps, _ZERO + 1, 32_767)
    return np.where(np.isnan(p), _NONE, np.where(p <= 0.0, _ZERO, bounded)).astype(np.int16)


def _texts(values: Sequence[Sequence[str] | None]) -> pa.ListArray:
    """Lists of texts, null where None; each a list, or an Arrow array."""
    import pyarrow as pa

    present = [
        pa.array(one, pa.string()) if not isinstance(one, pa.Array) else one
        for one in values
        if one is not None
    ]
    flat = pa.concat_arrays(present) if present else pa.array([], pa.string())
    return pa.ListArray.from_arrays(_offsets(values), flat, mask=_missing(values))


def _lists(values: Sequence[npt.NDArray[Any] | None], kind: pa.DataType) -> pa.ListArray:
    """Lists of numbers, null where None. Takes no time per number."""
    import pyarrow as pa

    present = [one for one in values if one is not None]
    flat = np.concatenate(present) if present else np.zeros(0)
    return pa.ListArray.from_arrays(_offsets(values), pa.array(flat, kind), mask=_missing(values))


def _offsets(values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    lengths = [0 if one is None else len(one) for one in values]
    return pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))


def _missing(values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    return pa.array(np.array([one is None for one in values], np.bool_))
