"""deploy/kubernetes: what kustomize makes of it is valid, and agrees with itself and with the images."""

from __future__ import annotations

import configparser
import functools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenr_luigi.about import PACKAGE

KUBERNETES = PACKAGE.parent / "deploy/kubernetes"
FOLDERS = ["base", "overlays/example"]
needs_kustomize = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="needs kubectl 1.21 or newer, for its `kustomize`"
)


@functools.cache
def text(folder: str) -> str:
    command = ["kubectl", "kustomize", str(KUBERNETES / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def rendered(folder: str) -> dict[tuple[str, str], dict[str, Any]]:
    """By kind and name."""
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text(folder))}


def pods(folder: str) -> dict[str, dict[str, Any]]:
    found = rendered(folder)
    job = found["CronJob", "greenr-pipeline"]["spec"]["jobTemplate"]["spec"]
    return {"app": found["Deployment", "greenr-app"]["spec"]["template"], "pipeline": job["template"]}


def validated(manifests: str, place: Path) -> subprocess.CompletedProcess[str]:
    (place / "all.yaml").write_text(manifests)
    program = Path(sys.executable).with_name("kubernetes-validate")
    return subprocess.run(
        [program, "--strict", place / "all.yaml"], capture_output=True, text=True, timeout=60
    )


@needs_kustomize
@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_schemas_find_nothing_and_find_a_planted_fault(folder: str, tmp_path: Path) -> None:
    found = validated(text(folder), tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    for right, wrong in (
        ("readinessProbe:", "readynessProbe:"),
        ("schedule:", "scheduled:"),
        ("port: 8008", "port: x y"),
    ):
        assert right in text(folder)
        assert validated(text(folder).replace(right, wrong), tmp_path).returncode != 0, wrong


@needs_kustomize
@pytest.mark.parametrize("folder", FOLDERS)
def test_each_pod_is_closed_bounded_and_may_be_stopped(folder: str) -> None:
    for name, template in pods(folder).items():
        pod = template["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        closed = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["securityContext"] == closed
        assert (
            set(container["resources"]["limits"])
            == set(container["resources"]["requests"])
            == {"cpu", "memory"}
        )
        assert pod["terminationGracePeriodSeconds"] > 25, name
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    (data,) = [m for m in pods(folder)["app"]["spec"]["containers"][0]["volumeMounts"] if m["name"] == "data"]
    assert data == {"name": "data", "mountPath": "/data", "readOnly": True}


@needs_kustomize
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_parts_find_each_other(folder: str) -> None:
    found, templates = rendered(folder), pods(folder)
    service, app = found["Service", "greenr"], templates["app"]["spec"]["containers"][0]
    for selector in (
        service["spec"]["selector"],
        found["Deployment", "greenr-app"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= templates["app"]["metadata"]["labels"].items()
        assert not selector.items() <= templates["pipeline"]["metadata"]["labels"].items()
    for name, template in templates.items():
        policy = found["NetworkPolicy", f"greenr-{name}"]["spec"]
        assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        claims = [volume["persistentVolumeClaim"]["claimName"] for volume in template["spec"]["volumes"]
                  if "persistentVolumeClaim" in volume]  # fmt: skip
        assert [("PersistentVolumeClaim", claim) in found for claim in claims] == [True]
    (port,) = service["spec"]["ports"]
    assert [one["name"] for one in app["ports"]] == [port["targetPort"]] == ["http"]
    assert {app[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")} == {
        "/healthz",
        "/readyz",
    }
    # DeployApp asks the service, by a name that the page knows.
    (settings,) = [
        one for kind, one in ((kind, one) for (kind, _), one in found.items()) if kind == "ConfigMap"
    ]
    luigi = configparser.ConfigParser()
    luigi.read_string(settings["data"]["luigi.cfg"])
    assert luigi["DeployApp"]["served_at"] == f"http://{service['metadata']['name']}:{port['port']}"
    assert {"name": "GREENR_ALLOWED_HOSTS", "value": service["metadata"]["name"]} in app["env"]
    volumes = templates["pipeline"]["spec"]["volumes"]
    assert {"name": settings["metadata"]["name"]} in [volume.get("configMap") for volume in volumes]


@needs_kustomize
def test_an_overlay_names_its_images_namespace_and_disk() -> None:
    found = rendered("overlays/example")
    assert {one["metadata"].get("namespace") for (kind, _), one in found.items() if kind != "Namespace"} == {
        "greenr"
    }
    images = [template["spec"]["containers"][0]["image"] for template in pods("overlays/example").values()]
    assert images == [f"registry.example.org/greenr-{name}:0.2.0" for name in ("serve", "pipeline")]
    claim = found["PersistentVolumeClaim", "greenr-data"]["spec"]
    assert claim["resources"]["requests"]["storage"] == "50Gi"
