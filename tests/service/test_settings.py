"""Settings: where they come from, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import FulcrumError
from service.settings import Settings, load_settings

NEEDED = {"bundle": Path("bundle"), "features": "store"}


def test_every_setting_says_what_it_is():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_options_stand_over_the_environment_and_that_over_defaults(monkeypatch):
    monkeypatch.setenv("FULCRUM_PORT", "9000")
    monkeypatch.setenv("FULCRUM_HOST", "0.0.0.0")
    settings = load_settings(**NEEDED, port=9001, provider=None)
    assert (settings.port, settings.host, settings.provider) == (9001, "0.0.0.0", "auto")
    assert settings.threads >= 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"features": "http://localhost"}, "features: http:// is no feature store"),
        ({"variant": ""}, "variant: string should have at least 1 character"),
        ({"workers": 0}, "workers: input should be greater"),
        ({"models": "folder"}, "either bundle, a folder, or models"),
        ({"bundle": None}, "either bundle, a folder, or models"),
        ({"state": "file"}, "state says which of several bundles serves"),
        ({"provider": "tpu"}, "provider: input should be"),
        ({"port": 70_000}, "port: input should be less than"),
        ({"threads": 0}, "threads: input should be greater"),
        ({"threads": "many"}, "threads: expected a whole number or auto, found 'many'"),
        ({"max_candidates": 10}, "max_candidates: "),
        ({"colour": 1}, "colour: "),
    ],
)
def test_what_cannot_be_is_refused_by_name(given, says):
    with pytest.raises(FulcrumError) as refused:
        load_settings(**{**NEEDED, **given})
    assert str(refused.value).startswith("settings: ")
    assert says in str(refused.value)


def test_a_missing_setting_is_named():
    with pytest.raises(FulcrumError, match="features: required"):
        load_settings(bundle="bundle")


def test_what_the_environment_leaves_empty_is_not_set(monkeypatch):
    for name in ("MODELS", "STATE", "ADMIN_TOKEN", "OTEL_ENDPOINT"):
        monkeypatch.setenv(f"FULCRUM_{name}", "")
    settings = load_settings(**NEEDED)
    assert settings.models is settings.state is settings.admin_token is settings.otel_endpoint is None


def test_a_token_does_not_show(monkeypatch):
    monkeypatch.setenv("FULCRUM_ADMIN_TOKEN", "correct horse")
    assert "correct horse" not in repr(load_settings(**NEEDED))


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr("service.settings.available_cores", lambda: 8)
    assert load_settings(**NEEDED).threads == 8
    assert load_settings(**NEEDED, workers=4).threads == 2
    assert load_settings(**NEEDED, workers=16).threads == 1
    assert load_settings(**NEEDED, workers=2, threads="auto").threads == 4
    assert load_settings(**NEEDED, workers=2, threads=3).threads == 3
    assert load_settings(**NEEDED, workers=2, threads="3").threads == 3


def test_traces_go_where_the_standard_variable_says(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert load_settings(**NEEDED).otel_endpoint == "http://collector:4318"
    monkeypatch.setenv("FULCRUM_OTEL_ENDPOINT", "http://ours:4318")
    assert load_settings(**NEEDED).otel_endpoint == "http://ours:4318"


def test_kubernetes_service_links_are_explained(monkeypatch):
    monkeypatch.setenv("FULCRUM_PORT", "tcp://10.0.0.1:8000")
    with pytest.raises(FulcrumError, match="enableServiceLinks"):
        load_settings(**NEEDED)


def test_a_bad_setting_is_told_without_the_defaults_that_depend_on_it():
    with pytest.raises(FulcrumError) as refused:
        load_settings(**NEEDED, workers=0)
    assert "more)" not in str(refused.value)
