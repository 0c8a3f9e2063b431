"""deploy/kubernetes: that the manifests fit each other, the image and the service."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

Document = dict[str, Any]
PODS = ["Deployment", "Job", "StatefulSet"]


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "deploy" / "kubernetes"


@pytest.fixture(scope="module")
def kustomization(folder: Path) -> Document:
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


@pytest.fixture(scope="module")
def manifests(folder: Path) -> dict[str, Document]:
    """By kind; Redis's, which one may do without, among them where its kind is no other's."""
    documents = [
        document
        for path in [*sorted(folder.glob("redis/redis.yaml")), *sorted(folder.glob("*.yaml"))]
        for document in yaml.safe_load_all(path.read_text())
        if document.get("kind") not in {None, "Kustomization"}
    ]
    return {document["kind"]: document for document in documents if "metadata" in document}


def pod(manifest: Document) -> Document:
    return manifest["spec"]["template"]["spec"]


def container(manifest: Document) -> Document:
    (only,) = pod(manifest)["containers"]
    return only


@pytest.fixture(scope="module")
def fusion(folder: Path) -> Document:
    """The kustomization of the fusion config, which lies beside the manifests."""
    return yaml.safe_load((folder / "../fusion/kustomization.yaml").read_text())


def literals(kustomization: Document, name: str) -> dict[str, str]:
    (found,) = [entry for entry in kustomization["configMapGenerator"] if entry["name"] == name]
    return dict(literal.split("=", 1) for literal in found["literals"])


def test_every_file_is_applied(folder: Path, kustomization: Document) -> None:
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert {*files, "../fusion"} == set(kustomization["resources"])


@pytest.mark.slow
@pytest.mark.parametrize("part", [".", "redis"])
def test_kustomize_builds_it(folder: Path, part: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    done = subprocess.run(["kubectl", "kustomize", str(folder / part)], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    assert all(
        document["metadata"]["namespace"] == "fulcrum"
        for document in yaml.safe_load_all(done.stdout)
        if document["kind"] != "Namespace"
    )


def test_the_kinds_and_their_versions(manifests: dict[str, Document]) -> None:
    assert {kind: manifest["apiVersion"] for kind, manifest in manifests.items()} == {
        "Namespace": "v1",
        "PersistentVolumeClaim": "v1",
        "Secret": "v1",
        "Service": "v1",
        "Job": "batch/v1",
        "Deployment": "apps/v1",
        "StatefulSet": "apps/v1",
        "HorizontalPodAutoscaler": "autoscaling/v2",
        "PodDisruptionBudget": "policy/v1",
        "NetworkPolicy": "networking.k8s.io/v1",
    }


def test_images_bear_the_projects_version(
    kustomization: Document, manifests: dict[str, Document], project: Document, compose: Document
) -> None:
    tags = {image["name"]: image["newTag"] for image in kustomization["images"]}
    assert tags == dict.fromkeys(("fulcrum-service", "fulcrum-training"), project["version"])
    assert container(manifests["Deployment"])["image"] == "fulcrum-service"
    assert container(manifests["Job"])["image"] == "fulcrum-training"
    assert container(manifests["StatefulSet"])["image"] == compose["services"]["redis"]["image"]


@pytest.mark.parametrize("kind", PODS)
def test_pods_have_no_more_rights_than_they_need(manifests: dict[str, Document], kind: str) -> None:
    spec, only = pod(manifests[kind]), container(manifests[kind])
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_pods_run_as_the_image_does(manifests: dict[str, Document], root: Path, kind: str) -> None:
    context = pod(manifests[kind])["securityContext"]
    user = f"USER {context['runAsUser']}:{context['runAsGroup']}"
    for name in ("Dockerfile", "Dockerfile.training"):
        assert user in (root / "deploy" / name).read_text().splitlines()


@pytest.mark.parametrize("kind", PODS)
def test_pods_are_bounded_and_get_no_variables_of_other_services(
    manifests: dict[str, Document], kind: str
) -> None:
    assert pod(manifests[kind])["enableServiceLinks"] is False
    resources = container(manifests[kind])["resources"]
    assert {"cpu", "memory"} <= resources["requests"].keys()
    assert "memory" in resources["limits"]


@pytest.mark.parametrize("kind", PODS)
def test_every_mount_has_its_volume(manifests: dict[str, Document], kind: str) -> None:
    claims = manifests[kind]["spec"].get("volumeClaimTemplates", [])
    volumes = {volume["name"] for volume in pod(manifests[kind])["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in claims}
    assert {mount["name"] for mount in container(manifests[kind])["volumeMounts"]} == volumes
    assert {"name": "tmp", "mountPath": "/tmp"} in container(manifests[kind])["volumeMounts"]


def test_probes_ask_for_paths_that_there_are(manifests: dict[str, Document], routes: set[str]) -> None:
    only = container(manifests["Deployment"])
    asked = {name: only[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {name: get["path"] for name, get in asked.items()} == {
        "startupProbe": "/readyz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/livez",
    }
    assert {get["path"] for get in asked.values()} <= routes
    assert {get["port"] for get in asked.values()} == {port["name"] for port in only["ports"]}


def test_the_port_is_the_images(manifests: dict[str, Document], root: Path) -> None:
    (port,) = container(manifests["Deployment"])["ports"]
    number = port["containerPort"]
    assert f"EXPOSE {number}\n" in (root / "deploy" / "Dockerfile").read_text()
    annotations = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(number)
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert manifests["NetworkPolicy"]["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": number}]


def test_settings_are_the_services_and_enough_to_start_with(
    kustomization: Document, settings: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.settings import load_settings

    given = literals(kustomization, "fulcrum-settings")
    assert set(given) <= settings
    for name in settings:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load_settings().models == Path("/models")


def test_the_service_can_be_told_all_by_variables(manifests: dict[str, Document]) -> None:
    import typer

    import fulcrum

    assert container(manifests["Deployment"])["args"] == ["serve"]
    serve: Any = typer.main.get_command(fulcrum.app).commands["serve"]  # type: ignore[attr-defined]
    assert [parameter.name for parameter in serve.params if parameter.required] == []


def test_configuration_comes_from_maps_and_secrets_that_there_are(
    kustomization: Document, fusion: Document, manifests: dict[str, Document]
) -> None:
    maps = {entry["name"] for each in (kustomization, fusion) for entry in each["configMapGenerator"]}
    for kind in ("Deployment", "Job"):
        for source in container(manifests[kind])["envFrom"]:
            if "configMapRef" in source:
                assert source["configMapRef"]["name"] in maps
            else:
                assert source["secretRef"]["name"] == manifests["Secret"]["metadata"]["name"]
        for volume in pod(manifests[kind])["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert claim == manifests["PersistentVolumeClaim"]["metadata"]["name"]


def test_an_edit_of_the_fusion_config_reaches_running_pods(
    kustomization: Document, fusion: Document, manifests: dict[str, Document]
) -> None:
    (made,) = fusion["configMapGenerator"]
    assert made["options"] == {"disableNameSuffixHash": True}
    path = Path(literals(kustomization, "fulcrum-settings")["FULCRUM_FUSION"])
    (mount,) = [m for m in container(manifests["Deployment"])["volumeMounts"] if m["name"] == "fusion"]
    assert mount == {"name": "fusion", "mountPath": str(path.parent), "readOnly": True}
    assert made["files"] == [path.name]


def test_the_fusion_config_of_deployments_and_of_the_demo_is_one_file(root: Path) -> None:
    copies = [path for part in ("deploy", "examples") for path in (root / part).rglob("fusion*.y*ml")]
    assert {path.resolve() for path in copies} == {root.resolve() / "deploy" / "fusion" / "fusion.yaml"}
    assert 'Path("deploy/fusion/fusion.yaml")' in (root / "examples" / "demo.py").read_text()


def test_the_secret_holds_no_value(manifests: dict[str, Document]) -> None:
    assert not {"data", "stringData"} & manifests["Secret"].keys()


def test_a_pod_stops_after_it_was_forgotten_and_ended_what_it_began(manifests: dict[str, Document]) -> None:
    from service.server import DRAIN_S

    _, pause = container(manifests["Deployment"])["lifecycle"]["preStop"]["exec"]["command"]
    assert pod(manifests["Deployment"])["terminationGracePeriodSeconds"] > int(pause) + DRAIN_S + 10


def test_who_names_the_pods_means_the_deployments(manifests: dict[str, Document]) -> None:
    deployment = manifests["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    for spread in pod(deployment)["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == labels


def test_the_autoscaler_alone_says_how_many_and_leaves_one_to_spare(manifests: dict[str, Document]) -> None:
    deployment, autoscaler = manifests["Deployment"], manifests["HorizontalPodAutoscaler"]["spec"]
    assert "replicas" not in deployment["spec"]
    assert autoscaler["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert 2 <= autoscaler["minReplicas"] < autoscaler["maxReplicas"]
    assert manifests["PodDisruptionBudget"]["spec"]["maxUnavailable"] < autoscaler["minReplicas"]
