"""deploy/kubernetes: what kustomize makes of it is valid, keeps our rules, and agrees with itself."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.kubectl import BASE, EXAMPLE, KUBERNETES, needs_kubectl, text
from tests.containers.kubernetes_network import Objects
from tests.containers.kubernetes_rules import faults, objects

pytestmark = needs_kubectl

POD, CRON = "Deployment/greenr-app spec.template.spec", "CronJob/greenr-pipeline spec"
RUN = f"{CRON}.jobTemplate.spec.template.spec"
APP, CLAIM = f"{POD}.containers.0", "PersistentVolumeClaim/greenr-data spec"
EGRESS = "NetworkPolicy/greenr-{}"
GONE: Any = None

#: Where, what stands there instead (GONE: nothing), and what is said of it.
PLANTED: list[tuple[str, Any, str]] = [
    # The Pod Security Standard.
    (f"{POD}.hostNetwork", True, "hostNetwork"),
    (f"{RUN}.hostPID", True, "hostPID"),
    (f"{RUN}.hostIPC", True, "hostIPC"),
    (f"{POD}.securityContext.sysctls", [{"name": "net.core.somaxconn", "value": "9"}], "sysctls"),
    (f"{POD}.volumes.0", {"name": "data", "hostPath": {"path": "/"}}, "a volume of hostPath"),
    (f"{RUN}.volumes.2", {"name": "tmp", "nfs": {"server": "x", "path": "/"}}, "a volume of nfs"),
    (f"{APP}.securityContext.privileged", True, "may gain privileges"),
    (f"{RUN}.containers.0.securityContext.allowPrivilegeEscalation", GONE, "may gain privileges"),
    (f"{APP}.securityContext.capabilities.drop", ["NET_RAW"], "has capabilities"),
    (f"{RUN}.containers.0.securityContext.capabilities.add", ["SYS_ADMIN"], "has capabilities"),
    (f"{POD}.securityContext.runAsNonRoot", GONE, "may be root"),
    (f"{APP}.securityContext.runAsUser", 0, "may be root"),
    (f"{RUN}.initContainers", [{"name": "i", "image": "i"}], "may gain privileges"),
    (f"{POD}.securityContext.seccompProfile.type", "Unconfined", "no seccomp profile"),
    (f"{APP}.securityContext.procMount", "Unmasked", "a profile of its own"),
    (f"{APP}.ports.0.hostPort", 80, "a port of the host"),
    (f"{APP}.securityContext.readOnlyRootFilesystem", False, "writes its own disk"),
    (f"{RUN}.automountServiceAccountToken", True, "has the key"),
    (f"{POD}.securityContext.runAsGroup", 0, "is of another group"),
    (f"{RUN}.securityContext.supplementalGroups", [0], "is of another group"),
    (f"{APP}.livenessProbe.httpGet.host", "10.0.0.1", "a probe asks another host"),
    (f"{APP}.lifecycle.postStart", {"httpGet": {"host": "10.0.0.1", "port": 80}}, "a probe asks another host"),
    # Resources, time, disks.
    (f"{APP}.resources.limits.memory", GONE, "no limits of memory"),
    (f"{RUN}.containers.0.resources.requests", GONE, "no requests of cpu"),
    (f"{POD}.volumes.1.emptyDir", {"medium": "Memory"}, "run without limit"),
    (f"{POD}.terminationGracePeriodSeconds", 29, "is killed before it has ended"),
    (f"{RUN}.terminationGracePeriodSeconds", 20, "is killed before it has ended"),
    (f"{APP}.volumeMounts.1.name", "tmp", "volumes and mounts differ"),
    (f"{RUN}.containers.0.volumeMounts.2.mountPath", "/temp", "no place"),
    (f"{RUN}.volumes.0.persistentVolumeClaim.claimName", "data", "no claim data"),
    (f"{RUN}.volumes.1.configMap.name", "greenr", "no ConfigMap greenr"),
    (f"{APP}.envFrom.0.configMapRef.name", "settings", "no ConfigMap settings"),
    (f"{RUN}.containers.0.envFrom.0.secretRef.optional", GONE, "waits for the Secret"),
    (f"{POD}.securityContext.fsGroup", GONE, "volumes are root's"),
    (f"{RUN}.securityContext.fsGroupChangePolicy", "Always", "all files change their mode"),
    (f"{RUN}.affinity", GONE, "pipeline: may be on another node"),
    (f"{POD}.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution.0.topologyKey", "zone", "app: may be"),
    (f"{CLAIM}.accessModes", ["ReadWriteMany"], "is bound to a node"),
    (f"{APP}.resources.limits.memory", "512Mi", "too little memory"),
    (f"{RUN}.containers.0.resources.limits.memory", "2Gi", "too little memory"),
    (f"{APP}.resources.requests.memory", "4Gi", "asks for more memory"),
    (f"{POD}.volumes.2.emptyDir.sizeLimit", "2Gi", "too little memory"),
    (f"{RUN}.containers.0.volumeMounts.0.readOnly", True, "cannot write the data"),
    (f"{RUN}.volumes.0.persistentVolumeClaim.readOnly", True, "may not be written"),
    (f"{RUN}.containers.0.volumeMounts.1.mountPath", "/etc/other", "luigi.cfg lies elsewhere"),
    (f"{RUN}.containers.0.volumeMounts.1.subPath", "luigi.cfg", "a change never reaches"),
    (f"{CLAIM}.accessModes", ["ReadWriteOncePod"], "only one pod can mount"),
    (f"{CLAIM}.accessModes", ["ReadOnlyMany"], "none can write it"),
    (f"{CLAIM}.volumeMode", "Block", "no volume for files"),
    (f"{CLAIM}.resources.requests.storage", "20Mi", "too small a one"),
    (f"{POD}.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution.0.namespaces", ["x"], "app: may be"),
    # Who finds whom.
    ("Service/greenr spec.type", "LoadBalancer", "open to the world"),
    ("Service/greenr-app spec.type", "NodePort", "open to the world"),
    ("Service/greenr spec.externalIPs", ["192.0.2.1"], "open to the world"),
    ("Service/greenr spec.selector", {"app.kubernetes.io/component": "app"}, "may select pods of others"),
    ("Service/greenr-app spec.selector", {"app.kubernetes.io/name": "greenr"}, "selects other pods"),
    ("Deployment/greenr-app spec.selector.matchLabels.tier", "web", "selects other pods"),
    ("Service/greenr spec.ports.0.targetPort", "web", "no port web"),
    (f"{APP}.ports.0.containerPort", 8080, "no port http"),
    ("Service/greenr-app spec.publishNotReadyAddresses", GONE, "does not lead to a page that is not ready"),
    ("Service/greenr spec.publishNotReadyAddresses", True, "visitors are sent"),
    ("ConfigMap/greenr-app data.GREENR_ALLOWED_HOSTS", "example.org", "does not go by the name greenr-app"),
    (f"{APP}.env.0.value", "/run/greenr", "no folder of its own"),
    ("ConfigMap/greenr data", {"luigi.cfg": "[DownloadImages]\nroot=/d\n[DeployApp]\nserved_at=http://greenr-app:8008"},
     "other data"),
    (f"{RUN}.containers.0.env.0.value", "/etc/luigi.cfg", "reads no luigi.cfg"),
    (f"{RUN}.containers.0.env.1", {"name": "X", "value": "1"}, "a thread for each core"),
    # Probes.
    (f"{APP}.livenessProbe.httpGet.path", "/readyz", "livenessProbe does not ask"),
    (f"{APP}.readinessProbe.httpGet.path", "/healthz", "readinessProbe does not ask"),
    (f"{APP}.startupProbe", GONE, "startupProbe does not ask"),
    (f"{APP}.readinessProbe.httpGet.port", "web", "readinessProbe does not ask"),
    (f"{APP}.lifecycle", GONE, "visitors are still sent"),
    (f"{APP}.lifecycle.preStop.exec.command", ["sleep", "0"], "visitors are still sent"),
    (f"{APP}.startupProbe.failureThreshold", 3, "killed while it starts"),
    (f"{APP}.livenessProbe.failureThreshold", 1, "killed while it has much to do"),
    (f"{APP}.livenessProbe.timeoutSeconds", GONE, "killed while it has much to do"),
    (f"{APP}.args.3", "--host=127.0.0.1", "listens elsewhere"),
    (f"{APP}.args.4", "--port=8080", "listens elsewhere"),
    ("Deployment/greenr-app spec.strategy", {"type": "Recreate"}, "a rollout ends the page"),
    ("Deployment/greenr-app spec.strategy", {"rollingUpdate": {"maxUnavailable": 1}}, "a rollout ends the page"),
    ("Deployment/greenr-app spec.replicas", 0, "not one page"),
    # Once a day, by one.
    (f"{CRON}.concurrencyPolicy", "Allow", "two runs at a time"),
    (f"{CRON}.jobTemplate.spec.backoffLimit", GONE, "tried again by two"),
    (f"{RUN}.restartPolicy", "OnFailure", "tried again by two"),
    (f"{CRON}.jobTemplate.spec.activeDeadlineSeconds", GONE, "hangs"),
    (f"{CRON}.jobTemplate.spec.activeDeadlineSeconds", 864000, "hangs"),
    (f"{CRON}.jobTemplate.spec.activeDeadlineSeconds", 600, "a long run is ended"),
    (f"{RUN}.activeDeadlineSeconds", 600, "a long run is ended"),
    (f"{CRON}.jobTemplate.spec.parallelism", 2, "two runs at a time"),
    (f"{CRON}.jobTemplate.spec.completions", 2, "two runs at a time"),
    (f"{CRON}.suspend", True, "no run each night"),
    (f"{CRON}.schedule", "17 33 * * *", "no run each night"),
    (f"{CRON}.schedule", "17 3 31 2 *", "no run each night"),
    (f"{RUN}.containers.0.args", ["greenr", "status"], "something else"),
    (f"{APP}.volumeMounts.0.readOnly", False, "may write the data"),
    # The network.
    ("NetworkPolicy/greenr-app spec.podSelector.matchLabels.x", "y", "app: no policy"),
    ("NetworkPolicy/greenr-pipeline spec.policyTypes", ["Ingress"], "one direction"),
    ("NetworkPolicy/greenr-pipeline spec.ingress", [{}], "pipeline: asked at"),
    ("NetworkPolicy/greenr-app spec.ingress.0", {}, "app: asked at"),
    ("NetworkPolicy/greenr-app spec.ingress.0.from", [{"podSelector": {}}], "not asked by all who may"),
    ("NetworkPolicy/greenr-app spec.ingress.0.ports.0.endPort", 65535, "a range of ports"),
    ("NetworkPolicy/greenr-app spec.egress.1.ports.0.endPort", 65535, "a range of ports"),
    ("NetworkPolicy/greenr-app spec.egress.1.to.0", {"namespaceSelector": {}}, "reaches pods of others"),
    ("NetworkPolicy/greenr-pipeline spec.egress.1.to.0", {"podSelector": {}}, "reaches pods of others"),
    ("NetworkPolicy/greenr-pipeline spec.egress.1.to.0.namespaceSelector", {}, "reaches pods of others"),
    ("NetworkPolicy/greenr-app spec.egress.0.ports.0", {"port": 53}, "no DNS"),
    ("NetworkPolicy/greenr-pipeline spec.egress.1.ports.0.port", 80, "does not reach the page"),
    ("NetworkPolicy/greenr-pipeline spec.egress.2.ports.1.port", 8443, "no pictures"),
    ("NetworkPolicy/greenr-pipeline spec.egress.2.ports.2.port", 25, "no mail"),
    ("NetworkPolicy/greenr-pipeline spec.egress.2.to", GONE, "reaches anybody"),
    ("NetworkPolicy/greenr-app spec.egress.1.to.0.ipBlock.except.2", "192.0.2.0/24", "reaches 169.254.169.254"),
    ("NetworkPolicy/greenr-app spec.egress.1.to.1.ipBlock.except", GONE, "reaches fd00::1"),
]  # fmt: skip


def test_a_policy_more_is_found() -> None:
    # Policies add up.
    found = objects(text(BASE))
    more = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    found["NetworkPolicy/open"] = {"kind": "NetworkPolicy", "metadata": {"name": "open"}, "spec": more}
    assert "NetworkPolicy/open opens more" in faults(found)


def plant(found: Objects, where: str, value: object) -> Objects:
    name, path = where.split(" ")
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    changed = copy.deepcopy(found)
    at: Any = changed[name]
    for step in steps:
        at = at[step]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return changed


def several_nodes(folder: Path) -> Path:
    given = {"resources": [BASE], "components": [KUBERNETES / "components/several-nodes"]}
    lines = {kind: [os.path.relpath(path, folder) for path in paths] for kind, paths in given.items()}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(lines))
    return folder


def validated(manifests: str, place: Path) -> subprocess.CompletedProcess[str]:
    (place / "all.yaml").write_text(manifests)
    program = Path(sys.executable).with_name("kubernetes-validate")
    return subprocess.run([program, "--strict", place / "all.yaml"], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=["base", "example"])
def test_the_schemas_find_nothing_and_find_a_planted_fault(folder: Path, tmp_path: Path) -> None:
    found = validated(text(folder), tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    for right, wrong in (
        ("readinessProbe:", "readynessProbe:"),
        ("schedule:", "scheduled:"),
        ("port: 8008", "port: x y"),
    ):
        assert right in text(folder)
        assert validated(text(folder).replace(right, wrong), tmp_path).returncode != 0, wrong


def test_our_rules_are_kept(tmp_path: Path) -> None:
    for folder in (BASE, EXAMPLE, several_nodes(tmp_path)):
        assert faults(objects(text(folder))) == []
    shared = objects(text(tmp_path))["PersistentVolumeClaim/greenr-data"]
    assert shared["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize(
    ("where", "value", "said"), PLANTED, ids=[f"{where}-{n}" for n, (where, *_) in enumerate(PLANTED)]
)
def test_a_planted_fault_is_found(where: str, value: object, said: str) -> None:
    found = faults(plant(objects(text(BASE)), where, value))
    assert any(said in fault for fault in found), found


def test_an_overlay_names_its_images_namespace_and_disk() -> None:
    found = objects(text(EXAMPLE))
    inside = {one["metadata"].get("namespace") for one in found.values() if one["kind"] != "Namespace"}
    assert inside == {"greenr"}
    labels = found["Namespace/greenr"]["metadata"]["labels"]
    assert labels == {f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "warn")}
    assert [line.split()[-1] for line in text(EXAMPLE).splitlines() if " image: " in line] == [
        f"registry.example.org/greenr-{name}:0.2.0" for name in ("serve", "pipeline")
    ]
    claim = found["PersistentVolumeClaim/greenr-data"]["spec"]
    assert claim["resources"]["requests"]["storage"] == "50Gi"
