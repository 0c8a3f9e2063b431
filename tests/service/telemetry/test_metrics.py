"""Metrics of one worker: what was counted, and what is active at the moment of the scrape."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.processes.fleet import Fleet
from service.ranking.ranker import Ranking
from service.ranking.stopwatch import Stopwatch
from service.telemetry.metrics import Metrics


class Scraped:
    """The numbers of one scrape."""

    def __init__(self, metrics: Metrics) -> None:
        families = text_string_to_metric_families(metrics.scrape().decode())
        self._samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        found = [sample.value for sample in self._samples if sample.name == name and sample.labels == labels]
        return found[0] if found else None


@pytest.fixture
def fleet():
    return Fleet()


@pytest.fixture
def metrics(fleet):
    return Metrics(fleet)


def ranking(**given) -> Ranking:
    counts = {"candidates": 5, "scored": 3, "default_features": 2, "cache_hits": 4, "cache_misses": 1}
    return Ranking(b"{}", "e-1", **{**counts, "best_score": 0.5, "degraded": ["deadline"], **given})


def test_requests_are_counted_by_route_and_status_and_timed_by_route(metrics):
    metrics.answered("/v1/rank", 200, 0.02)
    metrics.answered("/v1/rank", 422, 0.002)
    found = Scraped(metrics)
    assert found("fulcrum_requests_total", route="/v1/rank", status="200") == 1
    assert found("fulcrum_requests_total", route="/v1/rank", status="422") == 1
    assert found("fulcrum_request_seconds_sum", route="/v1/rank") == pytest.approx(0.022)
    assert found("fulcrum_request_seconds_bucket", route="/v1/rank", le="0.0025") == 1


def test_a_ranking_adds_its_stages_candidates_and_what_went_badly(metrics):
    watch = Stopwatch()
    watch.lap("network")
    metrics.ranked(ranking(), watch)
    found = Scraped(metrics)
    assert found("fulcrum_rank_stage_seconds_count", stage="network") == 1
    assert found("fulcrum_rank_candidates_sum") == 5
    assert found("fulcrum_rank_unscored_candidates_total") == 2
    assert found("fulcrum_rank_default_features_candidates_total") == 2
    assert found("fulcrum_feature_cache_total", outcome="hit") == 4
    assert found("fulcrum_feature_cache_total", outcome="miss") == 1
    assert found("fulcrum_rank_degraded_total", reason="deadline") == 1
    assert found("fulcrum_rank_best_score_sum") == 0.5


def test_a_ranking_without_a_score_has_no_best_one(metrics):
    metrics.ranked(ranking(scored=0, best_score=None), Stopwatch())
    assert Scraped(metrics)("fulcrum_rank_best_score_count") == 0


def test_answers_and_failures_are_counted_by_arm_those_of_testers_by_none(metrics):
    watch = Stopwatch()
    metrics.ranked(ranking(arms=["l/x:new", "m/holdout"]), watch)
    metrics.ranked(ranking(arms=["l/x:new"], degraded=[]), watch)
    metrics.ranked(ranking(arms=["l/x:new@override"]), watch)
    metrics.arms.failed(["l/x:new", "l/y:a@override"])
    found = Scraped(metrics)
    answers = [
        found("fulcrum_arm_answers_total", arm="l/x:new", outcome=outcome)
        for outcome in ("ok", "degraded", "failed")
    ]
    assert answers == [1, 1, 1]
    assert found("fulcrum_arm_seconds_count", arm="l/x:new") == 2
    assert found("fulcrum_arm_seconds_count", arm="m/holdout") == 1
    assert "override" not in metrics.scrape().decode()


def test_requests_inside_are_counted_while_they_are_even_if_they_fail(metrics):
    def failing():
        with metrics.inside():
            assert Scraped(metrics)("fulcrum_rank_inside") == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert Scraped(metrics)("fulcrum_rank_inside") == 0


@pytest.mark.parametrize(
    ("name", "label", "value", "count"),
    [
        ("fulcrum_rank_shed_total", "reason", "queue_full", Metrics.shed),
        ("fulcrum_fusion_reloads_total", "outcome", "rejected", Metrics.reloaded),
        ("fulcrum_bundle_changes_total", "outcome", "refused", Metrics.judged),
    ],
)
def test_an_outcome_that_never_came_counts_zero_and_not_nothing(metrics, name, label, value, count):
    assert Scraped(metrics)(name, **{label: value}) == 0
    count(metrics, value)
    assert Scraped(metrics)(name, **{label: value}) == 1


def test_what_is_active_is_what_the_workers_report_at_the_scrape(metrics, fleet):
    assert Scraped(metrics)("fulcrum_workers_ready") == 0
    fleet.report(ready=True, bundle="sha256:a", fusion="sha256:f", refused={"models/x": "is damaged"})
    found = Scraped(metrics)
    assert (found("fulcrum_workers"), found("fulcrum_workers_ready")) == (1, 1)
    assert found("fulcrum_active_bundle", version="sha256:a") == 1
    assert found("fulcrum_active_fusion", version="sha256:f") == 1
    assert found("fulcrum_active_generation", generation="none") == 1
    assert (found("fulcrum_bundles_refused"), found("fulcrum_fusion_rejected")) == (1, 0)
    fleet.report(bundle="sha256:b", fusion_rejected="unknown task")
    found = Scraped(metrics)
    assert found("fulcrum_active_bundle", version="sha256:a") is None
    assert found("fulcrum_active_bundle", version="sha256:b") == 1
    assert found("fulcrum_fusion_rejected") == 1
