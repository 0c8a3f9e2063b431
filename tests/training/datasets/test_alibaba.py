"""The readers of Ali-CCP and AliExpress, on files of the released layout and on the format samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from model.errors import FulcrumError
from training.datasets import read_source
from training.datasets.alibaba import ALI_CCP, ALIEXPRESS
from training.datasets.source import LogSource
from training.preparation.preparation import prepare_log
from training.recipe import load_recipe

SAMPLES = Path(__file__).parents[4] / "shared" / "data"
COLUMNS = {"ali-ccp": ALI_CCP, "aliexpress": ALIEXPRESS}
SAMPLE_ROWS = {"ali-ccp": {"train": 100, "val": 50, "test": 50}, "aliexpress": {"train": 100, "test": 20}}
recipes = pytest.mark.parametrize("recipe", COLUMNS)


def table(recipe: str, rows: int) -> pl.DataFrame:
    """Rows of the released columns: a third clicked, of which every other bought."""
    random = np.random.default_rng(rows)
    values = {name: random.integers(0, 9, rows) for name in COLUMNS[recipe][:-2]}
    values |= {COLUMNS[recipe][-2]: random.random(rows), COLUMNS[recipe][-1]: random.random(rows)}
    click = np.arange(rows) % 3 == 0
    return pl.DataFrame(values).with_columns(
        pl.Series("click", click.astype(int)),
        pl.Series(
            "purchase" if recipe == "ali-ccp" else "conversion", (click & (np.arange(rows) % 2 == 0)) * 1
        ),
    )


def read(recipe: str, folder: Path | None) -> LogSource:
    return read_source(load_recipe(recipe).data_schema, folder)


@recipes
def test_a_files_name_says_which_part_it_is(recipe: str, tmp_path: Path) -> None:
    table(recipe, 40).write_csv(tmp_path / "train.csv")
    table(recipe, 20).write_csv(tmp_path / "data_Valid_2.csv")
    table(recipe, 10).write_csv(tmp_path / "NL-test.csv")
    log = read(recipe, tmp_path).log
    assert dict(log["part"].value_counts().rows()) == {"train": 40, "val": 20, "test": 10}
    assert log["row"].to_list() == list(range(70))


@recipes
def test_csv_parquet_and_a_mixture_are_the_same_rows(recipe: str, tmp_path: Path) -> None:
    for form in ("csv", "parquet", "both"):
        (tmp_path / form).mkdir()
    table(recipe, 30).write_csv(tmp_path / "csv" / "train.csv")
    table(recipe, 12).write_csv(tmp_path / "csv" / "test.csv")
    table(recipe, 30).write_parquet(tmp_path / "parquet" / "train.parquet")
    table(recipe, 12).write_parquet(tmp_path / "parquet" / "test.parquet")
    table(recipe, 30).write_parquet(tmp_path / "both" / "train.parquet")
    table(recipe, 12).write_csv(tmp_path / "both" / "test.csv")
    by_csv, by_parquet, by_both = (read(recipe, tmp_path / form).log for form in ("csv", "parquet", "both"))
    assert by_csv.equals(by_parquet)
    assert by_csv.equals(by_both)


@recipes
def test_any_one_of_the_files_will_do(recipe: str, tmp_path: Path) -> None:
    table(recipe, 12).write_csv(tmp_path / "test.csv")
    assert read(recipe, tmp_path).log["part"].unique().to_list() == ["test"]


@recipes
def test_further_columns_and_files_of_no_part_are_left_out_and_the_files_named(
    recipe: str, tmp_path: Path
) -> None:
    table(recipe, 12).with_row_index("Unnamed: 0").write_csv(tmp_path / "train.csv")
    (tmp_path / "vocabulary.csv").write_text("a\n1\n")
    (tmp_path / "train_and_test.csv").write_text("a\n1\n")
    source = read(recipe, tmp_path)
    assert set(source.log.columns) == {*COLUMNS[recipe], "part", "row"}
    assert [note.split()[0] for note in source.notes] == ["train_and_test.csv", "vocabulary.csv"]


@recipes
def test_the_second_task_is_of_the_clicked_and_no_label_is_a_feature(recipe: str, tmp_path: Path) -> None:
    table(recipe, 60).write_csv(tmp_path / "train.csv")
    table(recipe, 30).write_csv(tmp_path / "val.csv")
    table(recipe, 30).write_csv(tmp_path / "test.csv")
    schema = load_recipe(recipe).data_schema
    log = prepare_log(schema, read(recipe, tmp_path))
    clicked = log.labels[:, 0] == 1
    assert log.masks[:, 0].all()
    assert (log.masks[:, 1] == clicked).all()
    assert 0 < log.labels[clicked, 1].mean() < 1
    assert log.train.sum() == 60
    assert log.validation.sum() == 30
    used = {feature.source for feature in schema.features}
    assert used == set(COLUMNS[recipe]) - {schema.tasks[0].label, schema.tasks[1].label, "search_id"}


@recipes
def test_wrong_input_is_refused_in_a_line_that_says_what_was_expected(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(FulcrumError, match="this recipe reads the files of Ali"):
        read(recipe, None)
    table(recipe, 5).write_csv(tmp_path / "log.csv")
    with pytest.raises(FulcrumError, match=r"with train, val or test in its name; there is log\.csv"):
        read(recipe, tmp_path)
    last = COLUMNS[recipe][-3]
    table(recipe, 5).drop(last).write_csv(tmp_path / "train.csv")
    with pytest.raises(FulcrumError, match=rf"train\.csv: expected the \d+ columns of Ali.*'{last}' is abs"):
        read(recipe, tmp_path)
    table(recipe, 5).with_columns(pl.lit("yes").alias("click")).write_csv(tmp_path / "train.csv")
    with pytest.raises(FulcrumError, match=r"train\.csv: column 'click': expected numbers, found 'yes'"):
        read(recipe, tmp_path)
    (tmp_path / "train.csv").write_bytes(b"PAR1")
    (tmp_path / "train.csv").rename(tmp_path / "train.parquet")
    with pytest.raises(FulcrumError, match=r"train\.parquet: cannot be read as parquet"):
        read(recipe, tmp_path)


def test_the_raw_form_of_ali_ccp_is_named_and_the_option_of_another_reader_too(tmp_path: Path) -> None:
    (tmp_path / "sample_skeleton_train.csv").write_text("1,0,0,bacff91692951881,9,216\x029\x031.0\n")
    with pytest.raises(FulcrumError, match=r"raw form.*expected one table with the columns click, purchase"):
        read("ali-ccp", tmp_path)
    data = load_recipe("ali-ccp", ["data.options.traffic=random"]).data_schema
    with pytest.raises(FulcrumError, match=r"data\.options\.traffic: the reader `ali-ccp` takes no options"):
        read_source(data, tmp_path)


@pytest.fixture
def command(called, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a command that is expected to succeed: its standard output."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> str:
        status, out, err = called(*words)
        assert not status, err
        return out

    return run


@pytest.mark.slow
@recipes
def test_the_samples_go_through_every_command(recipe: str, command: Callable[..., str]) -> None:
    data = SAMPLES / recipe
    if not data.is_dir():
        pytest.skip(f"the format samples are not at hand (../shared/data/{recipe})")
    counts = read(recipe, data).log["part"].value_counts()
    assert dict(counts.rows()) == SAMPLE_ROWS[recipe]
    assert f"{counts['count'].sum()} impressions" in command("schema", "check", recipe, "--data", data)
    quick = ("--set", "training.epochs=1", "--set", "training.threads=1")
    command("train", "--recipe", recipe, "--data", data, "--out", "bundle", "--run", "run", *quick)
    judged = orjson.loads(command("evaluate", "bundle", "--data", data, "--json"))
    first, second = (task.name for task in load_recipe(recipe).data_schema.tasks)
    held = SAMPLE_ROWS[recipe].get("val", SAMPLE_ROWS[recipe]["test"])
    assert judged["tasks"][first]["rows"] == held
    assert judged["tasks"][second]["rows"] == judged["tasks"][first]["positives"]
