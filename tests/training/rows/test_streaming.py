"""A streamed log: the encoder, the rows and the quality of the same log in memory."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from model.bundle import load_bundle
from model.errors import FulcrumError
from training.progress import Warned
from training.recipe import StreamConfig, load_recipe
from training.rows.material import material_in_memory, streamed_material
from training.rows.streaming import RowStore
from training.train import TrainingPlan, train_bundle

STREAM = "training.stream={chunk: 170, block: 16, buffer: 200}"


@pytest.fixture(scope="module")
def parquet(data_folder, tmp_path_factory):
    """The tiny log in two Parquet files, out of the order of time, the tables as they are."""
    folder = tmp_path_factory.mktemp("parquet")
    log = pl.read_csv(data_folder / "log.csv")
    log[700:].write_parquet(folder / "log1.parquet", row_group_size=100)
    log[:700].with_columns(pl.col("tab").cast(pl.Int8)).write_parquet(folder / "log2.parquet")
    for table in ("users.csv", "items.csv", "views.csv"):
        (folder / table).write_bytes((data_folder / table).read_bytes())
    return folder


@pytest.fixture
def recipe(document, saved):
    def make(*overrides):
        document["data"]["log"] = "log*.parquet"
        return load_recipe(saved(document), overrides)

    return make


def both(recipe, folder, run):
    """In memory and streamed."""
    store = RowStore(run / "rows", recipe.training.stream, recipe.training.seed)
    return (
        material_in_memory(recipe.data_schema, folder),
        streamed_material(recipe.data_schema, folder, store),
    )


def as_sorted(rows):
    """Inputs and known labels of each row as text, in an order of their own."""
    parts = []
    for batch in rows.slices(100):
        labels = torch.where(batch.masks, batch.labels, torch.nan)
        inputs = (batch.user_ids, batch.user_numeric, batch.item_ids, batch.item_numeric, labels)
        parts.append(np.concatenate([part.double().numpy() for part in inputs], axis=1))
    return sorted(map(str, np.concatenate(parts).round(6).tolist()))


@pytest.mark.parametrize(
    "split", ["{train: 'time < 960', validation: 'time >= 1000'}", "{last: 0.2}"], ids=["rule", "time"]
)
def test_a_streamed_log_has_the_encoder_and_the_rows_of_the_same_log_in_memory(
    recipe, document, parquet, tmp_path, split
):
    document["features"] += [
        {
            "name": "tags",
            "side": "item",
            "kind": "multi",
            "expr": "cast(video_id % 7 as varchar) || ', ' || cast(tab as varchar)",
            "separator": ",",
            "max_values": 3,
            "min_count": 120,
            "hash_buckets": 4,
        },
        {"name": "tag", "side": "item", "kind": "categorical", "expr": "video_id % 5", "shares": "tags"},
    ]
    made = recipe(STREAM, f"data.split={split}", "data.keep='time % 7 != 0'")
    memory, streamed = both(made, parquet, tmp_path / "run")
    vocabularies = [
        {
            name: feature.state()
            for name, feature in encoder.features.items()
            if name in ("user_id", "band", "tab", "tags", "tag")
        }
        for encoder in (memory.encoder, streamed.encoder)
    ]
    assert vocabularies[0] == vocabularies[1]
    assert 2 <= len(memory.encoder.features["tags"].vocabulary.known) < 7
    for name in ("age", "quality", "views"):
        ours, theirs = (encoder.features[name].state() for encoder in (memory.encoder, streamed.encoder))
        assert ours["flag"] == theirs["flag"]
        assert ours["quantiles"] == theirs["quantiles"]
        assert (ours["mean"], ours["std"]) == pytest.approx((theirs["mean"], theirs["std"]), rel=1e-12)
    assert as_sorted(memory.train) == as_sorted(streamed.train)
    assert as_sorted(memory.validation) == as_sorted(streamed.validation)
    assert streamed.train.label_means() == pytest.approx(memory.train.label_means(), rel=1e-5)
    groups = [
        sorted(np.unique(rows.group, return_counts=True)[1].tolist())
        for rows in (memory.validation, streamed.validation)
    ]
    assert groups[0] == groups[1]


def test_numbers_are_standardised_by_a_sample_once_there_are_many_rows(
    recipe, parquet, tmp_path, monkeypatch
):
    from training.rows import summary

    monkeypatch.setattr(summary, "SAMPLED_ROWS", 300)
    memory, streamed = both(recipe(STREAM), parquet, tmp_path / "run")
    for name in ("age", "quality", "views"):
        ours, theirs = (encoder.features[name].state() for encoder in (memory.encoder, streamed.encoder))
        assert ours["flag"] == theirs["flag"]
        assert ours["mean"] != theirs["mean"]
        assert ours["mean"] == pytest.approx(theirs["mean"], abs=0.25 * ours["std"])
        assert ours["std"] == pytest.approx(theirs["std"], rel=0.2)


@pytest.mark.usefixtures("graphs_from_stock")
def test_a_streamed_training_learns_what_one_in_memory_learns(recipe, parquet, tmp_path):
    made = train_bundle(TrainingPlan(recipe(STREAM), tmp_path / "bundle", parquet, tmp_path / "run"))
    metrics = load_bundle(tmp_path / "bundle").manifest.metrics
    assert metrics["vtr"]["auc"] > 0.75
    assert metrics["vcr"]["mse"] < 0.7 * metrics["vcr"]["variance"]
    assert (made.manifest.data["train_rows"], made.manifest.data["validation_rows"]) == (960, 240)
    example = made.manifest.example
    assert len(example["candidate_ids"]) == 5
    # The cache of rows goes with the training.
    assert not (tmp_path / "run" / "rows").exists()
    again = train_bundle(TrainingPlan(recipe(STREAM), tmp_path / "again", parquet, tmp_path / "run2"))
    assert again.manifest.version == made.manifest.version


def test_rows_that_lie_in_the_run_folder_are_taken_if_they_are_of_this_data_and_recipe(
    recipe, parquet, tmp_path, monkeypatch
):

    run = tmp_path / "run"
    both(recipe(STREAM), parquet, run)
    written = (run / "rows" / "train.rows").stat().st_mtime_ns
    both(recipe(STREAM), parquet, run)
    assert (run / "rows" / "train.rows").stat().st_mtime_ns == written
    both(recipe(STREAM, "features.age.transform=log1p"), parquet, run)
    assert (run / "rows" / "train.rows").stat().st_mtime_ns != written
    assert sorted(path.name for path in run.iterdir()) == ["rows"]


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("data.reader=bench", r"training\.stream: the reader 'bench' needs the whole log"),
        ("data.log='*.csv'", r"items\.csv is no Parquet.*sink_parquet\('items\.parquet'\)"),
        (
            "tasks.vtr.label='watched_ms > avg(watched_ms)'",
            r"tasks\.vtr\.label: .* gives a row another value",
        ),
        ("tasks.vtr.label='watched_ms >= 0'", r"tasks\.vtr: every label is 1 in the training split"),
        ("data.split.train='time < 0'", r"data\.split\.train: no row of 1200 is in it"),
        ("data.split.train='time < 1000'", r"data\.split: \d+ rows are in training and in validation"),
        (
            "data.priors=[{name: rate, by: user_id, of: shared}]",
            "data: 'rate' is made of earlier rows, which a streamed log cannot look back at",
        ),
        ("features.age.column=years", r"features\.age: column 'years' is not in the data"),
    ],
)
def test_what_cannot_be_streamed_is_refused_by_name_and_nothing_is_left(
    recipe, parquet, tmp_path, override, match
):
    with pytest.raises(FulcrumError, match=match):
        train_bundle(TrainingPlan(recipe(STREAM, override), tmp_path / "bundle", parquet, tmp_path / "run"))
    assert not (tmp_path / "bundle").exists()
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_true_stands_for_the_defaults_and_false_for_none(recipe):
    assert recipe("training.stream=true").training.stream.buffer == 1 << 18
    assert recipe("training.stream=false").training.stream is None
    with pytest.raises(FulcrumError, match=r"training\.stream\.buffers"):
        recipe("training.stream.buffers=3")


def test_a_label_and_a_table_with_odd_names_are_read_in_chunks_as_in_memory(recipe, parquet, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for path in parquet.iterdir():
        if path.suffix == ".parquet":
            pl.read_parquet(path).rename({"shared": "shared it"}).write_parquet(folder / path.name)
        else:
            (folder / path.name).write_bytes(path.read_bytes().replace(b"length_ms", b"length-ms"))
    odd = recipe(
        "training.stream={chunk: 100}",
        "tasks.shr.label='shared it'",
        "tasks.vtr.label='watched_ms * 2 >= \"length-ms\"'",
        "tasks.vcr.label='watched_ms / \"length-ms\"'",
        "data.video_len.column=length-ms",
    )
    whole, streamed = both(odd, folder, tmp_path)
    assert as_sorted(streamed.train) == as_sorted(whole.train)


def test_a_streamed_log_is_doubted_once_and_as_a_whole(recipe, parquet, tmp_path):
    heard = []
    schema = recipe("training.stream={chunk: 100}", "data.time_unit=ms").data_schema
    store = RowStore(tmp_path / "rows", StreamConfig(chunk=100), 1)
    folder = tmp_path / "late"
    folder.mkdir()
    for path in parquet.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    users = pl.read_csv(folder / "users.csv").with_columns(pl.col("user_id") + 1_000)
    users.write_csv(folder / "users.csv")
    streamed_material(schema, folder, store, observer=heard.append)
    warned = [event.text for event in heard if isinstance(event, Warned)]
    assert len(warned) == 1
    assert warned[0].startswith("table 'users': 0 of 1,200 rows find a row of it")
