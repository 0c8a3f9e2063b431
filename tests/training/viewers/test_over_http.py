"""The world over HTTP: a real service with events, its viewers, the joined log, and what is trained on it."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import polars as pl
import pytest
from typer.testing import CliRunner

from fulcrum import app
from model.bundle import load_bundle
from service.settings import load_settings
from tests.support.service_thread import listening
from training.datasets import read_source
from training.evaluation.evaluate import Judgement, evaluate_bundle
from training.events.join import join_events
from training.publishing.publish import publish
from training.recipe import load_recipe
from training.train import TrainingPlan, train_bundle

pytestmark = pytest.mark.slow

WORLD = ["users=40", "items=60", "pool=20", "slots=5"]
TINY = [
    *(f"data.options.{dial}" for dial in WORLD),
    "training.epochs=1",
    "training.threads=1",
    "network.levels=1",
    "network.expert=[8]",
    "network.tower=[4]",
]
REQUESTS = 150


@pytest.fixture(scope="module")
def served(made_once) -> Path:
    """A bundle of a small world, what its service logged of two simulations, and their reports."""

    def make(folder: Path) -> None:
        recipe = load_recipe("demo", [*TINY, "data.options.rows=4000"])
        bundle = folder / "bundle"
        train_bundle(TrainingPlan(recipe, bundle, None, folder / "run"))
        publish(load_bundle(bundle), None, str(folder / "features"))
        (folder / "events").mkdir()
        settings = load_settings(
            bundle=bundle,
            features=str(folder / "features"),
            events=folder / "events",
            exposure_candidates=1.0,
            threads=1,
        )
        with listening(settings) as url:
            for name, more in (
                ("one", ["--callers", "1"]),
                ("many", ["--callers", "12", "--late", ".3", "--double", ".3", "--shuffle"]),
            ):
                words = ["simulate", str(bundle), "--url", url, "--requests", str(REQUESTS), "--seed", "5"]
                ran = CliRunner().invoke(app, [*words, *more, "--json"], catch_exceptions=False)
                # The service logs from this process, too.
                (report,) = (line for line in ran.stdout.splitlines() if line.startswith('{"seed"'))
                (folder / f"{name}.json").write_text(report)
        join_events(folder / "events", folder / "joined", time.time_ns() // 1_000_000)

    return made_once("served-world", make)


def test_equal_seeds_give_equal_worlds_whatever_happens_to_events(served: Path) -> None:
    one, many = (orjson.loads((served / f"{name}.json").read_bytes()) for name in ("one", "many"))
    for key in (
        "true_reward",
        "true_reward_interval",
        "realised_reward",
        "realised_reward_interval",
        "users",
    ):
        assert one[key] == many[key], key
    assert one["requests"] == REQUESTS
    assert one["errors"] == many["errors"] == one["feedback"]["rejected"] == many["feedback"]["rejected"] == 0
    low, high = one["true_reward_interval"]
    assert low < one["true_reward"] < high
    assert many["feedback"]["accepted"] > one["feedback"]["accepted"] > 500


def test_late_doubled_and_shuffled_feedback_gives_the_same_rows(served: Path) -> None:
    log = pl.read_parquet(served / "joined/impressions/**/*.parquet").sort("exposure_id", "position")
    assert log.height == 2 * REQUESTS * 5
    kinds = ["play_time_ms", "is_click", "is_like", "is_share", "is_comment"]
    columns = ["request_id", "item_id", "position", "user_id", "tab", "hour", *kinds]
    first, second = (
        log.filter(pl.col("exposure_id").is_in(half)).select(columns).sort("request_id", "position")
        for half in _halves(log)
    )
    assert first.equals(second, null_equal=True)
    accepted = orjson.loads((served / "one.json").read_bytes())["feedback"]["accepted"]
    assert sum(int((first[kind] > 0).sum()) for kind in kinds) == accepted


def _halves(log: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Exposures of the first simulation and of the second: ids rise with time."""
    ids = log["exposure_id"].unique().sort().to_list()
    return ids[:REQUESTS], ids[REQUESTS:]


def test_a_bundle_is_trained_on_what_was_served_judged_and_published(served: Path, tmp_path: Path) -> None:
    recipe = load_recipe("served", TINY)
    data, before = served / "joined", load_bundle(served / "bundle")
    plan = TrainingPlan(recipe, tmp_path / "next", data, tmp_path / "run", start=before.path, force=True)
    train_bundle(plan)
    bundle = load_bundle(tmp_path / "next")
    assert bundle.manifest.data["fingerprint"] == read_source(bundle.schema, data).fingerprint
    report = evaluate_bundle(bundle, data, Judgement(against=before)).report
    assert report["data"]["split"] == "validation"
    assert set(report["against"]["tasks"]) == {"vtr", "vcr", "shr", "cmr"}
    published = publish(bundle, data, str(tmp_path / "features"))
    assert (published.users, published.items) == (40, 60)
