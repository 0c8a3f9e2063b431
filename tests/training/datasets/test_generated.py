"""The data sets that need no files: the same each time, and refused by option."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from model.errors import FulcrumError
from model.schema import DataSpec
from training.datasets import read_source
from training.datasets.bench import ITEM_FEATURES, USER_FEATURES
from training.preparation import prepare_log
from training.recipe import load_recipe

SMALL = {
    "bench": {"rows": 300, "users": 20, "items": 30, "values": 5},
    "synthetic": {"rows": 300, "users": 20, "items": 30, "days": 3},
}


def spec(reader, **options):
    split = {"train": "1", "validation": "0"}
    return DataSpec(reader=reader, user="user_id", split=split, options={**SMALL[reader], **options})


@pytest.mark.parametrize("reader", SMALL)
def test_equal_options_make_equal_data(reader):
    one, again = read_source(spec(reader), None), read_source(spec(reader), None)
    assert_frame_equal(one.log, again.log)
    for table, other in zip(one.tables, again.tables, strict=True):
        assert_frame_equal(table.frame, other.frame)
    assert one.fingerprint == again.fingerprint


@pytest.mark.parametrize("reader", SMALL)
def test_another_seed_makes_other_data_of_another_fingerprint(reader):
    one, other = read_source(spec(reader), None), read_source(spec(reader, seed=99), None)
    assert not one.log.equals(other.log)
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("reader", SMALL)
def test_an_unknown_option_or_value_is_refused_by_name(reader):
    with pytest.raises(FulcrumError, match=r"data\.options\.colour: unknown key"):
        read_source(spec(reader, colour="red"), None)
    with pytest.raises(FulcrumError, match=r"data\.options\.users: .*found 0"):
        read_source(spec(reader, users=0), None)


@pytest.mark.parametrize("recipe", ["bench", "demo"])
def test_the_packaged_recipe_reads_it(recipe):
    # The demo's split is by day: its world keeps its ten.
    sizes = [f"data.options.{name}={value}" for name, value in (("rows", 2000), ("users", 40), ("items", 60))]
    schema = load_recipe(recipe, sizes).data_schema
    log = prepare_log(schema, read_source(schema.data, None))
    assert len(log) >= 2000
    assert log.train.sum() > log.validation.sum() > 0
    assert (log.masks[:, 0]).all()


def test_the_yardsticks_users_and_items_are_named_by_their_numbers():
    source = read_source(spec("bench"), None)
    users, items = (table.frame for table in source.tables)
    assert users["user_id"].to_list() == list(range(20))
    assert items["item_id"].to_list() == list(range(30))
    assert users.width == 1 + USER_FEATURES
    assert items.width == 1 + ITEM_FEATURES + 1
    assert set(source.log["user_id"]) <= set(range(20))


def test_the_yardsticks_labels_follow_its_features():
    """Planted: knowing the video alone already tells long views apart."""
    log = read_source(spec("bench", rows=20_000), None).log
    by_item = log.group_by("item_id").agg(pl.col("long_view").mean())["long_view"]
    assert by_item.std() > 0.1
