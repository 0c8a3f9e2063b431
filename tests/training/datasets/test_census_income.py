"""The Census-Income reader on files of the official layout."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from model.errors import FulcrumError
from training.datasets import read_source
from training.datasets.census_income import COLUMNS
from training.datasets.source import LogSource
from training.preparation.preparation import prepare_log
from training.recipe import load_recipe

RICH = "- 50000.", "50000+."


def line(number: int) -> str:
    """A person as the official files have one: fields after a comma and a blank."""
    values = dict.fromkeys(COLUMNS, "Not in universe") | {
        name: str(number % 7)
        for name in ("wage_per_hour", "capital_gains", "capital_losses", "stock_dividends", "num_emp")
    }
    values |= {"age": str(number % 90), "weeks_worked": "52", "year": "95", "instance_weight": "1053.55"}
    values |= {
        "marital_stat": ("Never married", "Divorced")[number % 2],
        "income_50k": RICH[number % 3 == 0],
    }
    return ", ".join(values[name] for name in COLUMNS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "census-income.data").write_text("\n".join(line(number) for number in range(400)) + "\n")
    (tmp_path / "census-income.test").write_text("\n".join(line(number) for number in range(50)) + "\n")
    return tmp_path


def read(folder: Path) -> LogSource:
    return read_source(load_recipe("census-income").data_schema, folder)


def test_both_official_files_are_read_and_told_apart(folder: Path) -> None:
    persons = read(folder).log
    assert persons["part"].value_counts().sort("part").rows() == [("data", 400), ("test", 50)]
    assert persons["person"].n_unique() == 450
    assert persons["class_worker"].unique().to_list() == ["Not in universe"]
    assert persons["age"].dtype == pl.Float64


def test_any_of_the_files_will_do(folder: Path) -> None:
    (folder / "census-income.data").unlink()
    assert read(folder).log["part"].unique().to_list() == ["test"]


def test_parquet_of_the_same_columns_gives_the_same_persons(folder: Path, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("parquet")
    (folder / "census-income.test").unlink()
    read(folder).log.select(COLUMNS).write_parquet(other / "census-income.data.parquet")
    assert read(other).log.equals(read(folder).log)


def test_the_recipe_takes_the_labels_and_no_feature_from_their_columns(folder: Path) -> None:
    schema = load_recipe("census-income").data_schema
    log = prepare_log(schema, read(folder))
    assert log.labels[:, 0].tolist() == [float(n % 3 == 0) for n in [*range(400), *range(50)]]
    assert log.labels[:, 1].tolist() == [float(n % 2 == 0) for n in [*range(400), *range(50)]]
    assert not log.train[400:].any()
    assert not log.validation[400:].any()
    sources = {feature.source for feature in schema.features}
    assert sources.isdisjoint({"income_50k", "marital_stat", "instance_weight"})
    assert len(sources) == 39


def test_other_columns_are_refused(folder: Path) -> None:
    pl.DataFrame({"age": [1]}).write_parquet(folder / "census-income.test.parquet")
    with pytest.raises(FulcrumError, match="'class_worker' is absent"):
        read(folder)
