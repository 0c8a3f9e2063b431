"""Tables in files: csv and Parquet to Polars frames, with ids as they are spelled.

A csv file does not say which of its columns are numbers. A column of ids or categories holds integers where
every value is a whole number as integers are written, or one with `.0`, as pandas writes integers beside
gaps; else it holds its text as written, so that `007` and `7`, `1e2` and `100` stay apart. Any other column
is whatever all its values can be read as: numbers, truth values, dates, timestamps or text.
"""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from model.errors import FulcrumError

_SEPARATORS = (",", ";", "\t", "|")
_WHOLE = r"^(0|-?[1-9][0-9]*)(\.0)?$"
_TRUTHS = ("true", "false")
_YEAR_FIRST = r"^[0-9]{4}[-/]"
_LOOKED_AT = 1_000


@dataclass(frozen=True)
class TableFormat:
    """How files are read.

    Attributes:
        ids: names of columns that hold ids or categories; names that no file has do no harm.
        separator: between the columns of csv files; found in the header where None.
        null_values: texts in csv files that stand for a missing value.
        keep_zeros: whether other columns, too, are text where whole numbers begin with zeros.
        as_written: those among `ids` that are text, whatever they look like.
    """

    ids: frozenset[str] = frozenset()
    separator: str | None = None
    null_values: tuple[str, ...] = ()
    keep_zeros: bool = False
    as_written: frozenset[str] = frozenset()


AS_FOUND = TableFormat()


def read_table(path: Path, form: TableFormat = AS_FOUND) -> pl.DataFrame:
    """A csv or Parquet file.

    Raises:
        FulcrumError: the file is of another kind, cannot be parsed, or two of its columns have one name.
    """
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        if path.suffix in {".csv", ".gz"}:
            return _read_csv(path, form)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise FulcrumError(
            f"{path}: cannot be read as {path.suffix[1:]} ({str(error).splitlines()[0]})"
        ) from error
    raise FulcrumError(f"{path}: expected .csv, .csv.gz or .parquet")


def read_tables(paths: Sequence[Path], form: TableFormat) -> list[tuple[Path, pl.DataFrame]]:
    """Files of one table. Ids that csv files write in different ways are text as written in all of these.

    Raises:
        FulcrumError: as for `read_table`.
    """
    tables = [(path, read_table(path, form)) for path in paths]
    written = [frame for path, frame in tables if path.suffix != ".parquet"]
    differing = {
        name
        for name in form.ids
        if len({frame.schema[name] for frame in written if name in frame and frame[name].count()}) > 1
    }
    if not differing:
        return tables
    form = replace(form, as_written=frozenset(differing))
    return [(path, frame if path.suffix == ".parquet" else read_table(path, form)) for path, frame in tables]


def stacked(tables: Sequence[tuple[Path, pl.DataFrame]], ids: Collection[str] = ()) -> pl.DataFrame:
    """Tables of one kind as one, in this order; their columns may stand in any.

    Args:
        tables: each with the file that it comes from.
        ids: columns in which equal ids must stay equal, whatever type each file has them in.

    Raises:
        FulcrumError: a file has a column more or less than the first, or types that do not go together.
    """
    first, top = tables[0]
    for path, frame in tables[1:]:
        for one, other, name, lacking in (
            (frame, top, path.name, first.name),
            (top, frame, first.name, path.name),
        ):
            if more := [column for column in one.columns if column not in other.columns]:
                raise FulcrumError(
                    f"{name}: has the column {more[0]!r}, which {lacking} lacks; "
                    "all files of one table have the same columns"
                )
    columns = {}
    for column in top.columns:
        parts = [(path, frame[column]) for path, frame in tables]
        if column in ids:
            parts = list(zip((path for path, _ in parts), _alike(column, parts), strict=True))
        # Numbers and moments would be stacked as numbers, each in a unit of its own.
        if len({part.dtype.is_temporal() for _, part in parts if part.dtype != pl.Null}) > 1:
            raise FulcrumError(f"column {column!r}: {_kinds(parts)}: give all files one type")
        try:
            columns[column] = pl.concat([part.to_frame() for _, part in parts], how="vertical_relaxed")[
                column
            ]
        except pl.exceptions.PolarsError as error:
            raise FulcrumError(f"column {column!r}: {_kinds(parts)}: give all files one type") from error
    return pl.DataFrame(columns)


def common_type(column: str, kinds: Sequence[tuple[Path, pl.DataType]]) -> pl.DataType:
    """The type in which ids of files of these types compare.

    Raises:
        FulcrumError: there is none; names the files.
    """
    types = {kind for _, kind in kinds}
    if len(types) < 2:
        return types.pop() if types else pl.Null()
    if all(kind.is_integer() for kind in types):
        return pl.Int64() if all(kind != pl.UInt64 and kind != pl.Int128 for kind in types) else pl.Int128()
    others = [kind for kind in types if not (kind.is_integer() or kind.is_float() or _is_whole_decimal(kind))]
    if not others:
        return pl.Int128()
    if all(
        kind.is_integer() or kind.is_float() or _is_whole_decimal(kind) or _is_text(kind) for kind in types
    ):
        return pl.String()
    raise FulcrumError(
        f"column {column!r}: {_listed(kinds)}, and ids of these types cannot be compared; "
        "give all files one type"
    )


def largest_exact(kind: pl.DataType) -> int:
    """Beyond it, floats of this type no longer tell whole numbers apart."""
    return 2**24 if kind == pl.Float32 else 2**53


