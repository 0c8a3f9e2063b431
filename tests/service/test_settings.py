"""Settings: where they come from, and what is refused by name."""

from __future__ import annotations

import traceback
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
        ({"features": "http://localhost"}, "--features: not a Redis URL"),
        ({"variant": ""}, "--variant: expected text of 1 or more characters"),
        ({"workers": 0}, "--workers: expected a number of at least 1, found 0"),
        ({"models": "folder"}, "of such folders; found both"),
        ({"bundle": None}, "of such folders; found neither"),
        ({"state": "file"}, "says which of several bundles serves"),
        ({"provider": "tpu"}, "--provider: expected 'auto', "),
        ({"port": 70_000}, "--port: expected a number of at most 65535, found 70000"),
        ({"threads": 0}, "--threads: expected a number of at least 1, found 0"),
        ({"threads": "many"}, "threads: expected a whole number or auto, found 'many'"),
        ({"max_candidates": 10}, "--max-candidates: "),
        ({"colour": 1}, "--colour: unknown key; known keys are bundle, models,"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given, says):
    with pytest.raises(FulcrumError) as refused:
        load_settings(**{**NEEDED, **given})
    assert str(refused.value).startswith("settings: ")
    assert says in str(refused.value)


def test_a_missing_setting_is_named():
    with pytest.raises(FulcrumError, match="settings: --features or FULCRUM_FEATURES: required, but absent"):
        load_settings(bundle="bundle")


def test_a_setting_of_the_environment_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv("FULCRUM_THREADS", "0")
    with pytest.raises(FulcrumError, match=r"^settings: FULCRUM_THREADS: expected a number of at least 1"):
        load_settings(**NEEDED)


def test_a_redis_url_that_cannot_be_read_is_refused_without_its_password(monkeypatch):
    monkeypatch.setenv("FULCRUM_STATE", "redis://user:correct/horse@localhost")
    with pytest.raises(FulcrumError, match="settings: FULCRUM_STATE: not a Redis URL") as refused:
        load_settings(models="models", features="store")
    text = "".join(traceback.format_exception(refused.value))
    assert "correct" not in text
    assert "horse" not in text


def test_a_redis_password_does_not_show():
    settings = load_settings(bundle="bundle", features="redis://user:correct@localhost/0")
    assert "correct" not in f"{settings!r} {settings} {settings.model_dump()}"


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


def test_users_are_hashed_only_with_a_salt(monkeypatch):
    monkeypatch.setenv("FULCRUM_EVENTS_USER_KEY", "correct horse battery")
    with pytest.raises(FulcrumError, match="FULCRUM_EVENTS_SALT"):
        load_settings(**NEEDED)
    monkeypatch.setenv("FULCRUM_EVENTS_SALT", "staple")
    assert "staple" not in repr(load_settings(**NEEDED))
    monkeypatch.setenv("FULCRUM_EVENTS_USER_KEY", "short")
    with pytest.raises(FulcrumError, match=r"FULCRUM_EVENTS_USER_KEY.*found 5$") as refused:
        load_settings(**NEEDED)
    assert "short" not in str(refused.value)
