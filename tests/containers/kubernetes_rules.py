"""What Kubernetes does not say, or not before it is too late: rules that the manifests keep."""

from __future__ import annotations

import configparser
from collections.abc import Iterator

import yaml

from greenr_luigi.serving import elsewhere
from greenr_luigi.web.settings import from_environment
from tests.containers.kubernetes_network import Object, Objects, allowed, selects

#: The Pod Security Standard "restricted", as of 1.37.
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
OF_THE_HOST = ("hostNetwork", "hostPID", "hostIPC")
#: The user of the images.
USER = 10001
#: Bytes that a container needs besides its volumes in memory: two workers with a costly picture each; PyTorch.
NEEDED = {"app": 2 * (110 + 160 + 290) << 20, "pipeline": 2 << 30}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
#: Seconds that gunicorn takes at most to end.
GRACE = 25
#: Seconds until no node sends visitors to a pod that ends; that a page may take to start, and a pipeline to run.
ROUTED, START, RUN = 5, 30, 6 * 3600


def objects(manifests: str) -> Objects:
    """By kind and name, without the digest of a generated one."""
    found = {}
    for one in yaml.load_all(manifests, yaml.CSafeLoader):
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
        *_found(found), *_probed(found), *allowed(found, templates(found)), *_settings(found), *_once(found),
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
        if here.get("runAsGroup") != USER or set(whole.get("supplementalGroups", ())) - {USER}:
            yield "is of another group"
        if here.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield "no seccomp profile"
        if {"seLinuxOptions", "appArmorProfile", "procMount"} & here.keys():
            yield "a profile of its own"
        actions = [*(container.get(probe, {}) for probe in PROBES), *container.get("lifecycle", {}).values()]
        if any("host" in asked for action in actions for asked in action.values() if isinstance(asked, dict)):
            yield "a probe asks another host"
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
        resources = container.get("resources", {})
        memory = _size(resources.get("limits", {}).get("memory", "0"))
        if _size(resources.get("requests", {}).get("memory", "0")) > memory:
            yield "asks for more memory than it may have"
        in_memory = (volume.get("emptyDir", {}) for volume in pod["volumes"])
        rooms = sum(_size(room["sizeLimit"]) for room in in_memory if {"medium", "sizeLimit"} <= room.keys())
        if memory - rooms < NEEDED[container["name"]]:
            yield "too little memory"
        wait = (
            container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        )
        if "preStop" in container.get("lifecycle", {}) and int(wait[1]) < ROUTED:
            yield "visitors are still sent to a page that ends"
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
    configured = next((volume["name"] for volume in pod["volumes"] if "configMap" in volume), None)
    if configured and mounts.get("/etc/greenr", {}).get("name") != configured:
        yield "luigi.cfg lies elsewhere"
    if container["name"] == "pipeline" and mounts.get("/data", {}).get("readOnly"):
        yield "cannot write the data"
    if any("subPath" in mount for mount in mounts.values()):
        yield "a mount that a change never reaches"
    if "/tmp" not in mounts or "/data" not in mounts:
        yield "no place for data, or for what is in passing"
    for volume in pod["volumes"]:
        claim, settings = volume.get("persistentVolumeClaim"), volume.get("configMap")
        if claim and claim.get("readOnly"):
            yield "the claim may not be written"
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
    claim = found["PersistentVolumeClaim/greenr-data"]["spec"]
    shared = claim["accessModes"] == ["ReadWriteMany"]
    if claim["accessModes"] not in (["ReadWriteOnce"], ["ReadWriteMany"]):
        yield "only one pod can mount the volume, or none can write it"
    if (
        claim.get("volumeMode", "Filesystem") != "Filesystem"
        or _size(claim["resources"]["requests"]["storage"]) < 1 << 30
    ):
        yield "no volume for files, or too small a one"
    terms = (
        pod.get("affinity", {})
        .get("podAffinity", {})
        .get("requiredDuringSchedulingIgnoredDuringExecution", ())
    )
    together = any(
        term["topologyKey"] == "kubernetes.io/hostname"
        and not {"namespaces", "namespaceSelector"} & term.keys()
        and all(selects(term["labelSelector"]["matchLabels"], one) for one in templates(found).values())
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
        if not selects(selector, app) or selects(selector, pipeline):
            yield f"{name} selects other pods than the page's"
        # Others' apps may have such a component.
        if "app.kubernetes.io/name" not in selector:
            yield f"{name} may select pods of others"
    for name, one in found.items():
        if name.startswith("Service/"):
            if one["spec"].get("type", "ClusterIP") != "ClusterIP" or "externalIPs" in one["spec"]:
                yield f"{name} is open to the world, past the ingress"
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
    start = container.get("startupProbe", {})
    if start.get("failureThreshold", 3) * start.get("periodSeconds", 10) < START:
        yield "is killed while it starts"
    alive = container.get("livenessProbe", {})
    if alive.get("failureThreshold", 3) < 3 or alive.get("timeoutSeconds", 1) < 5:
        yield "is killed while it has much to do"
    given = dict(word.removeprefix("--").split("=") for word in container["args"] if "=" in word)
    ports = [str(port["containerPort"]) for port in container.get("ports", ())]
    if given.get("host") != "0.0.0.0" or [given.get("port")] != ports:
        yield "listens elsewhere"
    if "preStop" not in container.get("lifecycle", {}):
        yield "visitors are still sent to a page that ends"


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
    deadlines = [one.get("activeDeadlineSeconds") for one in (job, job["template"]["spec"])]
    if not deadlines[0] or deadlines[0] > 86400:
        yield "a run that hangs keeps all others away"
    if any(seconds is not None and seconds < RUN for seconds in deadlines):
        yield "a long run is ended"
    minute, hour, *days = cron["schedule"].split()
    nightly = (
        minute.isdigit() and int(minute) < 60 and hour.isdigit() and int(hour) < 24 and days == ["*"] * 3
    )
    if cron.get("suspend") or not nightly:
        yield "no run each night"
    if found["Deployment/greenr-app"]["spec"].get("replicas", 1) != 1:
        yield "not one page"
    if job.get("parallelism", 1) != 1 or job.get("completions", 1) != 1:
        yield "two runs at a time"
    if job["template"]["spec"]["containers"][0].get("args") != ["greenr", "run"]:
        yield "the pipeline does something else"
    strategy = found["Deployment/greenr-app"]["spec"].get("strategy", {})
    most = strategy.get("rollingUpdate", {}).get("maxUnavailable", 0)
    if strategy.get("type", "RollingUpdate") != "RollingUpdate" or most not in (0, "0%", "25%"):
        yield "a rollout ends the page before there is another"
    mounts = templates(found)["app"]["spec"]["containers"][0]["volumeMounts"]
    if {"name": "data", "mountPath": "/data", "readOnly": True} not in mounts:
        yield "the page may write the data"


def _size(text: str) -> int:
    """Bytes of a quantity such as 512Mi."""
    number, unit = text[:-2], text[-2:]
    return int(number) << {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}[unit] if unit[-1] == "i" else int(text)


def _names(found: Objects, kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in found.values() if one["kind"] == kind}
