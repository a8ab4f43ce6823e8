"""What Kubernetes does not say, or not before it is too late: rules that the manifests keep."""

from __future__ import annotations

import configparser
import ipaddress
from collections.abc import Iterator
from typing import Any

import yaml

from greenr_luigi.serving import elsewhere
from greenr_luigi.web.settings import from_environment

#: The Pod Security Standard "restricted", as of 1.37.
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
OF_THE_HOST = ("hostNetwork", "hostPID", "hostIPC")
#: Addresses that are nobody's on the web, and those of a cloud's own machines.
INSIDE = ["10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.1.1", "169.254.169.254", "fd00::1", "fe80::1"]
#: The user of the images.
USER = 10001
#: Seconds that gunicorn takes at most to end.
GRACE = 25

Object = dict[str, Any]
Objects = dict[str, Object]


def objects(manifests: str) -> Objects:
    """By kind and name, without the digest of a generated one."""
    found = {}
    for one in yaml.safe_load_all(manifests):
        name = one["metadata"]["name"]
        found[f"{one['kind']}/{name.rpartition('-')[0] if one['kind'] == 'ConfigMap' else name}"] = one
    return found


def templates(found: Objects) -> dict[str, Object]:
    job = found["CronJob/greenr-pipeline"]["spec"]["jobTemplate"]["spec"]
    return {"app": found["Deployment/greenr-app"]["spec"]["template"], "pipeline": job["template"]}


def faults(found: Objects) -> list[str]:
    """What is wrong, in words."""
    return [
        *(f"{name}: {fault}" for name, template in templates(found).items()
          for check in (_restricted, _bounded, _mounted, _placed) for fault in check(template["spec"], found)),
        *_found(found), *_probed(found), *_allowed(found), *_settings(found), *_once(found),
    ]  # fmt: skip


def _restricted(pod: Object, _: Objects) -> Iterator[str]:
    whole = pod.get("securityContext", {})
    yield from (name for name in OF_THE_HOST if pod.get(name))
    if "sysctls" in whole:
        yield "sysctls"
    for volume in pod.get("volumes", ()):
        yield from (f"a volume of {kind}" for kind in volume.keys() - {"name"} - VOLUMES)
    for container in (
        *pod["containers"],
        *pod.get("initContainers", ()),
        *pod.get("ephemeralContainers", ()),
    ):
        own = container.get("securityContext", {})
        here = {**whole, **own}
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            yield "may gain privileges"
        capabilities = own.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
            yield "has capabilities"
        if here.get("runAsNonRoot") is not True or here.get("runAsUser") != USER:
            yield "may be root, or not the user of the image"
        if here.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield "no seccomp profile"
        if {"seLinuxOptions", "appArmorProfile", "procMount"} & here.keys():
            yield "a profile of its own"
        if any("hostPort" in port for port in container.get("ports", ())):
            yield "a port of the host"
        # Not asked for by the standard.
        if own.get("readOnlyRootFilesystem") is not True:
            yield "writes its own disk"
    if pod.get("automountServiceAccountToken") is not False:
        yield "has the key of a service account"


def _bounded(pod: Object, _: Objects) -> Iterator[str]:
    for container in pod["containers"]:
        for part in ("limits", "requests"):
            given = container.get("resources", {}).get(part, {})
            yield from (f"no {part} of {name}" for name in ("cpu", "memory") if name not in given)
        wait = (
            container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        )
        if pod.get("terminationGracePeriodSeconds", 30) < GRACE + int(wait[1]):
            yield "is killed before it has ended"
    for volume in pod["volumes"]:
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"{volume['name']} without limit"


