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
    """By kind, policies apart; Redis's, which one may do without, where its kind is no other's."""
    return {each["kind"]: each for each in documents(folder) if each["kind"] != "NetworkPolicy"}


@pytest.fixture(scope="module")
def policies(folder: Path) -> dict[str, Document]:
    """The network's, by name."""
    found = [each for each in documents(folder) if each["kind"] == "NetworkPolicy"]
    assert {each["apiVersion"] for each in found} == {"networking.k8s.io/v1"}
    return {each["metadata"]["name"]: each["spec"] for each in found}


def documents(folder: Path) -> list[Document]:
    return [
        document
        for path in [*sorted(folder.glob("redis/redis.yaml")), *sorted(folder.glob("*.yaml"))]
        for document in yaml.safe_load_all(path.read_text())
        if document.get("kind") not in {None, "Kustomization"} and "metadata" in document
    ]


def labels(manifest: Document) -> dict[str, str]:
    """Of its pods."""
    return manifest["spec"]["template"]["metadata"]["labels"]


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a selector means pods with these labels."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    assert all(rule["operator"] == "In" for rule in selector.get("matchExpressions", []))
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", [])
    )


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
@pytest.mark.parametrize("part", [".", "redis", "watch"])
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


def test_the_port_is_the_images(
    manifests: dict[str, Document], policies: dict[str, Document], root: Path
) -> None:
    (port,) = container(manifests["Deployment"])["ports"]
    number = port["containerPort"]
    assert f"EXPOSE {number}\n" in (root / "deploy" / "Dockerfile").read_text()
    annotations = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(number)
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    (rule,) = policies["fulcrum"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": number}]


def test_settings_are_the_services_and_enough_to_start_with(
    kustomization: Document,
    manifests: dict[str, Document],
    settings: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from service.settings import load_settings

    given = literals(kustomization, "fulcrum-settings")
    assert set(given) <= settings
    for name in settings:
        monkeypatch.delenv(name, raising=False)
    secrets = {entry["name"]: "redis://redis:6379/0" for entry in container(manifests["Deployment"])["env"]}
    for name, value in {**given, **secrets}.items():
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


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("Deployment", {"FULCRUM_FEATURES", "FULCRUM_CONTROL"}),
        ("Job", {"FULCRUM_FEATURES"}),
        ("StatefulSet", {"REDIS_PASSWORD"}),
    ],
)
def test_no_pod_starts_without_the_password_of_redis(
    folder: Path, kustomization: Document, manifests: dict[str, Document], kind: str, keys: set[str]
) -> None:
    refs = [entry["valueFrom"]["secretKeyRef"] for entry in container(manifests[kind])["env"]]
    assert {ref["key"] for ref in refs} == keys
    assert all(ref["name"] == manifests["Secret"]["metadata"]["name"] for ref in refs)
    assert not any(ref.get("optional") for ref in refs)
    assert not [value for value in literals(kustomization, "fulcrum-settings").values() if "://" in value]
    how = "".join(line for line in (folder / "secret.yaml").read_text().splitlines(True) if line[0] == "#")
    assert all(f'\\"{key}\\"' in how for key in keys)  # the command that puts it there


def test_redis_asks_everybody_for_its_password_its_own_probe_too(manifests: dict[str, Document]) -> None:
    only = container(manifests["StatefulSet"])
    assert only["args"][-2:] == ["--requirepass", "$(REDIS_PASSWORD)"]
    assert {"REDIS_PASSWORD", "REDISCLI_AUTH"} == {entry["name"] for entry in only["env"]}


def test_only_the_service_and_those_who_publish_reach_redis(
    manifests: dict[str, Document], policies: dict[str, Document]
) -> None:
    redis = policies["redis"]
    assert selects(redis["podSelector"], labels(manifests["StatefulSet"]))
    assert redis["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in redis
    (rule,) = redis["ingress"]
    (source,) = rule["from"]
    assert source.keys() == {"podSelector"}  # of this namespace
    assert selects(source["podSelector"], labels(manifests["Deployment"]))
    assert selects(source["podSelector"], labels(manifests["Job"]))
    assert not selects(source["podSelector"], {"app.kubernetes.io/name": "another"})
    assert rule["ports"] == [{"protocol": "TCP", "port": 6379}]


def test_who_reaches_redis_may_go_there(
    manifests: dict[str, Document], policies: dict[str, Document]
) -> None:
    for kind in ("Deployment", "Job"):
        mine = [
            policy for policy in policies.values() if selects(policy["podSelector"], labels(manifests[kind]))
        ]
        ports = [port for policy in mine for rule in policy.get("egress", []) for port in rule["ports"]]
        assert {"protocol": "TCP", "port": 6379} in ports
        assert {"protocol": "UDP", "port": 53} in ports


def test_nobody_reaches_a_pod_whom_no_policy_names(policies: dict[str, Document]) -> None:
    assert policies["nobody-else"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for policy in policies.values():
        assert "Ingress" in policy["policyTypes"]
        for rule in policy.get("ingress", []):
            assert rule["ports"]
            assert rule["from"]
            assert all(any(source["podSelector"].values()) for source in rule["from"])


def test_images_have_a_place_for_a_digest(
    folder: Path, kustomization: Document, manifests: dict[str, Document]
) -> None:
    redis = yaml.safe_load((folder / "redis/kustomization.yaml").read_text())["images"]
    pinned = {image["name"]: image["newTag"] for image in (*kustomization["images"], *redis)}
    used = [container(manifests[kind])["image"].partition(":") for kind in PODS]
    assert pinned.keys() == {name for name, _, _ in used}
    assert all(tag in ("", pinned[name]) for name, _, tag in used)
    assert "digest: sha256:" in (folder / "kustomization.yaml").read_text()


def test_a_pod_stops_after_it_was_forgotten_and_ended_what_it_began(manifests: dict[str, Document]) -> None:
    from service.server import DRAIN_S

    _, pause = container(manifests["Deployment"])["lifecycle"]["preStop"]["exec"]["command"]
    assert pod(manifests["Deployment"])["terminationGracePeriodSeconds"] > int(pause) + DRAIN_S + 10


def test_who_names_the_pods_means_the_deployments(
    manifests: dict[str, Document], policies: dict[str, Document]
) -> None:
    deployment = manifests["Deployment"]
    own = labels(deployment)
    assert deployment["spec"]["selector"]["matchLabels"] == own
    assert manifests["Service"]["spec"]["selector"] == own
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == own
    assert policies["fulcrum"]["podSelector"]["matchLabels"] == own
    for spread in pod(deployment)["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == own


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
