"""Publishing: the store's rows are what the encoder makes of each user's and video's latest values."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

from model.bundle import load_bundle
from model.encoding import Column
from model.errors import FulcrumError
from model.store.packed import open_tables
from tests.support.redis_server import redis_process, redis_server
from training.publishing import publish as publishing
from training.publishing.publish import publish

__all__ = ["redis_process", "redis_server"]


@pytest.fixture(scope="module")
def bundle(trained):
    return load_bundle(trained.bundle)


@pytest.fixture(scope="module")
def store(trained, bundle, tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    published = publish(bundle, trained.data, str(root))
    assert (published.users, published.items) == (41, 60)
    return root


def rows(store, bundle, name, keys):
    table = open_tables(store, bundle.encoder)[1][name]
    return table.records[table.find(keys)]


def test_a_users_row_is_the_encoding_of_its_values(store, bundle, trained):
    users = pl.read_csv(trained.data / "users.csv")
    names = [str(user) for user in users["user_id"]]
    columns = {
        "user_id": Column(names),
        "band": Column(users["band"].to_list()),
        "age": Column(users["age"].to_list()),
    }
    expected = bundle.encoder.sides["user"].encode(columns, len(names))
    found = rows(store, bundle, "users", names)
    np.testing.assert_array_equal(found["ids"], expected.ids)
    np.testing.assert_array_equal(found["numeric"], expected.numeric)


def test_a_videos_row_is_the_encoding_of_its_latest_values_and_its_length(store, bundle, trained):
    items = pl.read_csv(trained.data / "items.csv")
    views = pl.read_csv(trained.data / "views.csv").filter(pl.col("known_at") == 900)
    items = items.join(views, on="video_id", maintain_order="left")
    names = [str(video) for video in items["video_id"]]
    columns = {
        "video_id": Column(names),
        "quality": Column(items["quality"].to_list()),
        "views": Column(items["views"].to_list()),
    }
    expected = bundle.encoder.sides["item"].encode(columns, len(names))
    found = rows(store, bundle, "items", names)
    np.testing.assert_array_equal(found["ids"], expected.ids)
    np.testing.assert_array_equal(found["numeric"], expected.numeric)
    np.testing.assert_array_equal(found["video_len_s"], items["length_ms"].to_numpy() / 1000)


def test_rows_do_not_depend_on_the_chunk(store, bundle, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "_CHUNK", 7)
    publish(bundle, trained.data, str(tmp_path))
    for name in ("users", "items"):
        one, other = (open_tables(root, bundle.encoder)[1][name] for root in (store, tmp_path))
        assert one.records.tobytes() == other.records.tobytes()


def test_publishing_again_takes_the_place_of_the_old_rows(bundle, trained, tmp_path):
    data = shutil.copytree(trained.data, tmp_path / "data")
    publish(bundle, data, str(tmp_path / "store"))
    users = pl.read_csv(data / "users.csv")
    users.with_columns(band=pl.lit("young")).write_csv(data / "users.csv")
    published = publish(bundle, data, str(tmp_path / "store"))
    assert 20 < published.changed < 41  # those who were not young, items not at all
    found = rows(tmp_path / "store", bundle, "users", ["1", "2", "40"])
    assert len(set(found["ids"][:, 1].tolist())) == 1


def test_publishing_the_same_again_changes_nothing(bundle, trained, tmp_path):
    first = publish(bundle, trained.data, str(tmp_path))
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = publish(bundle, trained.data, str(tmp_path))
    assert (first.changed, again.changed) == (101, 0)
    assert first.generation == again.generation
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == files


def only_new_videos(data, names):
    """The tables of a minute later: videos that nobody has seen yet, and no users."""
    items = pl.read_csv(data / "items.csv")
    items.head(len(names)).with_columns(video_id=pl.Series(names)).write_csv(data / "items.csv")
    views = pl.read_csv(data / "views.csv")
    views.head(len(names)).with_columns(video_id=pl.Series(names)).write_csv(data / "views.csv")
    users = pl.read_csv(data / "users.csv")
    users.head(1).write_csv(data / "users.csv")
    log = pl.read_csv(data / "log.csv")
    log.with_columns(video_id=pl.lit(names[0]), user_id=users["user_id"][0]).write_csv(data / "log.csv")
    return data


def test_new_videos_come_beside_those_that_are_there(bundle, trained, tmp_path):
    publish(bundle, trained.data, str(tmp_path / "store"))
    before = rows(tmp_path / "store", bundle, "items", ["7", "59"]).tobytes()
    data = only_new_videos(shutil.copytree(trained.data, tmp_path / "data"), [900, 901, 902])
    published = publish(bundle, data, str(tmp_path / "store"))
    assert (published.items, published.changed) == (3, 3)
    items = open_tables(tmp_path / "store", bundle.encoder)[1]["items"]
    assert len(items) == 63
    assert (items.find(["900", "901", "902", "7"]) >= 0).all()
    assert rows(tmp_path / "store", bundle, "items", ["7", "59"]).tobytes() == before


def test_data_that_does_not_fit_leaves_the_old_rows(bundle, trained, tmp_path):
    data = shutil.copytree(trained.data, tmp_path / "data")
    publish(bundle, data, str(tmp_path / "store"))
    before = sorted((tmp_path / "store").rglob("*"))
    pl.read_csv(data / "items.csv").drop("quality").write_csv(data / "items.csv")
    with pytest.raises(FulcrumError, match=r"features\.quality: column 'quality' is not in the data"):
        publish(bundle, data, str(tmp_path / "store"))
    assert sorted((tmp_path / "store").rglob("*")) == before


def test_a_target_that_cannot_be_is_refused(bundle, trained, tmp_path):
    with pytest.raises(FulcrumError, match=r"feature store redis://127.0.0.1:1/0: .*[Cc]onnect") as refused:
        publish(bundle, trained.data, "redis://someone:secret@127.0.0.1:1/0")
    assert "secret" not in str(refused.value)
    with pytest.raises(FulcrumError, match="feature store: not a Redis URL; expected redis://"):
        publish(bundle, trained.data, "ftp://x")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(FulcrumError, match=r"feature store .*file: expected a folder, found a file"):
        publish(bundle, trained.data, str(tmp_path / "file"))
