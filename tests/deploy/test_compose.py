"""docker-compose.yml: what starts when, as whom, and whether its names are those of the service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

Compose = dict[str, Any]


def test_there_is_a_service_for_each_part(compose: Compose) -> None:
    ours = {"bundle", "service", "watch", "console"}
    assert set(compose["services"]) == {"redis", "prometheus", "grafana", *ours}


def test_nothing_runs_with_more_rights_than_it_needs(compose: Compose) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "pid", "network_mode"} & service.keys(), name
        assert service.get("user", "nobody") not in {"root", "0"}, name


def test_ports_are_open_on_this_machine_alone(compose: Compose) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "ports" not in compose["services"]["redis"]


def test_images_are_pinned_and_ours_bear_the_projects_version(compose: Compose, project: Compose) -> None:
    for name, service in compose["services"].items():
        tag = service["image"].rpartition(":")[2]
        if "build" in service:
            assert tag == project["version"], name
        else:
            assert re.search(r"\d+\.\d+", tag), name


def test_what_stays_up_says_whether_it_is_well(compose: Compose, root: Path) -> None:
    for name, service in compose["services"].items():
        if service["restart"] == "no":
            continue
        if "build" in service:
            assert "\nHEALTHCHECK" in (root / service["build"]["dockerfile"]).read_text(), name
        else:
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name


def test_the_service_waits_for_redis_and_for_the_bundle_and_its_features(compose: Compose) -> None:
    conditions = {
        name: {needed: how["condition"] for needed, how in service.get("depends_on", {}).items()}
        for name, service in compose["services"].items()
    }
    assert conditions["bundle"] == {"redis": "service_healthy"}
    assert conditions["service"] == {
        "redis": "service_healthy",
        "bundle": "service_completed_successfully",
    }


def test_what_must_outlive_a_container_lies_in_a_volume(compose: Compose) -> None:
    named = {
        (service, *volume.split(":")[:2])
        for service, what in compose["services"].items()
        for volume in what.get("volumes", [])
        if not volume.startswith(".")
    }
    assert named == {
        ("redis", "redis", "/data"),
        ("bundle", "models", "/models"),
        ("service", "models", "/models"),
        ("bundle", "events", "/events"),
        ("service", "events", "/events"),
        ("watch", "models", "/models"),
        ("watch", "events", "/events"),
        ("watch", "watch", "/watch"),
        ("prometheus", "prometheus", "/prometheus"),
        ("grafana", "grafana", "/var/lib/grafana"),
    }
    assert set(compose["volumes"]) == {volume for _, volume, _ in named}
    command = compose["services"]["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"


def test_what_is_mounted_from_the_checkout_is_there_and_read_only(compose: Compose, root: Path) -> None:
    mounted = [
        volume.split(":")
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]
    assert len(mounted) == 5
    for source, _, mode in mounted:
        assert (root / source).is_dir(), source
        assert mode == "ro", source


@pytest.mark.parametrize(("name", "command"), [("service", "serve"), ("console", "console")])
def test_ours_are_started_with_options_that_there_are(compose: Compose, name: str, command: str) -> None:
    import typer

    import fulcrum

    given, *options = compose["services"][name]["command"]
    assert given == command
    found: Any = typer.main.get_command(fulcrum.app).commands[command]  # type: ignore[attr-defined]
    known = {option for parameter in found.params for option in parameter.opts}
    assert {option.partition("=")[0] for option in options} <= known


def test_the_console_asks_the_service_and_holds_nothing(compose: Compose) -> None:
    console, service = compose["services"]["console"], compose["services"]["service"]
    options = dict(option.split("=") for option in console["command"][1:])
    assert options["--url"] == f"http://service:{service['ports'][0].rpartition(':')[2]}"
    assert console["ports"][0].endswith(f":{options['--port']}")
    assert console["depends_on"] == {"service": {"condition": "service_started"}}
    assert not {"volumes", "environment"} & console.keys()


@pytest.mark.parametrize("name", ["service", "bundle"])
def test_our_variables_are_settings_of_the_service(compose: Compose, settings: set[str], name: str) -> None:
    assert set(compose["services"][name]["environment"]) <= settings


def test_the_watched_fusion_file_is_in_the_mounted_folder_and_sound(compose: Compose, root: Path) -> None:
    from model.fusion import load_fusion

    options = dict(option.split("=") for option in compose["services"]["service"]["command"][1:])
    folders = {
        volume.split(":")[1]: root / volume.split(":")[0]
        for volume in compose["services"]["service"]["volumes"]
    }
    path = Path(options["--fusion"])
    assert load_fusion(folders[str(path.parent)] / path.name).scenes


def test_the_job_publishes_into_the_store_that_the_service_reads(compose: Compose) -> None:
    options = dict(option.split("=") for option in compose["services"]["service"]["command"][1:])
    environment = compose["services"]["bundle"]["environment"]
    assert environment["FULCRUM_FEATURES"] == options["--features"]
    assert environment["FULCRUM_MODELS"] == options["--models"]


def test_a_stop_leaves_time_to_end_what_has_begun(compose: Compose) -> None:
    from service.server import DRAIN_S

    assert int(compose["services"]["service"]["stop_grace_period"].removesuffix("s")) > DRAIN_S + 10
