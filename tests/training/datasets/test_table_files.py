"""Tables in files: what a csv column is read as, and ids that stay equal, or apart, across files."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from model.errors import FulcrumError
from tests.support.small_log import schema
from training.datasets import read_source, stream_source
from training.datasets.table_files import TableFormat, inferred, read_table, spelled

IDS = TableFormat(frozenset({"id"}))


def texts(*values):
    return pl.Series("id", list(values), dtype=pl.String)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["7", None, "-20"], [7, None, -20]),
        (["3.0", None, "4.0"], [3, None, 4]),  # as pandas writes integers beside gaps
        (["3", "4.0"], [3, 4]),
        (["000020", "000006"], ["000020", "000006"]),
        (["1e2", "10e1"], ["1e2", "10e1"]),
        (["1.50", "1.5"], ["1.50", "1.5"]),
        (["09", "10"], ["09", "10"]),
        (["+5", "5"], ["+5", "5"]),
        (["-0", "0"], ["-0", "0"]),
        (["7", "guest"], ["7", "guest"]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["12345678901234567890.0", "1.0"], ["12345678901234567890", "1"]),
        (["2026-01-31"], ["2026-01-31"]),
        (["true", "False"], [True, False]),
        ([None, None], [None, None]),
    ],
)
def test_ids_are_whole_numbers_or_text_as_written(written, read):
    assert spelled(texts(*written)).to_list() == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["007", "1"], [7, 1]),
        (["1", "2.5"], [1.0, 2.5]),
        (["1e2", None], [100.0, None]),
        (["TRUE", "false"], [True, False]),
        (["1", "(1500 rows affected)"], ["1", "(1500 rows affected)"]),
        (["2026-01-31", "2026-02-01"], [date(2026, 1, 31), date(2026, 2, 1)]),
        (["2026-01-31", "2026-02-01 10:00:00"], [datetime(2026, 1, 31), datetime(2026, 2, 1, 10)]),
        (["2026-01-31T10:00:00Z"], [datetime(2026, 1, 31, 10, tzinfo=UTC)]),
        (["2026-01-31T10:00:00", "2026-01-31T10:00:00Z"], ["2026-01-31T10:00:00", "2026-01-31T10:00:00Z"]),
        (["01-02-2026", "31-12-2025"], ["01-02-2026", "31-12-2025"]),  # who knows which is the month
    ],
)
def test_other_columns_are_what_all_their_values_are(written, read):
    assert inferred(texts(*written)).to_list() == read


def test_numbers_among_which_some_are_nan_are_numbers():
    assert inferred(texts("1.5", "nan", "NaN")).dtype == pl.Float64


def test_a_column_without_any_value_is_of_no_type():
    assert inferred(texts(None, None)).dtype == pl.Null


def test_a_type_that_changes_late_in_the_file_is_that_of_all_values(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,n,t\n" + "1,1,2026-01-01\n" * 3_000 + "07,2.5,2026-01-02\n")
    frame = read_table(path, IDS)
    assert frame["id"][0] == "1"
    assert frame["id"][-1] == "07"
    assert frame["n"].sum() == 3_002.5
    assert frame.schema["t"] == pl.Date


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_what_parts_columns_is_found_in_the_header(tmp_path, separator):
    (tmp_path / "a.csv").write_text(f"id{separator}n\n07{separator}1\n")
    assert read_table(tmp_path / "a.csv", IDS).to_dicts() == [{"id": "07", "n": 1}]


def test_what_parts_columns_and_what_is_missing_can_be_declared(tmp_path):
    (tmp_path / "log.csv").write_text("user~item~time~label\nu1~007~1~NULL\nu2~\\N~2~1\nNA~3~3~0\n")
    declared = schema(separator="~", null_values=["NULL", "\\N", "NA"])
    log = read_source(declared, tmp_path).log
    assert log["label"].to_list() == [None, 1, 0]
    assert log["item"].to_list() == ["007", None, "3"]
    assert log["user"].to_list() == ["u1", "u2", None]


def test_null_and_backslash_n_are_missing_unless_it_is_said_otherwise(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time,label\nu1,1,1,NULL\nNA,2,2,\\N\n")
    log = read_source(schema(), tmp_path).log
    assert log["label"].null_count() == 2
    assert log["user"].to_list() == ["u1", "NA"]


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("n,n\n1,2\n")
    with pytest.raises(FulcrumError, match=r"a\.csv: two columns are called 'n'"):
        read_table(tmp_path / "a.csv")


def write(folder: Path, **files: object) -> Path:
    """Files `log_NAME.csv` of text or `log_NAME.parquet` of frames."""
    for name, content in files.items():
        if isinstance(content, str):
            (folder / f"log_{name}.csv").write_text(content)
        else:
            assert isinstance(content, pl.DataFrame)
            content.write_parquet(folder / f"log_{name}.parquet")
    return folder


def test_one_user_is_one_id_though_a_later_file_has_text(tmp_path):
    write(
        tmp_path,
        a="user,item,time,label\n3,1,1,0\n20,1,2,1\n",
        b="item,user,label,time\n1,guest,0,3\n2,3,1,4\n",  # and columns in another order
    )
    log = read_source(schema(), tmp_path).log
    assert log["user"].to_list() == ["3", "20", "guest", "3"]
    assert log["time"].to_list() == [1, 2, 3, 4]


def rows(user):
    return pl.DataFrame({"user": user, "item": 1, "time": 1, "label": 0})


def users(folder, *, whole):
    if whole:
        return read_source(schema(), folder).log["user"]
    return pl.concat(chunk["user"] for chunk in stream_source(schema(), folder).chunks(1))


def kinds(*parts):
    return {f"n{place}": rows(part) for place, part in enumerate(parts)}


@pytest.mark.parametrize("whole", [True, False], ids=["in memory", "streamed"])
@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((pl.Series([3, 4]), pl.Series(["guest"])), ["3", "4", "guest"]),
        ((pl.Series([3.0, None]), pl.Series(["3"])), ["3", None, "3"]),
        ((pl.Series([2**60]), pl.Series([3.0])), [2**60, 3]),
        ((pl.Series([-1]), pl.Series([2**64 - 1], dtype=pl.UInt64)), [-1, 2**64 - 1]),
        ((pl.Series([1], dtype=pl.Int8), pl.Series([2**60])), [1, 2**60]),
    ],
)
def test_ids_of_files_of_other_types_are_equal_where_ids_are(tmp_path, parts, expected, whole):
    write(tmp_path, **kinds(*parts))
    assert users(tmp_path, whole=whole).to_list() == expected


@pytest.mark.parametrize("whole", [True, False], ids=["in memory", "streamed"])
@pytest.mark.parametrize(
    ("parts", "match"),
    [
        (
            (pl.Series([3]), pl.Series([2.0**60])),
            r"log_n1\.parquet: column 'user' .*such as 1\.15.*integers or text",
        ),
        ((pl.Series(["a"]), pl.Series([1.5])), r"log_n1\.parquet: column 'user' .*such as 1\.5"),
        ((pl.Series([3]), pl.Series([True])), r"column 'user': log_n0.* holds Int64, log_n1.* holds Boolean"),
    ],
)
def test_ids_that_cannot_be_compared_are_refused_with_their_files(tmp_path, parts, match, whole):
    write(tmp_path, **kinds(*parts))
    with pytest.raises(FulcrumError, match=match):
        users(tmp_path, whole=whole)


def test_a_file_with_a_column_more_is_named_with_it(tmp_path):
    write(tmp_path, a="user,item,time,label\n1,1,1,1\n", b="user,item,time,label,more\n1,1,1,1,1\n")
    with pytest.raises(FulcrumError, match=r"log_b\.csv: has the column 'more', which log_a\.csv lacks"):
        read_source(schema(), tmp_path)


@pytest.mark.parametrize(
    ("times", "match"),
    [
        (
            ["12/31/2025 23:00:00", "01/01/2026 01:00:00"],
            r"log_a\.csv holds text.*row 1 has '12/31/2025 23:00:00'",
        ),
        (["1", "2", "(1500 rows affected)"], r"row 3 has '\(1500 rows affected\)'"),
        (["2026-01-01", "yesterday"], "row 2 has 'yesterday'"),
        (["23:00:00"], "row 1 has '23:00:00'"),
        (["true"], "holds Boolean.*row 1"),
    ],
)
def test_times_that_are_text_are_refused_with_file_row_and_value(tmp_path, times, match):
    write(tmp_path, a="user,item,time,label\n" + "".join(f"1,1,{time},1\n" for time in times))
    with pytest.raises(FulcrumError, match=match):
        read_source(schema(), tmp_path)


def test_as_of_that_is_text_is_refused_with_its_table(tmp_path):
    write(tmp_path, a="user,item,time,label\n1,1,1,1\n")
    (tmp_path / "views.csv").write_text("item,known,score\n1,12/31/2025,2\n")
    table = {"name": "views", "files": "views.csv", "key": "item", "as_of": "known"}
    with pytest.raises(
        FulcrumError, match=r"data\.tables\.views\.as_of: column 'known' of views\.csv holds text"
    ):
        read_source(schema(tables=[table]), tmp_path)


def test_a_file_in_another_unit_of_time_is_noted(tmp_path):
    rows = "1,1,{},1\n"
    write(tmp_path, a="user,item,time,label\n" + rows.format(1_700_000_000))
    assert read_source(schema(), tmp_path).notes == ()
    write(tmp_path, b="user,item,time,label\n" + rows.format(1_700_000_000_000))
    (note,) = read_source(schema(), tmp_path).notes
    assert note.startswith("data.time: time in log_b.csv is about 10^3 times what it is in log_a.csv")


@pytest.mark.parametrize("whole", [True, False], ids=["in memory", "streamed"])
@pytest.mark.parametrize("moment", [datetime(2025, 12, 4, 16), date(2025, 12, 4)])
def test_times_that_are_numbers_in_one_file_and_moments_in_another_are_refused(tmp_path, moment, whole):
    frames = (rows("u1").with_columns(time=pl.lit(time)) for time in (1_764_000_000, moment))
    write(tmp_path, **{f"n{place}": frame for place, frame in enumerate(frames)})
    with pytest.raises(FulcrumError, match=r"column 'time': log_n0.* holds Int.*, log_n1.* holds Date"):
        users(tmp_path, whole=whole)


def test_ids_that_csv_files_write_in_two_ways_are_text_as_written_in_both(tmp_path):
    write(
        tmp_path,
        a="user,item,time,label\n3.0,true,1,0\n",
        b="user,item,time,label\n3.0,unknown,2,1\nguest,true,3,0\n",
    )
    log = read_source(schema(), tmp_path).log
    assert log["user"].to_list() == ["3.0", "3.0", "guest"]
    assert log["item"].to_list() == ["true", "unknown", "true"]


def test_ids_of_narrow_floats_are_exact_up_to_their_own_bound(tmp_path):
    narrow = rows(pl.Series([2.0**25], dtype=pl.Float32))
    write(tmp_path, a=narrow, b=rows(pl.Series([2**25 + 1])))
    with pytest.raises(FulcrumError, match=r"log_a\.parquet: column 'user' holds ids as floating-point"):
        read_source(schema(), tmp_path)


def test_codes_that_begin_with_zeros_keep_them_though_only_expressions_read_them(tmp_path):
    write(tmp_path, a="user,item,time,label,zip,hour\nu1,1,1,1,007,9\nu2,2,2,0,7,0\n")
    log = read_source(schema(), tmp_path).log
    assert log["zip"].to_list() == ["007", "7"]
    assert log["hour"].to_list() == [9, 0]
