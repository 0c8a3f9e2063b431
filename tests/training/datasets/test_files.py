"""One's own files: csv or parquet, whichever they are called, or an error that names them."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from model.errors import FulcrumError
from tests.support.small_log import schema
from training.datasets import READERS, read_source
from training.datasets.source import fingerprint

FRAME = pl.DataFrame(
    {"user": ["u1", "u2", None], "time": [3, 1, 2], "share": [0.5, None, 1.0], "seen": [True, False, True]}
)


def data(**changed):
    return schema(**{"log": ["log*.csv", "log*.parquet"], **changed})


def refused(match, spec, folder):
    with pytest.raises(FulcrumError, match=match) as error:
        read_source(spec, folder)
    assert "\n" not in str(error.value)


def test_csv_and_parquet_give_the_same_rows(tmp_path):
    for kind in ("csv", "parquet", "csv.gz"):
        (tmp_path / kind).mkdir()
    FRAME.write_csv(tmp_path / "csv" / "log.csv")
    FRAME.write_parquet(tmp_path / "parquet" / "log.parquet")
    import gzip

    (tmp_path / "csv.gz" / "log.csv.gz").write_bytes(gzip.compress(FRAME.write_csv().encode()))
    spec = data(log="log*")
    for kind in ("csv", "parquet", "csv.gz"):
        assert_frame_equal(read_source(spec, tmp_path / kind).log, FRAME)


def test_files_of_one_pattern_are_stacked_by_name_and_none_twice(tmp_path):
    FRAME.tail(1).write_csv(tmp_path / "log_b.csv")
    FRAME.head(2).write_csv(tmp_path / "log_a.csv")
    FRAME.head(1).write_csv(tmp_path / "other.csv")
    source = read_source(data(log=["log_*.csv", "log_a.csv"]), tmp_path)
    assert source.log["time"].to_list() == [3, 1, 2]


def test_a_number_that_turns_fractional_late_in_the_file_stays_a_number(tmp_path):
    rows = "\n".join(["u1,1"] * 500 + ["u2,2.5"])
    (tmp_path / "log.csv").write_text(f"user,time\n{rows}\n")
    assert read_source(data(), tmp_path).log["time"].sum() == 502.5


def test_tables_are_read_beside_the_log(tmp_path):
    FRAME.write_csv(tmp_path / "log.csv")
    FRAME.write_csv(tmp_path / "users.csv")
    table = {"name": "users", "files": "users.csv", "key": "user", "as_of": "time"}
    found = read_source(data(time="time", tables=[table]), tmp_path).tables[0]
    assert (found.name, found.key, found.as_of) == ("users", "user", "time")
    assert_frame_equal(found.frame, FRAME)


def test_a_pattern_that_matches_nothing_says_what_is_there(tmp_path):
    refused(
        r"data\.log: no file in .* matches log\*\.csv, log\*\.parquet; there is nothing", data(), tmp_path
    )
    FRAME.write_csv(tmp_path / "log.csv")
    table = {"name": "users", "files": ["u*.csv", "u*.parquet"], "key": "user"}
    refused(
        r"data\.tables\.users\.files: no file in .* matches u\*\.csv, u\*\.parquet; there is log\.csv",
        data(tables=[table]),
        tmp_path,
    )


def test_a_missing_folder_is_named(tmp_path):
    refused("data folder .*nowhere: no such folder", data(), tmp_path / "nowhere")
    refused("give the folder that has them as `data`", data(), None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.parquet", b"PAR1 not really"),
        ("log.csv", b""),
        ("log.json", b"{}"),
        ("log.csv", b"a,b\n1,2,3,4\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(rf"{name}: (cannot be read as|expected \.csv)", data(log="log.*"), tmp_path)


def test_files_that_disagree_on_columns_are_named(tmp_path):
    FRAME.write_csv(tmp_path / "log_a.csv")
    FRAME.rename({"share": "shares"}).write_csv(tmp_path / "log_b.csv")
    refused(r"log_b\.csv: has the column .shares., which log_a\.csv lacks", data(), tmp_path)


def test_options_are_refused_by_name(tmp_path):
    refused(r"data\.options\.rows: the reader `files` takes no options", data(options={"rows": 3}), tmp_path)


def test_an_unknown_reader_lists_those_that_exist(tmp_path):
    known = ", ".join(sorted(READERS))
    refused(f"unknown reader 'kafka'; the readers are {known}", data(reader="kafka"), tmp_path)


def test_the_fingerprint_is_of_names_and_contents_not_of_places(tmp_path):
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "log.csv").write_bytes(b"user\nu1\n")
    one, two, three = (tmp_path / folder / "log.csv" for folder in ("one", "two", "three"))
    assert fingerprint([one]) == fingerprint([two])
    three.write_bytes(b"user\nu2\n")
    assert fingerprint([three]) != fingerprint([one])
    assert fingerprint([two.rename(two.with_name("other.csv"))]) != fingerprint([one])
    assert fingerprint([one], "drop=1") != fingerprint([one])
