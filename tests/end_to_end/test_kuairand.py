"""The real KuaiRand-Pure log from files to ranked answers, where it is at hand."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.support.harness import KUAIRAND, Command, serving
from tests.support.parity import largest_difference
from training.datasets import read_source
from training.preparation.preparation import prepare_log
from training.recipe import load_recipe

pytestmark = pytest.mark.skipif(
    not KUAIRAND.is_dir(), reason="the KuaiRand-Pure files are not at hand (../shared/data/kuairand-pure)"
)


@pytest.fixture(scope="module")
def home(fulcrum: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one quick epoch, its store and its judged rows: plumbing, not quality."""
    home = tmp_path_factory.mktemp("kuairand")
    quick = ("--set", "training.epochs=1", "--set", "network.expert=[32, 16]", "--set", "training.batch=4096")
    bundle = home / "bundle"
    fulcrum(
        "train", "--recipe", "kuairand", "--data", KUAIRAND, "--out", bundle, "--run", home / "run", *quick
    )
    fulcrum("publish", bundle, "--data", KUAIRAND, "--to", home / "features")
    fulcrum("evaluate", bundle, "--data", KUAIRAND, "--predictions", home / "rows.parquet")
    return home


def test_labels_and_masks_are_those_of_the_data_set() -> None:
    schema = load_recipe("kuairand").data_schema
    # What the features look back at takes ten times as long, and labels do not.
    schema = schema.model_copy(
        update={
            "features": [spec for spec in schema.features if spec.name in ("user_id", "video_id")],
            "data": schema.data.model_copy(update={"priors": []}),
        }
    )
    log = prepare_log(schema, read_source(schema, KUAIRAND))
    labels, masks = log.labels[log.validation], log.masks[log.validation]
    vtr, vcr, shr, cmr = (schema.task_names.index(name) for name in ("vtr", "vcr", "shr", "cmr"))
    assert len(labels) == 35_373
    assert masks[:, vtr].all()
    inside = masks[:, vcr]
    assert inside.sum() == masks[:, shr].sum() == masks[:, cmr].sum()
    assert labels[inside, shr].sum() == 33
    assert labels[inside, cmr].sum() == 109
    assert labels[inside, vcr].var() == pytest.approx(0.147, abs=0.002)


@pytest.mark.long
def test_a_thousand_real_impressions_over_http_equal_evaluate(home: Path) -> None:
    rows = pl.read_parquet(home / "rows.parquet")
    context = [spec.name for spec in load_recipe("kuairand").data_schema.side("context")]
    words = ("--bundle", home / "bundle", "--features", home / "features")
    with serving(*words, log=home / "service.log") as client:
        # Nothing is sent of what the log knew lately: store and judged rows hold the same past.
        compared, worst = largest_difference(client, rows.head(1_050), "user_id", "video_id", context)
    assert compared >= 1_000
    assert worst <= 1e-5
