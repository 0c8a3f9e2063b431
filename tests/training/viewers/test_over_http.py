"""The world over HTTP: a real service with events, its viewers, the joined log, and what is trained on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from typer.testing import CliRunner

from fulcrum import app
from model.bundle import load_bundle
from model.fusion import parse_fusion
from service.settings import load_settings
from tests.support.service_thread import listening
from tests.support.world_logs import WorldRequests, by_bundle
from tests.support.written_logs import write_joined
from training.datasets import read_source
from training.datasets.served import world_of
from training.evaluation.evaluate import Judgement, evaluate_bundle
from training.events.join import join_events
from training.publishing.publish import publish
from training.recipe import load_recipe
from training.simulation import World
from training.train import TrainingPlan, train_bundle
from training.tuning.outcomes import Outcomes, read_outcomes

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
FUSION = """
schema_version: 1
scenes:
  default:
    tasks: {vtr: {weight: 0.2}, vcr: {weight: 0.5}, shr: {weight: 1.0, smoothing: 0.05}, cmr: {weight: 1.0}}
    video_len: {kind: log, scale_s: 30.0, weight: 0.3}
    explore: {share: 0.5, noise: 0.5, unit: user_week}
"""
REWARD = "0.02 * play_time_ms / 1000 + 0.5 * coalesce(vcr, 0) + 15 * is_share + 12 * is_comment"


@pytest.fixture(scope="module")
def served(made_once) -> Path:
    """A bundle of a small world, what its service logged of two simulations, and their reports."""

    def make(folder: Path) -> None:
        recipe = load_recipe("demo", [*TINY, "data.options.rows=4000"])
        bundle = folder / "bundle"
        train_bundle(TrainingPlan(recipe, bundle, None, folder / "run"))
        publish(load_bundle(bundle), None, str(folder / "features"))
        (folder / "events").mkdir()
        (folder / "fusion.yaml").write_text(FUSION)
        settings = load_settings(
            bundle=bundle,
            fusion=folder / "fusion.yaml",
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


def test_a_log_made_in_process_is_that_of_the_same_visits_over_http(served: Path, tmp_path: Path) -> None:
    bundle, config = load_bundle(served / "bundle"), parse_fusion(FUSION)
    world = World.create(world_of(bundle.schema, "the bundle"))
    visits = WorldRequests.of(world, REQUESTS, by_bundle(bundle), seed=5)
    rows = pl.read_parquet(served / "joined/impressions/**/*.parquet")
    one = rows.filter(pl.col("exposure_id").is_in(_halves(rows)[0]))
    hashes = dict(one.select("request_id", "unit_hash").iter_rows())
    unit_hash = np.array([hashes[f"5-{number}"] for number in visits.visit], np.uint64)
    log = visits.log(config, unit_hash=unit_hash)
    write_joined(log, tmp_path / "joined", bundle.version)

    made = read_outcomes(bundle, tmp_path / "joined", "default", REWARD)
    logged = read_outcomes(bundle, served / "joined", "default", REWARD, open_too=True)
    request = {name: int(number[2:]) for name, number in one.select("exposure_id", "request_id").iter_rows()}
    logged = logged.kept(np.array([name in request for name in logged.requests.ids]))
    assert 0 < made.requests.explored.sum() < REQUESTS
    theirs = _by_visit(logged, [request[name] for name in logged.requests.ids])
    for name, values in _by_visit(made, visits.visit).items():
        np.testing.assert_allclose(values, theirs[name], rtol=1e-5, err_msg=name)


def _by_visit(outcomes: Outcomes, visit: Sequence[int]) -> dict[str, np.ndarray]:
    """Which candidates were shown, what of them, in the order of visits: [requests, slots] each."""
    columns = {
        "candidate": outcomes.at - outcomes.requests.start[outcomes.of_request],
        "reward": outcomes.reward,
        **outcomes.labels,
        **{f"p_{task}": p[outcomes.at] for task, p in outcomes.requests.predictions.items()},
    }
    return {name: values.reshape(REQUESTS, -1)[np.argsort(visit)] for name, values in columns.items()}


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
