"""Skew: a feature that was served otherwise than the data says is named, and no other one is."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from model.bundle import load_bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.encoding import EncodedRows
from model.errors import FulcrumError
from model.store.packed import PackedLayout
from training.datasets import read_source
from training.publishing.publish import packed_tables
from training.publishing.skew import measure_skew

USERS, PER = 40, 50


@pytest.fixture(scope="module")
def bundle(trained):
    return load_bundle(trained.bundle)


@pytest.fixture(scope="module")
def source(trained, bundle):
    return read_source(bundle.schema, trained.data)


def exposures(bundle, source, damage=lambda name, records: None, context=None, **changed):
    """One request of each user, 50 candidates, as the service would log it; `damage` spoils its rows."""
    tables = {name: (keys, records.copy()) for name, keys, records in packed_tables(bundle, source)}
    for name, (_, records) in tables.items():
        damage(name, records)
    session, random = NetworkSession(bundle.network_path), np.random.default_rng(2)
    (users, user_records), (items, item_records) = tables["users"], tables["items"]
    for number in range(USERS):
        places = random.choice(len(items), PER, replace=False)
        given = {"tab": number % 2} if context is None else context
        tab = bundle.encoder.sides["context"].encode({}, 1)
        bundle.encoder.sides["context"].overwrite(tab, "tab", slice(None), [number % 2])
        user, item = (
            EncodedRows(one["ids"].copy(), one["numeric"].copy())
            for one in (user_records[[number]], item_records[places])
        )
        p = session.predict(NetworkInputs(user.beside(tab), item, np.zeros(PER, np.int64)))
        yield {
            "exposure_id": f"x{number}",
            "user_id": users[number],
            "context": orjson.dumps(given).decode(),
            "bundle_version": bundle.version,
            "degraded": [],
            "candidates": [items[place] for place in places],
            "user_row": user_records[[number]].tobytes(),
            "item_rows": item_records[places].tobytes(),
            **{f"p_{task}": values for task, values in p.items()},
            **changed,
        }


def test_rows_that_the_data_makes_show_no_skew(bundle, source):
    skew = measure_skew(bundle, source, exposures(bundle, source))
    assert skew.exposures == USERS
    assert skew.differing == []
    assert skew.predictions == skew.agreeing == skew.same_rows == USERS * PER * 3
    rows = {feature.name: feature.rows for feature in skew.features}
    assert (rows["age"], rows["quality"], rows["video_len"]) == (USERS, USERS * PER, USERS * PER)


@pytest.mark.parametrize(
    ("table", "feature", "spoil"),
    [
        ("items", "quality", lambda row: row["numeric"].__setitem__(0, row["numeric"][0] + 1e-3)),
        ("items", "video_id", lambda row: row["ids"].__setitem__(0, (row["ids"][0] + 1) % 30)),
        ("items", "video_len", lambda row: row.__setitem__("video_len_s", row["video_len_s"] * 1000)),
        ("users", "age", lambda row: row["numeric"].__setitem__(0, np.float32(0.0))),
    ],
)
def test_one_wrong_row_names_its_feature_and_no_other(bundle, source, table, feature, spoil):
    def damage(name, records):
        if name == table:
            spoil(records[7])

    skew = measure_skew(bundle, source, exposures(bundle, source, damage))
    assert [found.name for found in skew.differing] == [feature]
    found = skew.differing[0]
    assert 0 < found.differing < 0.05 * found.rows + 1
    assert found.example is not None
    assert found.example[1] == {name: keys[7] for name, keys, _ in packed_tables(bundle, source)}[table]
    assert skew.same_rows == skew.predictions
    assert (skew.agreeing < skew.predictions) == (feature != "video_len")


def test_a_user_whom_the_data_does_not_know_is_compared_with_nothing_known(bundle, source):
    skew = measure_skew(bundle, source, exposures(bundle, source, user_id="stranger"))
    assert {"user_id", "age"} <= {feature.name for feature in skew.differing}


def test_what_the_request_gave_is_no_skew(bundle, source):
    with_age = []
    side = bundle.encoder.sides["user"]
    for exposure in exposures(bundle, source):
        record = np.frombuffer(exposure["user_row"], PackedLayout.of(bundle.encoder, "users").dtype).copy()
        row = EncodedRows(record["ids"], record["numeric"])
        side.overwrite(row, "age", slice(None), [33])
        given = {**orjson.loads(exposure["context"]), "age": 33}
        with_age.append({**exposure, "user_row": record.tobytes(), "context": orjson.dumps(given).decode()})
    assert measure_skew(bundle, source, with_age).differing == []


def test_exposures_of_others_are_left_out_and_counted(bundle, source):
    good = list(exposures(bundle, source))
    foreign = [{**one, "bundle_version": "sha256:other"} for one in good[:3]]
    degraded = [{**one, "degraded": ["feature_store_timeout"]} for one in good[3:5]]
    bare = [{**one, "user_row": None} for one in good[5:6]]
    skew = measure_skew(bundle, source, [*foreign, *degraded, *bare, *good[6:]])
    assert (skew.exposures, skew.foreign, skew.degraded) == (USERS - 6, 3, 2)
    with pytest.raises(FulcrumError, match="FULCRUM_EXPOSURE_ROWS"):
        measure_skew(bundle, source, [*foreign, *bare])


def test_unscored_candidates_have_no_predictions_to_compare(bundle, source):
    cut = []
    for one in exposures(bundle, source):
        for task in bundle.task_names:
            one[f"p_{task}"] = np.where(np.arange(PER) < 10, one[f"p_{task}"], np.float32(np.nan))
        cut.append(one)
    assert measure_skew(bundle, source, cut).predictions == USERS * 10 * 3
