"""The Dockerfiles: what goes in, who it runs as, and how it says that it is well."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import Any

import pytest

IMAGES = {
    "Dockerfile": "service",
    "Dockerfile.training": "training",
    "Dockerfile.cuda": "service-cuda",
    "Dockerfile.console": "console",
}
SERVERS = ["Dockerfile", "Dockerfile.cuda"]


def instructions(path: Path) -> list[tuple[str, str]]:
    """Keyword and rest of each instruction, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]  # type: ignore[misc]


def values(path: Path, keyword: str) -> list[str]:
    return [rest for found, rest in instructions(path) if found == keyword]


@pytest.fixture(params=IMAGES)
def dockerfile(request: pytest.FixtureRequest, root: Path) -> Path:
    return root / "deploy" / request.param


def test_the_last_stage_has_no_compiler_and_no_pip_of_the_build(dockerfile: Path) -> None:
    assert values(dockerfile, "FROM") == ["python:3.11-slim AS build", "python:3.11-slim"]
    last = instructions(dockerfile)[[keyword for keyword, _ in instructions(dockerfile)].index("FROM", 1) :]
    assert not any("pip" in rest or "apt-get" in rest for keyword, rest in last if keyword == "RUN")


def test_nobody_is_root(dockerfile: Path) -> None:
    assert values(dockerfile, "USER") == ["10001:10001"]


def test_versions_are_those_that_were_tested(dockerfile: Path) -> None:
    installs = [rest for rest in values(dockerfile, "RUN") if " install " in rest and "pip " in rest]
    assert installs
    assert all("-c constraints.txt" in rest for rest in installs)


def test_each_image_takes_its_own_extra(dockerfile: Path, project: dict[str, Any]) -> None:
    extra = IMAGES[dockerfile.name]
    text = dockerfile.read_text()
    assert set(re.findall(r"'\.\[([a-z-]+)\]'", text)) == {extra}
    assert set(re.findall(r"optional-dependencies'\]\['([a-z-]+)'\]", text)) == {extra}
    assert extra in project["optional-dependencies"]


def test_nothing_reports_its_use_to_anybody(dockerfile: Path, project: dict[str, Any]) -> None:
    needs = project["optional-dependencies"][IMAGES[dockerfile.name]]
    if not any(need.startswith("onnxruntime") for need in needs):
        return
    assert "ORT_DISABLE_TELEMETRY=1" in " ".join(values(dockerfile, "ENV")).split()


@pytest.mark.parametrize("name", SERVERS)
def test_the_service_has_no_torch(root: Path, project: dict[str, Any], name: str) -> None:
    assert "torch" not in " ".join(rest for _, rest in instructions(root / "deploy" / name))
    assert not any(need.startswith("torch") for need in project["optional-dependencies"][IMAGES[name]])


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_pid_1_and_gets_signals(root: Path, name: str) -> None:
    path = root / "deploy" / name
    assert values(path, "ENTRYPOINT") == ['["fulcrum"]']
    assert values(path, "CMD")[-1] == '["serve"]'


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_listens_where_it_is_asked_for_its_health(root: Path, settings: set[str], name: str) -> None:
    path = root / "deploy" / name
    given = dict(re.findall(r"(FULCRUM_\w+)=(\S+)", " ".join(values(path, "ENV"))))
    assert set(given) <= settings
    assert values(path, "EXPOSE") == [given["FULCRUM_PORT"]] == ["8000"]
    assert given["FULCRUM_HOST"] == "0.0.0.0"
    copied = {rest.split()[-1] for rest in values(path, "COPY")}
    assert re.search(r'"(/\S+healthcheck\.py)"', values(path, "HEALTHCHECK")[0])[1] in copied  # type: ignore[index]


def test_the_console_is_asked_for_its_health_where_it_listens(root: Path, project: dict[str, Any]) -> None:
    path = root / "deploy" / "Dockerfile.console"
    assert values(path, "ENTRYPOINT") == ['["fulcrum"]']
    port = re.search(r"FULCRUM_PORT=(\d+)", " ".join(values(path, "ENV")))
    assert port is not None
    assert values(path, "EXPOSE") == [port[1]]
    assert f'"--port", "{port[1]}"' in values(path, "CMD")[-1]
    assert not any(need.startswith(("torch", "onnx")) for need in project["optional-dependencies"]["console"])


def test_what_is_copied_is_there_and_not_ignored(dockerfile: Path, root: Path) -> None:
    patterns = (root / ".dockerignore").read_text().split("\n")
    for rest in values(dockerfile, "COPY"):
        words = [word for word in rest.split() if not word.startswith("--")]
        if "--from=build" in rest:
            continue
        for source in words[:-1]:
            assert (root / source).exists(), source
            assert source == "." or f"!{source}" in patterns, source


def test_an_image_is_built_from_what_is_named_and_no_more(root: Path, project: dict[str, Any]) -> None:
    lines = [line for line in (root / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert lines[0] == "*"
    assert all((root / path).exists() for path in allowed)
    assert {"fulcrum.py", "model", "service", "training", project["readme"], "LICENSE"} <= set(allowed)
    assert not any(
        fnmatch.fnmatch(name, pattern) for pattern in allowed for name in (".git", ".venv", ".env", "build")
    )


def test_torch_comes_from_where_it_is_small_unless_told_otherwise(root: Path) -> None:
    arguments = values(root / "deploy" / "Dockerfile.training", "ARG")
    assert "TORCH_INDEX=https://download.pytorch.org/whl/cpu" in arguments
