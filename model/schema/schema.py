"""Schema: what a data set's columns mean to a ranker. One YAML declares it (see the README's recipe).

Holds features, tasks, the key columns and how the log is cut in time. Evaluates no expression, reads no
file and knows neither networks nor HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from model.frozen import Frozen
from model.schema.features import (
    DEFAULT_WIDTH,
    EmbeddedFeature,
    FeatureSpec,
    NumericFeature,
    SequenceFeature,
    Side,
)
from model.schema.past import HistorySpec, PriorSpec


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
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in ("video_len", "base"):
            raise ValueError(
                f"expected lower-case letters, digits and underscores (video_len and base are taken), "
                f"found {name!r}"
            )
        return name


class BinaryTask(_Task):
    """A behaviour that happens or not: cross-entropy, a probability."""

    type: Literal["binary"]


class BoundedHead(Frozen):
    """One output, squashed into the bounds: squared error."""

    kind: Literal["bounded"] = "bounded"


class OrdinalHead(Frozen):
    """Many questions, whether the label reaches a threshold, and the expectation that their answers make.

    The thresholds are quantiles of the label among videos of like length (CREAD, AAAI 2024; D2Q, KDD 2022).
    """

    kind: Literal["ordinal"]
    thresholds: int = Field(default=16, ge=1, le=256)
    """Questions, at most: where many labels are alike, quantiles fall together."""
    length_bins: int = Field(default=8, ge=1, le=256)
    """Bins of video length of about as many rows each, at most; 1 is without regard to length."""


HeadSpec = Annotated[BoundedHead | OrdinalHead, Field(discriminator="kind")]


class RegressionTask(_Task):
    """A bounded quantity: squared error, a value inside `bounds`, to which labels are clipped."""

    type: Literal["regression"]
    bounds: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest value. Fusion takes powers of it, so the lower bound is not negative."""
    head: HeadSpec = BoundedHead()
    """How the network makes the value."""

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


Option = str | int | float | bool


