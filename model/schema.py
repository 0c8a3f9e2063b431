"""Schema: what a data set's columns mean to a ranker. One YAML declares it (see the README's recipe).

Holds features, tasks, the key columns and how the log is cut in time. Evaluates no expression, reads no
file and knows neither networks nor HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

__all__ = [
    "BinaryTask",
    "CategoricalFeature",
    "DataSpec",
    "FeatureSpec",
    "Frozen",
    "LastSplit",
    "NumericFeature",
    "RegressionTask",
    "RuleSplit",
    "Schema",
    "Side",
    "SplitSpec",
    "TableSpec",
    "TaskSpec",
    "VideoLength",
]

Side = Literal["user", "item", "context"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KINDS_TO_COME = ("multi", "sequence")


class Frozen(BaseModel):
    """A configuration object: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Feature(Frozen):
    name: str
    """Name in requests, errors and the manifest."""
    side: Side
    """Whose property it is: the user's and the item's live in the feature store, the context comes with
    the request."""
    column: str | None = None
    """Column of the prepared log; the name where absent."""
    expr: str | None = None
    """Polars SQL over the log's columns, in place of `column`. Requests give its value by `name`."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"expected letters, digits and underscores, found {name!r}")
        return name

    @model_validator(mode="after")
    def _one_source(self) -> _Feature:
        if self.column is not None and self.expr is not None:
            raise ValueError(f"feature {self.name!r} has both column and expr; keep one")
        return self

    @property
    def source(self) -> str:
        """The column that holds the raw value in the prepared frame."""
        return self.column if self.column is not None else self.name


class CategoricalFeature(_Feature):
    """Values compared as canonical strings, each with an embedding row."""

    kind: Literal["id", "categorical"]
    """`id` for entities (many values, a tail), `categorical` for attributes; encoded alike."""
    width: int = Field(default=8, ge=1, le=1024)
    """Embedding width."""
    min_count: int = Field(default=1, ge=1)
    """A value seen fewer times in the training split is unknown."""
    max_size: int | None = Field(default=None, ge=1)
    """At most so many values, the most frequent kept."""
    hash_buckets: int | None = Field(default=None, ge=2)
    """Hash into so many buckets in place of a vocabulary: nothing is unknown, values may collide."""

    @model_validator(mode="after")
    def _vocabulary_or_hash(self) -> CategoricalFeature:
        if self.hash_buckets is not None and (self.min_count > 1 or self.max_size is not None):
            raise ValueError(
                f"feature {self.name!r}: hash_buckets takes no vocabulary; drop min_count and max_size"
            )
        return self


class NumericFeature(_Feature):
    """A number, transformed, standardised on the training split and clipped; missing: mean and a flag."""

    kind: Literal["numeric"]
    transform: Literal["none", "log1p", "quantile"] = "none"
    """`log1p` is sign(x) log(1 + |x|); `quantile` maps the training distribution onto a normal one."""


FeatureSpec = Annotated[CategoricalFeature | NumericFeature, Field(discriminator="kind")]


class _Task(Frozen):
    name: str
    """Name in predictions, fusion weights and metrics."""
    label: str
    """Polars SQL over the log's columns."""
    where: str | None = None
    """Polars SQL: the task's sample space. Rows outside it count neither in its loss nor in its metrics."""
    weight: float = Field(default=1.0, ge=0.0)
    """Weight in the joint loss."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == "video_len":
            raise ValueError(
                f"expected lower-case letters, digits and underscores (video_len is taken), found {name!r}"
            )
        return name


class BinaryTask(_Task):
    """A behaviour that happens or not: cross-entropy, a probability."""

    type: Literal["binary"]


class RegressionTask(_Task):
    """A bounded quantity: squared error, a value inside `bounds`, to which labels are clipped."""

    type: Literal["regression"]
    bounds: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest value. Fusion takes powers of it, so the lower bound is not negative."""

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not 0.0 <= bounds[0] < bounds[1]:
            raise ValueError(f"expected 0 <= low < high, found {list(bounds)}")
        return bounds


TaskSpec = Annotated[BinaryTask | RegressionTask, Field(discriminator="type")]


class VideoLength(Frozen):
    """The column of the video's length and its unit. Fusion and HTTP speak of seconds."""

    column: str
    unit: Literal["ms", "s"] = "s"

    @property
    def per_second(self) -> float:
        """Units of the column in a second."""
        return 1000.0 if self.unit == "ms" else 1.0