def _mounted(pod: Object, found: Objects) -> Iterator[str]:
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", ())}
    if {mount["name"] for mount in mounts.values()} != {volume["name"] for volume in pod["volumes"]}:
        yield "volumes and mounts differ"
    if "/tmp" not in mounts or "/data" not in mounts:
        yield "no place for data, or for what is in passing"
    for volume in pod["volumes"]:
        claim, settings = volume.get("persistentVolumeClaim"), volume.get("configMap")
        if claim and f"PersistentVolumeClaim/{claim['claimName']}" not in found:
            yield f"no claim {claim['claimName']}"
        if settings and settings["name"] not in _names(found, "ConfigMap"):
            yield f"no ConfigMap {settings['name']}"
    for source in container.get("envFrom", ()):
        if (reference := source.get("configMapRef")) and reference["name"] not in _names(found, "ConfigMap"):
            yield f"no ConfigMap {reference['name']}"
        if (reference := source.get("secretRef")) and not reference.get("optional"):
            yield f"waits for the Secret {reference['name']}"
    # A volume without the group is root's alone; with the other policy each start gives each picture to it.
    if pod["securityContext"].get("fsGroup") != USER:
        yield "volumes are root's"
    if pod["securityContext"].get("fsGroupChangePolicy") != "OnRootMismatch":
        yield "all files change their mode at each start"


def _placed(pod: Object, found: Objects) -> Iterator[str]:
    """A volume of one node keeps all pods that mount it on that node."""
    shared = found["PersistentVolumeClaim/greenr-data"]["spec"]["accessModes"] == ["ReadWriteMany"]
    terms = (
        pod.get("affinity", {})
        .get("podAffinity", {})
        .get("requiredDuringSchedulingIgnoredDuringExecution", ())
    )
    together = any(
        term["topologyKey"] == "kubernetes.io/hostname"
        and all(_selects(term["labelSelector"]["matchLabels"], one) for one in templates(found).values())
        for term in terms
    )
    if together == shared:
        yield (
            "is bound to a node although others can mount the volume" if shared else "may be on another node"
        )


def _found(found: Objects) -> Iterator[str]:
    app, pipeline = templates(found)["app"], templates(found)["pipeline"]
    ports = {port["name"]: port["containerPort"] for port in app["spec"]["containers"][0].get("ports", ())}
    for name, selector in (
        *((name, one["spec"]["selector"]) for name, one in found.items() if name.startswith("Service/")),
        ("Deployment", found["Deployment/greenr-app"]["spec"]["selector"]["matchLabels"]),
    ):
        if not _selects(selector, app) or _selects(selector, pipeline):
            yield f"{name} selects other pods than the page's"
        # Others' apps may have such a component.
        if "app.kubernetes.io/name" not in selector:
            yield f"{name} may select pods of others"
    for name, one in found.items():
        if name.startswith("Service/"):
            yield from (f"{name}: no port {port['targetPort']}" for port in one["spec"]["ports"]
                        if ports.get(port["targetPort"]) != port["port"])  # fmt: skip


def _probed(found: Objects) -> Iterator[str]:
    container = templates(found)["app"]["spec"]["containers"][0]
    names = {port["name"] for port in container.get("ports", ())}
    # Alive is no question of a release: a page that waits for the first one must not be killed for it.
    wanted = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in wanted.items():
        asked = container.get(probe, {}).get("httpGet", {})
        if asked.get("path") != path or asked.get("port") not in names:
            yield f"{probe} does not ask {path}"
    if "preStop" not in container.get("lifecycle", {}):
        yield "visitors are still sent to a page that ends"


def _allowed(found: Objects) -> Iterator[str]:
    """What the network policies let through."""
    app = templates(found)["app"]
    for name, template in templates(found).items():
        policy = found.get(f"NetworkPolicy/greenr-{name}", {}).get(
            "spec", {"podSelector": {"matchLabels": {"": ""}}}
        )
        if not _selects(policy["podSelector"]["matchLabels"], template):
            yield f"{name}: no policy"
            continue
        if set(policy["policyTypes"]) != {"Ingress", "Egress"}:
            yield f"{name}: a policy for one direction"
        asked = [port.get("port") for rule in policy.get("ingress", ()) for port in rule.get("ports", [{}])]
        if asked != ([8008] if name == "app" else []):
            yield f"{name}: asked at {asked}"
        rules = policy["egress"]
        if not any({(53, "UDP"), (53, "TCP")} == _ports(rule) and "to" not in rule for rule in rules):
            yield f"{name}: no DNS"
        blocks = [
            (peer["ipBlock"], _ports(rule))
            for rule in rules
            for peer in rule.get("to", ())
            if "ipBlock" in peer
        ]
        for outside in ("93.184.216.34", "2606:2800::1"):
            reached = {port for block, ports in blocks if _within(outside, block) for port, _ in ports}
            if not {80, 443} <= reached:
                yield f"{name}: no pictures from {outside}"
            if name == "pipeline" and not {465, 587} <= reached:
                yield f"{name}: no mail through {outside}"
        yield from (f"{name}: reaches {address}" for address in INSIDE
                    if any(_within(address, block) for block, _ in blocks))  # fmt: skip
        yield from (
            f"{name}: reaches anybody"
            for rule in rules
            if "to" not in rule and {p for p, _ in _ports(rule)} != {53}
        )
        to_app = [rule for rule in rules for peer in rule.get("to", ())
                  if "podSelector" in peer and _selects(peer["podSelector"]["matchLabels"], app)]  # fmt: skip
        if name == "pipeline" and not any((8008, "TCP") in _ports(rule) for rule in to_app):
            yield "the pipeline does not reach the page"


