"""Packed exposures: those that keep the rows of user and candidates, out of a folder of events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import ipc

from model.events import EventFolder
from training.events.sources import scan, source_files, tasks_of

_COLUMNS = [
    "exposure_id", "user_id", "context", "bundle_version", "degraded", "candidates", "user_row", "item_rows"
]  # fmt: skip


def packed_exposures(folder: EventFolder) -> Iterator[dict[str, Any]]:
    """Records by column, predictions as arrays of the type that they are kept in.

    Raises:
        OSError, pyarrow.ArrowInvalid: a file cannot be read; `fulcrum events check` names it.
    """
    for path in (path for hour in folder.hours() for path in source_files(hour)):
        with path.open("rb") as file:
            schema = pq.read_schema(file) if path.suffix == ".parquet" else ipc.open_stream(file).schema
        predictions = {f"p_{task}": schema.field(f"p_{task}").type.value_type for task in tasks_of(schema)}
        for rows, _, _ in scan(path, [*_COLUMNS, *predictions]):
            for record in rows.filter(pc.is_valid(rows["user_row"])).to_pylist():
                for name, kind in predictions.items():
                    record[name] = np.array(record[name], kind.to_pandas_dtype())
                yield record