class DataSpec(Frozen):
    """Where the log lies and which of its columns are keys."""

    reader: str = "files"
    """`files` for one's own csv or parquet, or a named data set."""
    log: tuple[str, ...] = ("log*.csv", "log*.parquet")
    """Reader `files`: glob patterns of the log, below the data folder."""
    tables: tuple[TableSpec, ...] = ()
    """Reader `files`: further tables joined to the log."""
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    """Reader `files`: what parts the columns of csv files; found in their first line where absent."""
    null_values: tuple[str, ...] = ("NULL", r"\N")
    """Reader `files`: texts in csv files that stand for a missing value, beside nothing at all."""
    keep: str | None = None
    """Polars SQL: the log rows to keep; the rest is counted and left out."""
    options: dict[str, Option | dict[str, Option]] = Field(default_factory=dict)
    """Options of a named reader, or groups of them; `fulcrum train` refuses unknown ones by name."""
    user: str
    """Column of the user id."""
    item: str | None = None
    """Column of the item (video) id."""
    time: str | None = None
    """Column that orders the log; a number, a date or a timestamp."""
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    """Unit of a time that is a number; needed where seconds or days are counted in it."""
    priors: tuple[PriorSpec, ...] = ()
    """Means and counts of earlier rows, made in this order: a later one may read an earlier one's columns."""
    histories: tuple[HistorySpec, ...] = ()
    """Lists of earlier rows' values, made after the priors."""
    past_until: int | float | str | None = None
    """A moment of the log's time (text where that is a date or a timestamp): rows from it on, and what is
    published, see the past as it was known then, as a service does whose store was last published then."""
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
        if self.time is None and self.past:
            raise ValueError(
                f"{self.past[0].name!r} is made of earlier rows: name the time column in data.time"
            )
        if self.past_until is not None and not self.past:
            raise ValueError("past_until says until when priors and histories move, and there are none")
        return self

    @model_validator(mode="after")
    def _past_has_names_of_its_own(self) -> DataSpec:
        names = [name for spec in self.past for name in spec.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two priors or histories make the column {twice[0]!r}; names are unique")
        return self

    @property
    def past(self) -> tuple[PriorSpec | HistorySpec, ...]:
        """Priors and histories, in the order in which they are made."""
        return (*self.priors, *self.histories)


class Schema(Frozen):
    """A data set as the ranker sees it: the part of a recipe that a bundle carries."""

    name: str
    data: DataSpec
    features: tuple[FeatureSpec, ...] = Field(min_length=1)
    tasks: tuple[TaskSpec, ...] = Field(min_length=1)
    reward: str | None = Field(default=None, min_length=1)
    """Polars SQL over the log's columns, task names and `video_len_s`: what an impression was worth. The
    default of every `--reward`; the sum of all labels where absent."""

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

    @model_validator(mode="after")
    def _shared_tables(self) -> Schema:
        embedded = {spec.name: spec for spec in self.features if isinstance(spec, EmbeddedFeature)}
        for spec in embedded.values():
            if spec.shares is None:
                continue
            owner = embedded.get(spec.shares)
            if owner is None or owner is spec:
                raise ValueError(
                    f"feature {spec.name!r} shares {spec.shares!r}, which is no other feature with a table; "
                    f"there are {', '.join(name for name in embedded if name != spec.name) or 'none'}"
                )
            if owner.shares is not None:
                raise ValueError(
                    f"feature {spec.name!r} shares {owner.name!r}, which has no table of its own; "
                    f"share {owner.shares!r}"
                )
            if spec.width is not None and spec.width != self.width(owner):
                raise ValueError(
                    f"feature {spec.name!r}: its width is that of {owner.name!r}, whose table it shares: "
                    f"{self.width(owner)}, not {spec.width}"
                )
            if isinstance(spec, SequenceFeature) and spec.pool == "attention":
                if owner.side != "item":
                    raise ValueError(
                        f"feature {spec.name!r}: attention compares with the candidate, and {owner.name!r}, "
                        f"which it shares, is a {owner.side} feature"
                    )
                if self.width(owner) % spec.heads:
                    raise ValueError(
                        f"feature {spec.name!r}: {spec.heads} heads do not part its width of "
                        f"{self.width(owner)}"
                    )
        return self

    @model_validator(mode="after")
    def _ordinal_heads_know_the_length(self) -> Schema:
        for task in self.tasks:
            if isinstance(task, RegressionTask) and isinstance(task.head, OrdinalHead):
                if self.data.video_len is None:
                    raise ValueError(
                        f"task {task.name!r}: an ordinal head goes by the video's length: name its column in "
                        "data.video_len"
                    )
                if self.numeric_length() is None:
                    column = self.data.video_len.column
                    raise ValueError(
                        f"task {task.name!r}: an ordinal head goes by the length as the network reads it: "
                        f"add the feature {{name: {column}, side: item, kind: numeric, transform: log1p}}"
                    )
        return self

    def owner(self, spec: EmbeddedFeature) -> EmbeddedFeature:
        """The feature whose vocabulary and table this one uses: itself, or the one that it shares."""
        if spec.shares is None:
            return spec
        return next(
            other
            for other in self.features
            if other.name == spec.shares and isinstance(other, EmbeddedFeature)
        )

    def width(self, spec: EmbeddedFeature) -> int:
        """Its embedding width."""
        return self.owner(spec).width or DEFAULT_WIDTH

    def side(self, *sides: Side) -> Iterator[FeatureSpec]:
        """The features of these sides: sides in the order asked for, features as declared."""
        for side in sides:
            yield from (feature for feature in self.features if feature.side == side)

    @property
    def task_names(self) -> list[str]:
        """Task names as declared."""
        return [task.name for task in self.tasks]

    def id_columns(self) -> frozenset[str]:
        """Names of columns whose values compare by their spelling: keys, groups, categories.

        Texts that are expressions are among them; no column has such a name.
        """
        data = self.data
        names = {data.user, data.item, data.group, *(table.key for table in data.tables)}
        names |= {name for spec in data.past for name in spec.by}
        names |= {spec.of for spec in data.histories} | {spec.seed for spec in data.histories}
        names |= {spec.expr or spec.source for spec in self.features if isinstance(spec, EmbeddedFeature)}
        moments = {data.time, *(table.as_of for table in data.tables)}
        return frozenset(name for name in names - moments if name is not None)

    def length_features(self) -> Sequence[str]:
        """Item features made of the video length's column: a request's `video_len` stands for them too."""
        if self.data.video_len is None:
            return ()
        column = self.data.video_len.column
        return [f.name for f in self.features if f.side == "item" and f.expr is None and f.source == column]

    def numeric_length(self) -> NumericFeature | None:
        """The first numeric feature among them: where the network reads the video's length."""
        names = self.length_features()
        numeric = (f for f in self.features if isinstance(f, NumericFeature) and f.name in names)
        return next(numeric, None)
