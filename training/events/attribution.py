"""Attribution: what came of each impression of one slice of exposures. Knows no files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.events.catalogue import EventCatalogue, FeedbackKind
from training.events.columns import Columns
from training.events.sources import id_time


@dataclass(frozen=True)
class Slice:
    """Joined rows of a range of exposures.

    Attributes:
        impressions: in the order of exposure id and position.
        candidates: in the order of exposure id and index.
        events: `kind, state, time_ms, received_ms`, when the exposure was (`shown_ms`, null where there is
            none), and its number (`row`); of the states of `counts`.
        exposures: as they were given, each once.
        counts: what was counted, by name.
    """

    impressions: pl.DataFrame
    candidates: pl.DataFrame
    events: pl.DataFrame
    exposures: pl.DataFrame
    counts: Counter[str]


def attribute(exposures: pl.DataFrame, events: pl.DataFrame, columns: Columns, as_of_ms: int) -> Slice:
    """Join.

    Args:
        exposures: of `Columns.frame`; later ones of an id are left out, as are those after `as_of_ms`.
        events: of these exposures or of none, each once; those received after `as_of_ms` are left out.
        columns: of the joined log.
        as_of_ms: milliseconds since 1970, until which the log is known.
    """
    counts: Counter[str] = Counter()
    exposures = exposures.with_columns(time_ms=id_time())
    counts["misplaced"] = exposures["time_ms"].null_count()
    known = exposures.filter(pl.col("time_ms") <= as_of_ms)
    exposures = known.unique("exposure_id", keep="first", maintain_order=True).sort("exposure_id")
    counts["exposures"], counts["exposures_twice"] = exposures.height, known.height - exposures.height
    longest_ms = columns.catalogue.longest_window_s * 1000
    exposures = exposures.with_columns(mature=pl.col("time_ms") + longest_ms <= as_of_ms).with_row_index(
        "row"
    )

    shown = _exploded(exposures, "items", {"item_len_s": "video_len_s"})
    ranked = _exploded(
        exposures,
        "candidates",
        {"candidate_len_s": "video_len_s"} | {f"p_{t}": f"p_{t}" for t in columns.tasks},
    )
    of_item = ranked.select("row", "item_id", *(f"p_{task}" for task in columns.tasks))
    of_item = of_item.unique(["row", "item_id"], keep="first")
    predicted = shown.join(of_item, on=["row", "item_id"], how="left", maintain_order="left")
    answered = exposures.select(
        pl.exclude("row", "items", "item_len_s", "candidates", "candidate_len_s", "^p_.*$")
    )
    impressions = pl.concat(
        [
            answered[shown["row"]],
            predicted.select(pl.exclude("row", "index")).with_columns(position=shown["index"] + 1),
        ],
        how="horizontal",
    )
    events = events.filter(pl.col("received_ms") <= as_of_ms)
    found = _placed(events, exposures, shown, columns.catalogue)
    counts["events"] = events.height
    counts.update(dict(found["state"].value_counts().iter_rows()))
    impressions = impressions.with_columns(_outcomes(found, shown.height, columns.catalogue))
    candidates = ranked.with_columns(
        exposure_id=exposures["exposure_id"].gather(ranked["row"]), input_index="index"
    )
    counts["impressions"], counts["candidates"] = impressions.height, candidates.height
    impressions = _cast(impressions, columns.impressions())
    return Slice(impressions, _cast(candidates, columns.candidates()), found, exposures, counts)


def _exploded(exposures: pl.DataFrame, items: str, others: dict[str, str]) -> pl.DataFrame:
    """A row per item: `row`, `item_id`, `index` within its list, and the other lists."""
    lists = exposures.filter(pl.col(items).list.len() > 0).select(
        "row",
        pl.col(items).alias("item_id"),
        pl.int_ranges(pl.col(items).list.len().cast(pl.Int32), dtype=pl.Int32).alias("index"),
        *(
            # A list is absent where another bundle's exposures have it.
            pl.col(name).fill_null(pl.lit(None, pl.Float32).repeat_by(pl.col(items).list.len())).alias(alias)
            for name, alias in others.items()
        ),
    )
    return lists.explode(pl.exclude("row")).with_columns(pl.col(list(others.values())).fill_nan(None))


def _placed(
    events: pl.DataFrame, exposures: pl.DataFrame, shown: pl.DataFrame, catalogue: EventCatalogue
) -> pl.DataFrame:
    """Events, each with its kind's `number`, its exposure's `row`, its impression's row `at`, and `state`."""
    kinds = pl.DataFrame(
        {
            "kind": [kind.kind for kind in catalogue.kinds],
            "number": range(len(catalogue.kinds)),
            "window_ms": [kind.window_s * 1000 for kind in catalogue.kinds],
        }
    )
    found = (
        events.join(kinds, on="kind", how="left")
        .join(exposures.select("exposure_id", "row", shown_ms="time_ms"), on="exposure_id", how="left")
        .join(shown.select("row", "item_id").with_row_index("at"), on=["row", "item_id"], how="left")
    )
    after = pl.col("time_ms") - pl.col("shown_ms")
    inside = (after >= -catalogue.clock_skew_s * 1000) & (after <= pl.col("window_ms"))
    state = pl.when(pl.col("at").is_null()).then(pl.lit("orphans"))
    state = state.when(pl.col("number").is_null()).then(pl.lit("of_unknown_kinds"))
    return found.with_columns(
        state=state.when(inside).then(pl.lit("joined")).otherwise(pl.lit("outside_window"))
    )


def _outcomes(events: pl.DataFrame, rows: int, catalogue: EventCatalogue) -> list[pl.Series]:
    """A column per kind, a value per impression."""
    joined = events.filter(pl.col("state") == "joined").sort("value")  # a sum of floats depends on the order
    result = []
    for number, kind in enumerate(catalogue.kinds):
        of_kind = joined.filter(pl.col("number") == number)
        result.append(_combined(kind, of_kind["at"].to_numpy(), of_kind["value"].to_numpy(), rows))
    return result


def _combined(
    kind: FeedbackKind, at: npt.NDArray[np.uint32], values: npt.NDArray[np.float64], rows: int
) -> pl.Series:
    """One kind's values of all impressions; `at` may name one several times."""
    if kind.combine == "sum":
        combined = np.bincount(at, values, rows) if len(at) else np.zeros(rows)
    else:
        combined = np.full(rows, -np.inf)
        np.maximum.at(combined, at, values)
    came = np.zeros(rows, np.bool_)
    came[at] = True
    absent: Any = kind.absent
    return (
        pl.select(
            pl.when(pl.Series(came))
            .then(pl.Series(kind.name, combined))
            .otherwise(pl.lit(absent, pl.Float64))
        )
        .to_series()
        .alias(kind.name)
    )


def _cast(frame: pl.DataFrame, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(kind) for name, kind in columns.items())
