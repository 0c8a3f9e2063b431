"""The data sets that need no files: the same each time, and refused by option."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from model.errors import FulcrumError
from tests.support.small_log import schema as any_schema
from training.datasets import READERS, read_source
from training.datasets.bench import ITEM_FEATURES, USER_FEATURES
from training.datasets.correlated import DIMENSION
from training.preparation.preparation import prepare_log
from training.recipe import load_recipe

SIZES = {"rows": 300, "users": 20, "items": 30, "values": 5, "days": 3}
SMALL = {
    name: {option: size for option, size in SIZES.items() if option in reader.options.model_fields}
    for name, reader in READERS.items()
    if reader.needs is None
}


def spec(reader, **options):
    return any_schema(reader=reader, user="user_id", options={**SMALL[reader], **options})


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
    with pytest.raises(FulcrumError, match=r"data\.options\.rows: .*found 0"):
        read_source(spec(reader, rows=0), None)


@pytest.mark.parametrize("recipe", ["bench", "demo"])
def test_the_packaged_recipe_reads_it(recipe):
    # The demo's split is by day: its world keeps its ten.
    sizes = [f"data.options.{name}={value}" for name, value in (("rows", 2000), ("users", 40), ("items", 60))]
    schema = load_recipe(recipe, sizes).data_schema
    log = prepare_log(schema, read_source(schema, None))
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


def correlated(**options):
    return read_source(spec("correlated", **{"rows": 20_000, **options}), None).log


@pytest.mark.parametrize("p", [-1.0, 0.0, 0.5, 1.0])
def test_correlated_labels_come_of_weight_vectors_of_that_cosine(p):
    """Without sines or noise a label is linear, and its weights can be read off."""
    log = correlated(correlation=p, terms=0, noise=0.0)
    x = log.select(f"x{place}" for place in range(DIMENSION)).to_numpy()
    w = np.linalg.lstsq(x, log.select("y1", "y2").to_numpy(), rcond=None)[0]
    cosine = w[:, 0] @ w[:, 1] / np.linalg.norm(w[:, 0]) / np.linalg.norm(w[:, 1])
    assert cosine == pytest.approx(p, abs=0.02)


def test_labels_correlate_the_more_the_more_their_weights_do():
    found = [
        np.corrcoef(log["y1"], log["y2"])[0, 1]
        for log in (correlated(correlation=p) for p in (0.0, 0.25, 0.5, 0.75, 1.0))
    ]
    assert found == sorted(found)
    assert abs(found[0]) < 0.05
    assert found[-1] > 0.99


def test_the_correlation_moves_the_second_label_alone():
    one, other = correlated(correlation=0.0), correlated(correlation=0.75)
    assert_frame_equal(one.drop("y2"), other.drop("y2"))
    assert not one["y2"].equals(other["y2"])


@pytest.mark.slow
def test_sines_bend_what_is_linear_without_them():
    def unexplained(log):
        """Share of the label's variance that no linear map of the inputs tells."""
        x = log.select(f"x{place}" for place in range(DIMENSION)).to_numpy()
        return np.linalg.lstsq(x, log["y1"].to_numpy(), rcond=None)[1][0] / len(log)

    assert unexplained(correlated(terms=0, noise=0.0)) < 1e-4
    assert unexplained(correlated(noise=0.0)) > 0.01


def test_a_correlation_beyond_one_is_refused():
    with pytest.raises(FulcrumError, match=r"data\.options\.correlation: .*found 1\.5"):
        read_source(spec("correlated", correlation=1.5), None)


def test_the_correlated_recipe_squashes_both_labels_and_reads_every_input():
    schema = load_recipe("correlated", ["data.options.rows=1200"]).data_schema
    source = read_source(schema, None)
    log = prepare_log(schema, source)
    expected = 1 / (1 + np.exp(-source.log.select("y1", "y2").to_numpy()))
    np.testing.assert_allclose(log.labels, expected, atol=1e-6)
    assert {feature.source for feature in schema.features} == {f"x{place}" for place in range(DIMENSION)}
    assert log.train.sum() == 1000
    assert log.validation.sum() == 200