class RuleSplit(Frozen):
    """Training and validation rows by Polars SQL; rows of neither are left out."""

    train: str
    validation: str


class LastSplit(Frozen):
    """The last share of the log in time is the validation split."""

    last: float = Field(gt=0.0, lt=1.0)


SplitSpec = Annotated[
    Annotated[RuleSplit, Tag("by rule")] | Annotated[LastSplit, Tag("by time")],
    Discriminator(
        lambda value: (
            "by time"
            if isinstance(value, LastSplit) or (isinstance(value, Mapping) and "last" in value)
            else "by rule"
        )
    ),
]


class TableSpec(Frozen):
    """A table joined to the log by a key, for the reader `files`."""

    name: str
    files: tuple[str, ...] = Field(min_length=1)
    """Glob patterns below the data folder; csv or parquet."""
    key: str
    """Column of both the log and the table."""
    as_of: str | None = None
    """Column of the table that says from when a row was known, in the unit of the log's time. A log row sees
    the last table row known strictly before it. Absent: the table holds timeless facts."""

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class DataSpec(Frozen):
    """Where the log lies and which of its columns are keys."""

    reader: str = "files"
    """`files` for one's own csv or parquet, or a named data set."""
    log: tuple[str, ...] = ("log*.csv", "log*.parquet")
    """Reader `files`: glob patterns of the log, below the data folder."""
    tables: tuple[TableSpec, ...] = ()
    """Reader `files`: further tables joined to the log."""
    keep: str | None = None
    """Polars SQL: the log rows to keep; the rest is counted and left out."""
    options: dict[str, str | int | float | bool] = {}
    """Options of a named reader; `fulcrum train` refuses unknown ones by name."""
    user: str
    """Column of the user id."""
    item: str | None = None
    """Column of the item (video) id."""
    time: str | None = None
    """Column that orders the log; a number, a date or a timestamp."""
    group: str | None = None
    """Column of the groups within which ranking quality is judged; the user where absent."""
    video_len: VideoLength | None = None
    split: SplitSpec

    @field_validator("log", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _time_where_needed(self) -> DataSpec:
        if self.time is None and isinstance(self.split, LastSplit):
            raise ValueError("split.last cuts by time: name the time column in data.time")
        dated = [table.name for table in self.tables if table.as_of is not None]
        if self.time is None and dated:
            raise ValueError(f"table {dated[0]!r} has as_of: name the time column in data.time")
        return self


class Schema(Frozen):
    """A data set as the ranker sees it: the part of a recipe that a bundle carries."""

    name: str
    data: DataSpec
    features: tuple[FeatureSpec, ...] = Field(min_length=1)
    tasks: tuple[TaskSpec, ...] = Field(min_length=1)

    @field_validator("features", mode="before")
    @classmethod
    def _kinds_to_come(cls, value: Any) -> Any:
        for feature in value if isinstance(value, list | tuple) else ():
            kind = feature.get("kind") if isinstance(feature, dict) else None
            if kind in _KINDS_TO_COME:
                raise ValueError(
                    f"feature {feature.get('name')!r}: kind {kind!r} is not built yet; "
                    "it is one of id, categorical, numeric"
                )
        return value

    @model_validator(mode="after")
    def _distinct_names(self) -> Schema:
        for what, named in (("feature", self.features), ("task", self.tasks)):
            names = [spec.name for spec in named]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} {twice[0]!r} is declared twice; names are unique")
        if self.data.item is None and any(feature.side == "item" for feature in self.features):
            raise ValueError("there are item features: name the item id's column in data.item")
        return self

    def side(self, *sides: Side) -> Iterator[CategoricalFeature | NumericFeature]:
        """The features of these sides: sides in the order asked for, features as declared."""
        for side in sides:
            yield from (feature for feature in self.features if feature.side == side)

    @property
    def task_names(self) -> list[str]:
        """Task names as declared."""
        return [task.name for task in self.tasks]

    def length_features(self) -> Sequence[str]:
        """Item features made of the video length's column: a request's `video_len` stands for them too."""
        if self.data.video_len is None:
            return ()
        column = self.data.video_len.column
        return [f.name for f in self.features if f.side == "item" and f.expr is None and f.source == column]
