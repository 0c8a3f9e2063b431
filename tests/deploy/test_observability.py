"""Prometheus and Grafana: that they ask for what the service counts, by its names and labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

Document = dict[str, Any]
_ADDED = {"instance", "job"}
"""Labels that Prometheus gives each sample."""


@pytest.fixture(scope="module")
def prometheus(root: Path) -> Document:
    return yaml.safe_load((root / "deploy/prometheus/prometheus.yml").read_text())


@pytest.fixture(scope="module")
def alerts(root: Path) -> list[Document]:
    document = yaml.safe_load((root / "deploy/prometheus/alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def dashboard(root: Path) -> Document:
    return json.loads((root / "deploy/grafana/dashboards/fulcrum.json").read_text())


@pytest.fixture(scope="module")
def datasource(root: Path) -> Document:
    (only,) = yaml.safe_load((root / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    return only


def expressions(dashboard: Document) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def check(expression: str, series: dict[str, Any]) -> None:
    """Names exist, with the labels that are asked for; counters and histograms are rated, gauges are not."""
    names = set(re.findall(r"\bfulcrum_\w+", expression))
    assert names or expression.startswith("up{"), expression
    assert names <= set(series), f"{names - set(series)} in {expression}"
    labels = set().union(*(series[name].labels for name in names)) | _ADDED
    labels |= set(re.findall(r'"(\w+)", "\$1"', expression))  # made by label_replace
    for selected in re.findall(r"\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*[=!]", selected)) <= labels, expression
    for grouped in re.findall(r"\b(?:by|ignoring) \(([^)]*)\)", expression):
        assert set(re.split(r"\s*,\s*", grouped)) <= labels, expression
    for name in names:
        rated = re.search(rf"\b(?:rate|increase)\({name}(?:\{{[^}}]*\}})?\[", expression) is not None
        assert rated == (series[name].type != "gauge"), f"{name} in {expression}"


def test_prometheus_scrapes_the_service_where_it_listens(prometheus: Document, compose: Document) -> None:
    jobs = {job["job_name"]: job for job in prometheus["scrape_configs"]}
    ((host, port),) = [target.split(":") for target in jobs["fulcrum"]["static_configs"][0]["targets"]]
    assert host in compose["services"]
    assert compose["services"][host]["ports"][0].endswith(f":{port}")
    assert jobs["fulcrum"].get("metrics_path", "/metrics") == "/metrics"


def test_prometheus_finds_its_rules_in_the_mounted_folder(
    prometheus: Document, compose: Document, root: Path
) -> None:
    mounts = dict(reversed(v.split(":")[:2]) for v in compose["services"]["prometheus"]["volumes"])
    (rules,) = prometheus["rule_files"]
    assert (root / mounts[str(Path(rules).parent)] / Path(rules).name).is_file()


def test_alerts_ask_for_what_there_is_and_say_what_happened(
    alerts: list[Document], series: dict[str, Any]
) -> None:
    assert len({rule["alert"] for rule in alerts}) == len(alerts) >= 5
    for rule in alerts:
        check(rule["expr"], series)
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert re.fullmatch(r"\d+m", rule["for"])


def test_panels_ask_for_what_there_is(dashboard: Document, series: dict[str, Any]) -> None:
    assert len(expressions(dashboard)) >= 20
    for expression in expressions(dashboard):
        check(expression, series)


@pytest.mark.parametrize(
    "metric",
    [
        "fulcrum_requests_total",
        "fulcrum_request_seconds_bucket",
        "fulcrum_rank_stage_seconds_bucket",
        "fulcrum_rank_degraded_total",
        "fulcrum_rank_shed_total",
        "fulcrum_rank_best_score_bucket",
        "fulcrum_feature_cache_total",
        "fulcrum_active_bundle",
        "fulcrum_active_fusion",
        "fulcrum_arm_answers_total",
        "fulcrum_arm_seconds_bucket",
        "fulcrum_experiment_live_buckets",
        "fulcrum_experiment_look_age_seconds",
    ],
)
def test_traffic_latency_degradation_scores_versions_and_experiments_are_on_the_dashboard(
    dashboard: Document, metric: str
) -> None:
    assert any(re.search(rf"\b{metric}\b", expression) for expression in expressions(dashboard))


def test_panels_have_names_and_places_of_their_own(dashboard: Document) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_read_the_provisioned_data_source(
    dashboard: Document, datasource: Document, compose: Document
) -> None:
    for panel in dashboard["panels"]:
        for part in [panel, *panel.get("targets", [])] if panel["type"] != "row" else []:
            assert part["datasource"] == {"type": datasource["type"], "uid": datasource["uid"]}
    host, port = datasource["url"].removeprefix("http://").split(":")
    assert compose["services"][host]["ports"][0].endswith(f":{port}")


def test_grafana_knows_how_often_prometheus_scrapes(datasource: Document, prometheus: Document) -> None:
    assert datasource["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_grafana_finds_the_dashboard_and_shows_it_first(compose: Document, root: Path) -> None:
    grafana = compose["services"]["grafana"]
    mounts = dict(reversed(v.split(":")[:2]) for v in grafana["volumes"] if v.startswith("."))
    (provider,) = yaml.safe_load((root / "deploy/grafana/provisioning/dashboards/fulcrum.yml").read_text())[
        "providers"
    ]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert provider["options"]["path"] == str(home.parent)
    assert (root / mounts[str(home.parent)] / home.name).is_file()
    assert {"/etc/grafana/provisioning/datasources", "/etc/grafana/provisioning/dashboards"} <= set(mounts)


def test_nobody_can_log_in_with_a_default_password(compose: Document) -> None:
    environment = compose["services"]["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
