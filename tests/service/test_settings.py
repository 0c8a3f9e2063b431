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
        ({"features": "redis://localhost"}, "features: a redis:// feature store is not built yet"),
        ({"variant": "int8"}, "variant: variant 'int8' is not built yet"),
        ({"workers": 4}, "workers: 4 workers are not built yet"),
        ({"models": "folder"}, "models is not built yet"),
        ({"state": "file"}, "state is not built yet"),
        ({"admin_token": "x"}, "admin_token is not built yet"),
        ({"provider": "tpu"}, "provider: input should be"),
        ({"port": 70_000}, "port: input should be less than"),
        ({"threads": 0}, "threads: input should be greater"),
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
    with pytest.raises(FulcrumError, match="bundle: required"):
        load_settings(features="store")


def test_what_is_not_built_is_refused_from_the_environment_too(monkeypatch):
    monkeypatch.setenv("FULCRUM_STATE", "redis://")
    with pytest.raises(FulcrumError, match="state is not built yet"):
        load_settings(**NEEDED)


def test_kubernetes_service_links_are_explained(monkeypatch):
    monkeypatch.setenv("FULCRUM_PORT", "tcp://10.0.0.1:8000")
    with pytest.raises(FulcrumError, match="enableServiceLinks"):
        load_settings(**NEEDED)
