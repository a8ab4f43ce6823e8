"""The manifests as Kubernetes' own API server takes them: 1.20, the last that Debian has the source of. It runs none.
GREENR_TEST_APISERVER=build has it built, in 3 minutes of two cores; it is kept outside of the repository."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenr_luigi.about import PACKAGE
from tests.containers.kubectl import BASE, CACHE, EXAMPLE, KUBECTL, SCRIPT, needs_kubectl, text
from tests.containers.kubernetes_rules import Objects, objects
from tests.containers.test_kubernetes import APP, CLAIM, CRON, GONE, POD, RUN, plant
from tests.serving.looking import until

pytestmark = [pytest.mark.slow, pytest.mark.machine, pytest.mark.timeout(1800), needs_kubectl]

#: Where, what stands there instead, and what is said of it.
PLANTED: list[tuple[str, Any, str]] = [
    (f"{APP}.readynessProbe", {}, "unknown field"),
    (f"{POD}.terminationGracePeriodSeconds", "35s", "invalid type"),
    (f"{APP}.securityContext.capabilities.drop", "ALL", "invalid type"),
    ("Deployment/greenr-app spec.selector.matchLabels.tier", "web", "`selector` does not match template `labels`"),
    ("Deployment/greenr-app metadata.name", "Greenr_App", "RFC 1123 subdomain"),
    ("Deployment/greenr-app metadata.labels.x", "a b", "a valid label must"),
    (f"{POD}.volumes.1.emptyDir.sizeLimit", "64 MB", "quantities must match"),
    (f"{POD}.securityContext.fsGroupChangePolicy", "Sometimes", "supported values"),
    (f"{POD}.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution.0.topologyKey", "", "Required value"),
    (f"{APP}.volumeMounts.1.name", "other", "Not found"),
    (f"{APP}.volumeMounts.1.mountPath", "/tmp", "must be unique"),
    (f"{APP}.resources.requests.memory", "8Gi", "must be less than or equal to memory limit"),
    (f"{APP}.readinessProbe.exec", {"command": ["true"]}, "may not specify more than 1 handler type"),
    (f"{APP}.startupProbe.failureThreshold", -1, "must be greater than or equal to 0"),
    (f"{APP}.ports.0.containerPort", 80080, "must be between 1 and 65535"),
    (f"{APP}.securityContext.privileged", True, "cannot set `allowPrivilegeEscalation` to false"),
    (f"{APP}.env.0.name", "RUN DIR", "a valid environment variable name must"),
    (f"{APP}.envFrom.0.configMapRef.name", "", "Required value"),
    (f"{CRON}.schedule", "17 25 * * *", "Invalid value"),
    (f"{CRON}.concurrencyPolicy", "Never", "supported values"),
    (f"{RUN}.restartPolicy", "Always", "valid values"),
    (f"{RUN}.containers.0.env.1.valueFrom.resourceFieldRef.resource", "limits.gpu", "Unsupported value"),
    (f"{CLAIM}.accessModes", ["ReadWriteEverywhere"], "supported values"),
    (f"{CLAIM}.resources.requests.storage", "-1Gi", "must be greater than zero"),
    ("Service/greenr-app spec.ports.0.targetPort", "a_b", "Invalid value"),
    ("Service/greenr-app spec.clusterIP", "one", "must be a valid IP"),
    ("NetworkPolicy/greenr-app spec.egress.1.to.0.ipBlock.cidr", "10.0.0.0/33", "not a valid CIDR"),
    ("NetworkPolicy/greenr-app spec.egress.1.to.0.ipBlock.except.0", "fd00::/8", "must be a strict subset"),
    ("NetworkPolicy/greenr-pipeline spec.policyTypes", ["Outgress"], "supported values"),
    ("ConfigMap/greenr-app data.GREENR_FETCH", 0, "cannot be handled as a ConfigMap"),
    ("ConfigMap/greenr kind", "ConfigMaps", "no matches for kind"),
    ("PersistentVolumeClaim/greenr-data spec", GONE, "Required value"),
]  # fmt: skip


class Cluster:
    """An API server and its store, and no more: what it takes is kept, and nobody does it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, list[subprocess.Popen[bytes]]()
        self.ports = free_ports(3)

    def start(self) -> None:
        store, peers, own = self.ports
        subprocess.run(
            ["openssl", "genrsa", "-out", self.folder / "key", "2048"], check=True, capture_output=True
        )
        (self.folder / "tokens").write_text("secret,admin,1\n")
        etcd = [
            f"--data-dir={self.folder}/etcd",
            "--unsafe-no-fsync",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
        ]
        etcd += [f"--{word}-client-urls=http://127.0.0.1:{store}" for word in ("listen", "advertise")]
        server = [
            f"--etcd-servers=http://127.0.0.1:{store}", "--bind-address=127.0.0.1", f"--secure-port={own}",
            f"--cert-dir={self.folder}/certificates", f"--token-auth-file={self.folder}/tokens",
            "--service-account-issuer=https://greenr.test", f"--service-account-key-file={self.folder}/key",
            f"--service-account-signing-key-file={self.folder}/key", "--authorization-mode=AlwaysAllow",
            "--service-cluster-ip-range=10.0.0.0/24",
        ]  # fmt: skip
        for name, words in (("etcd", etcd), ("kube-apiserver", server)):
            with (self.folder / f"{name}.log").open("wb") as log:
                self.processes.append(subprocess.Popen([CACHE / name, *words], stdout=log, stderr=log))
        until(self.answers, 120)

    def answers(self) -> bool:
        assert all(process.poll() is None for process in self.processes), self.log()
        return self.kubectl("get", "--raw", "/readyz").returncode == 0

    def log(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait(60)

    def kubectl(self, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        server = f"--server=https://127.0.0.1:{self.ports[2]}"
        command = [str(KUBECTL), server, "--insecure-skip-tls-verify", "--token=secret", *words]
        return subprocess.run(command, input=said, capture_output=True, text=True)

    def tried(self, *given: Any) -> subprocess.CompletedProcess[str]:
        # 1.20 knows CronJob only as a beta, of the same fields.
        manifests = yaml.safe_dump_all(given).replace("apiVersion: batch/v1\n", "apiVersion: batch/v1beta1\n")
        return self.kubectl("apply", "--dry-run=server", "-f", "-", said=manifests)


def free_ports(number: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if not (CACHE / "kube-apiserver").exists():
        command = f"sh {SCRIPT.relative_to(PACKAGE.parent)} apiserver"
        if os.environ.get("GREENR_TEST_APISERVER") != "build":
            pytest.skip(
                f"there is no kube-apiserver: `{command}`, or GREENR_TEST_APISERVER=build, makes it in some minutes"
            )
        made = subprocess.run(
            command.split(), cwd=PACKAGE.parent, capture_output=True, text=True, timeout=1500
        )
        if made.returncode:
            pytest.skip(f"kube-apiserver cannot be built here: {made.stderr[-1000:]}")
    started = Cluster(tmp_path)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def test_it_takes_what_we_give_and_finds_each_planted_fault(cluster: Cluster) -> None:
    found: Objects = objects(text(EXAMPLE))
    assert cluster.kubectl("create", "namespace", "greenr").returncode == 0
    for manifests in (objects(text(BASE)), found):
        taken = cluster.tried(*manifests.values())
        assert taken.returncode == 0 and taken.stdout.count("(server dry run)") == len(manifests), (
            taken.stderr
        )
    missed = {}
    for where, value, said in PLANTED:
        planted = plant(found, where, value)
        answer = cluster.tried(planted[where.split(" ")[0]])
        if answer.returncode == 0 or said not in answer.stderr:
            missed[where] = answer.stderr or answer.stdout
    assert not missed, "\n".join(f"{where}: {answer}" for where, answer in missed.items())