def _settings(found: Objects) -> Iterator[str]:
    """DeployApp asks a service that leads to a page which is not ready, too, by a name that the page knows."""
    luigi = configparser.ConfigParser()
    luigi.read_string(found["ConfigMap/greenr"]["data"]["luigi.cfg"])
    address = elsewhere.address(luigi["DeployApp"]["served_at"])
    name, _, port = address.removeprefix("http://").partition(":")
    service = found.get(f"Service/{name}", {"spec": {"ports": []}})["spec"]
    if [str(one["port"]) for one in service["ports"]] != [port] or not service.get(
        "publishNotReadyAddresses"
    ):
        yield f"{address} does not lead to a page that is not ready"
    if found.get("Service/greenr", {}).get("spec", {}).get("publishNotReadyAddresses"):
        yield "visitors are sent to a page that is not ready"
    containers = {name: one["spec"]["containers"][0] for name, one in templates(found).items()}
    environment = {one["name"]: one.get("value") for one in containers["app"]["env"]}
    web = from_environment(
        {"GREENR_STORE": "/data/releases", **environment, **found["ConfigMap/greenr-app"]["data"]}
    )
    if name not in web.allowed_hosts:
        yield f"the page does not go by the name {name}"
    volumes = [mount["mountPath"] for mount in containers["app"]["volumeMounts"] if not mount.get("readOnly")]
    # The folder of a volume is root's.
    if not web.run_dir or f"{web.run_dir.parent}" not in volumes:
        yield "the server has no folder of its own"
    if luigi["DownloadImages"]["root"] != f"{web.store.parent}":
        yield "the page reads other data than the pipeline's"
    run = {one["name"]: one for one in containers["pipeline"]["env"]}
    if run["LUIGI_CONFIG_PATH"]["value"] != "/etc/greenr/luigi.cfg":
        yield "the pipeline reads no luigi.cfg"
    if run.get("OMP_NUM_THREADS", {}).get("valueFrom") != {"resourceFieldRef": {"resource": "limits.cpu"}}:
        yield "a thread for each core of the node"


def _once(found: Objects) -> Iterator[str]:
    cron = found["CronJob/greenr-pipeline"]["spec"]
    if cron.get("concurrencyPolicy") != "Forbid":
        yield "two runs at a time"
    job = cron["jobTemplate"]["spec"]
    if job.get("backoffLimit") != 0 or job["template"]["spec"].get("restartPolicy") != "Never":
        yield "a failed run is tried again by two"
    if "activeDeadlineSeconds" not in job:
        yield "a run that hangs keeps all others away"
    mounts = templates(found)["app"]["spec"]["containers"][0]["volumeMounts"]
    if {"name": "data", "mountPath": "/data", "readOnly": True} not in mounts:
        yield "the page may write the data"


def _names(found: Objects, kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in found.values() if one["kind"] == kind}


def _selects(labels: dict[str, str], template: Object) -> bool:
    return labels.items() <= template["metadata"]["labels"].items()


def _ports(rule: Object) -> set[tuple[int, str]]:
    return {(port["port"], port.get("protocol", "TCP")) for port in rule.get("ports", ())}


def _within(address: str, block: Object) -> bool:
    ip = ipaddress.ip_address(address)
    return ip in ipaddress.ip_network(block["cidr"]) and not any(
        ip in ipaddress.ip_network(one) for one in block.get("except", ())
    )
