"""The controller of experiments in compose and Kubernetes: it is started right, and gets around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

Document = dict[str, Any]


@pytest.fixture(scope="module")
def manifests(root: Path) -> dict[str, Document]:
    """By kind."""
    text = (root / "deploy/kubernetes/watch/watch.yaml").read_text()
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, Document]) -> Document:
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: Document) -> Document:
    (only,) = pod["containers"]
    return only


@pytest.fixture(scope="module")
def policies(root: Path) -> dict[str, Document]:
    text = (root / "deploy/kubernetes/network-policy.yaml").read_text()
    return {each["metadata"]["name"]: each["spec"] for each in yaml.safe_load_all(text)}


def options(words: list[str]) -> dict[str, str]:
    """Of `fulcrum watch --url=... ...`."""
    assert words[:2] == ["fulcrum", "watch"]
    return dict(word.split("=", 1) for word in words[2:])


@pytest.fixture(params=["compose", "kubernetes"])
def given(request: pytest.FixtureRequest, compose: Document, container: Document) -> dict[str, str]:
    words = compose["services"]["watch"]["command"] if request.param == "compose" else container["args"]
    return options(words)


def test_it_is_started_with_options_that_there_are(given: dict[str, str]) -> None:
    import typer

    import fulcrum

    command: Any = typer.main.get_command(fulcrum.app).commands["watch"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(given) <= known
    assert {option for each in command.params if each.required for option in each.opts} <= set(given)


def test_its_token_is_the_variable_that_commands_read(compose: Document, container: Document) -> None:
    from model.client.signed_in import TOKEN

    assert TOKEN in compose["services"]["watch"]["environment"]
    assert TOKEN in {entry["name"] for entry in container["env"]}


def test_what_it_is_told_of_is_mounted(compose: Document, container: Document) -> None:
    watch = compose["services"]["watch"]
    for words, mounted in (
        (options(watch["command"]), {volume.split(":")[1] for volume in watch["volumes"]}),
        (options(container["args"]), {mount["mountPath"] for mount in container["volumeMounts"]}),
    ):
        assert words["--work"] in mounted
        assert str(Path(words["--bundle"]).parent) in mounted
    service = compose["services"]["service"]
    assert options(watch["command"])["--url"] == f"http://service:{service['ports'][0].rpartition(':')[2]}"
    assert options(watch["command"])["--events"].removesuffix("}").endswith("/events")


def test_the_folder_of_its_work_is_its_users(root: Path, compose: Document) -> None:
    line = next(
        line
        for line in (root / "deploy/Dockerfile.training").read_text().splitlines()
        if "install -d" in line
    )
    assert "-o 10001 -g 10001" in line
    assert {"/models", "/events", options(compose["services"]["watch"]["command"])["--work"]} <= set(
        line.split()
    )


def test_its_health_is_what_each_look_writes(compose: Document, container: Document) -> None:
    tests = [compose["services"]["watch"]["healthcheck"]["test"][1:]]
    tests.append(container["readinessProbe"]["exec"]["command"])
    for test in tests:
        assert test[:2] == ["python", "-c"]
        compile(test[2], "healthcheck", "exec")
        assert "/watch/answers.json" in test[2]


def test_the_pod_has_no_more_rights_than_it_needs(pod: Document, container: Document) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    assert "memory" in container["resources"]["limits"]


def test_it_reaches_the_service_and_nobody_reaches_it(
    manifests: dict[str, Document], policies: dict[str, Document]
) -> None:
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    own = manifests["NetworkPolicy"]["spec"]
    assert own["podSelector"]["matchLabels"].items() <= labels.items()
    assert own["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in own
    (rule,) = policies["fulcrum"]["ingress"]
    callers = next(
        source["podSelector"]["matchLabels"] for source in rule["from"] if source["namespaceSelector"] == {}
    )
    assert callers.items() <= labels.items()
    to_service = next(rule for rule in own["egress"] if "to" in rule)
    assert to_service["to"] == [{"podSelector": policies["fulcrum"]["podSelector"]}]
    assert to_service["ports"] == rule["ports"]


def test_its_image_is_the_one_of_training(root: Path, container: Document, project: Document) -> None:
    kustomization = yaml.safe_load((root / "deploy/kubernetes/watch/kustomization.yaml").read_text())
    assert kustomization["images"] == [{"name": container["image"], "newTag": project["version"]}]
    assert kustomization["resources"] == ["watch.yaml"]


def test_its_secrets_are_told_of(root: Path, container: Document) -> None:
    how = (root / "deploy/kubernetes/secret.yaml").read_text()
    for entry in container["env"]:
        assert entry["valueFrom"]["secretKeyRef"]["key"] in how