def as_common(series: pl.Series, kind: pl.DataType, path: Path) -> pl.Series:
    """Ids of one file in the type in which those of all files compare.

    Raises:
        FulcrumError: numbers with fractions, or so large that floats no longer tell them apart.
    """
    if series.dtype == kind:
        return series
    if series.dtype.is_float():
        known = series.drop_nulls().drop_nans()
        strange = known.filter((known != known.floor()) | (known.abs() > largest_exact(series.dtype)))
        if len(strange):
            raise FulcrumError(
                f"{path.name}: column {series.name!r} holds ids as floating-point numbers, such as "
                f"{strange[0]!r}, and other files hold them as {kind}: they cannot be compared exactly; "
                "write them as integers or text"
            )
        series = series.fill_nan(None).cast(pl.Int64)
    elif _is_whole_decimal(series.dtype):
        series = series.cast(pl.Int128)
    return series.cast(kind)


def _alike(column: str, parts: Sequence[tuple[Path, pl.Series]]) -> list[pl.Series]:
    kind = common_type(column, [(path, part.dtype) for path, part in parts if part.dtype != pl.Null])
    return [as_common(part, kind, path) for path, part in parts]


def _is_text(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.String | pl.Categorical | pl.Enum)


def _is_whole_decimal(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.Decimal) and kind.scale == 0


def _kinds(parts: Iterable[tuple[Path, pl.Series]]) -> str:
    return _listed([(path, part.dtype) for path, part in parts])


def _listed(kinds: Sequence[tuple[Path, pl.DataType]]) -> str:
    """An example of each type."""
    examples = {str(kind): path.name for path, kind in reversed(kinds)}
    return ", ".join(f"{name} holds {kind}" for kind, name in reversed(examples.items()))


def csv_columns(path: Path, form: TableFormat) -> list[str]:
    """Names of a csv file's columns."""
    return pl.read_csv(path, separator=_separator(path, form), n_rows=0).columns


def _read_csv(path: Path, form: TableFormat) -> pl.DataFrame:
    def read(**typed: Any) -> pl.DataFrame:
        return pl.read_csv(
            path,
            separator=_separator(path, form),
            null_values=list(form.null_values) or None,
            **typed,
        )

    texts = form.ids | (_padded(read(infer_schema=False, n_rows=_LOOKED_AT)) if form.keep_zeros else set())
    try:
        frame = read(infer_schema_length=_LOOKED_AT, schema_overrides=dict.fromkeys(texts, pl.String))
    except pl.exceptions.ComputeError:  # a later value is of another type than the first ones
        frame = read(infer_schema=False)
    for name in frame.columns:
        before, mark, number = name.rpartition("_duplicated_")
        if mark and number.isdigit() and before in frame.columns:
            raise FulcrumError(f"{path}: two columns are called {before!r}; rename or remove one")
    return frame.with_columns(
        spelled(column) if column.name in texts else inferred(column)
        for column in frame.get_columns()
        if column.dtype == pl.String and column.name not in form.as_written
    )


def _separator(path: Path, form: TableFormat) -> str:
    """The one that the header has most of, where none is declared."""
    if form.separator is not None:
        return form.separator
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        header = file.readline(1 << 20)
    return max(_SEPARATORS, key=header.count)


def _padded(frame: pl.DataFrame) -> set[str]:
    """Columns of which a value begins with a zero that a number would lose: codes, not numbers."""
    return {column.name for column in frame.get_columns() if column.str.contains(r"^0[0-9]+$").any()}


def spelled(texts: pl.Series) -> pl.Series:
    """Ids of a csv column: integers or truth values where all are written as such, else text as written."""
    some = _some(texts)
    if some.is_empty():
        return texts
    if some.str.contains(_WHOLE).all():
        digits = texts.str.strip_suffix(".0") if some.str.ends_with(".0").any() else texts
        numbers = digits.cast(pl.Int64, strict=False)
        if (numbers.cast(pl.String) == digits).all() and numbers.null_count() == texts.null_count():
            return numbers
        return digits if digits.str.contains(_WHOLE).all() else texts
    return _truths(texts)


def inferred(texts: pl.Series) -> pl.Series:
    """A csv column as what all its values can be read as.

    Dates and timestamps begin with the year: of `01-02-2026`, nobody knows which number is the month.
    """
    some = _some(texts)
    if some.is_empty():
        return texts.cast(pl.Null)
    for kind in (pl.Int64, pl.Int128, pl.Float64):
        if not some.cast(kind, strict=False).null_count() and _all(
            numbers := texts.cast(kind, strict=False), texts
        ):
            return numbers
    if some.str.contains(_YEAR_FIRST).all():
        for moments in (texts.str.to_date, texts.str.to_datetime):
            try:
                if _all(found := moments(strict=False), texts):
                    return found
            except pl.exceptions.ComputeError:
                continue
    return _truths(texts)


def _truths(texts: pl.Series) -> pl.Series:
    """Truth values, where all are written as such."""
    if not _some(texts).str.to_lowercase().is_in(_TRUTHS).all():
        return texts
    lower = texts.str.to_lowercase()
    return lower == "true" if lower.is_in(_TRUTHS).all() else texts


def _some(texts: pl.Series) -> pl.Series:
    return texts.drop_nulls().head(_LOOKED_AT)


def _all(read: pl.Series, texts: pl.Series) -> bool:
    return read.null_count() == texts.null_count()
