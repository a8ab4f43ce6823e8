"""The Deployment of deploy/kubernetes runs, by `podman kube play`, with the image that is built and volumes as those of
Kubernetes are: root's, and a group's. Without network, so without ports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny_release
from tests.containers.engine import CLIENT, Engine
from tests.containers.kubectl import BASE, needs_kubectl, text
from tests.containers.kubernetes_rules import USER, Object, objects, templates
from tests.serving.looking import until

pytestmark = [pytest.mark.slow, pytest.mark.machine, pytest.mark.timeout(1200), needs_kubectl]

#: podman asks for more files than a machine may have, and takes the soft limit for the hard one.
SETTINGS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
#: Says what was answered, as JSON: to the kubelet's question of an address, or of a picture.
ASK = """
import json, sys, requests
session = requests.Session()
session.trust_env = False
address, *picture = sys.argv[1:]
try:
    if picture:
        answer = session.post(address, files={"file": open(picture[0], "rb")}, timeout=20)
    else:
        answer = session.get(address, timeout=5)
    print(json.dumps([answer.status_code, answer.json()]))
except requests.ConnectionError:
    print("[0, null]")
"""


class Podman:
    """Of a test's own: nothing of another one is seen or touched."""

    def __init__(self, folder: Path) -> None:
        self.places = [f"--{name}={folder / name}" for name in ("root", "runroot", "tmpdir")]
        (folder / "containers.conf").write_text(SETTINGS)
        self.environment = {**os.environ, "CONTAINERS_CONF": f"{folder}/containers.conf"}

    def __call__(self, *words: str, check: bool = True, **how: Any) -> str:
        done = subprocess.run(
            ["podman", *self.places, *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            **how,
        )
        assert not check or done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def podman(engine: Engine) -> Iterator[Podman]:
    for program in ("podman", "catatonit"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not there: `sh setup.sh test` installs it")
    # It takes no path of more than 50 letters.
    with tempfile.TemporaryDirectory() as folder:
        made = Podman(Path(folder))
        command = [CLIENT, f"--host=unix://{engine.socket}", "save", "greenr-serve"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as saving:
            made("load", stdin=saving.stdout)
        yield made
        made("pod", "rm", "--all", "--force", "--time=0")
        made("rmi", "--all", "--force")


def as_kubernetes_gives(volume: Object, folder: Path) -> Object:
    """A folder of root's and of the pod's group. An empty disk has a folder of its own already."""
    place = folder / str(volume["name"])
    place.mkdir()
    if "persistentVolumeClaim" in volume:
        (place / "lost+found").mkdir(mode=0o700)
    os.chown(place, 0, USER)
    place.chmod(0o2775 if "persistentVolumeClaim" in volume else 0o2777)
    return {"name": volume["name"], "hostPath": {"path": str(place), "type": "Directory"}}


def manifests(folder: Path) -> str:
    """The Deployment and its ConfigMap, less what podman 4.3 cannot do: probes (it asks by curl, inside), and ports."""
    found = objects(text(BASE))
    pod = templates(found)["app"]["spec"]
    pod["volumes"] = [as_kubernetes_gives(volume, folder) for volume in pod["volumes"]]
    (container,) = pod["containers"]
    container["imagePullPolicy"] = "Never"
    container["image"] = f"localhost/{container['image']}:latest"
    for name in ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
        del container[name]
    return yaml.safe_dump_all([found["ConfigMap/greenr-app"], found["Deployment/greenr-app"]])


def test_the_page_comes_up_waits_for_a_release_serves_it_and_ends(podman: Podman, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    probes = templates(objects(text(BASE)))["app"]["spec"]["containers"][0]
    alive, ready = (probes[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe"))
    podman("kube", "play", "--network=none", "-", input=manifests(tmp_path))
    name = "greenr-app-pod-0-app"

    def inspected() -> Any:
        return json.loads(podman("inspect", name))[0]

    def ask(path: str, *picture: str) -> tuple[int, Any]:
        inside = ["nsenter", f"--target={inspected()['State']['Pid']}", "--net", sys.executable, "-c", ASK]
        words = [*inside, f"http://127.0.0.1:8008{path}", *picture]
        status, body = json.loads(subprocess.run(words, check=True, capture_output=True, timeout=60).stdout)
        return int(status), body

    def answers() -> bool:
        assert inspected()["State"]["Running"], podman("logs", name)
        return ask(alive)[0] == 200

    until(answers, 60)
    assert ask(ready)[0] == 503
    store = tmp_path / "data/releases"
    digest = tiny_release.deploy(store)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", store], check=True)
    until(lambda: ask(ready)[0] == 200)
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(tiny_release.picture("yellow"))
    status, said = ask("/api/predict", str(picture))
    assert (status, said["release"]) == (200, digest)
    assert said["label"] == "dandelion"

    # As its security context has it.
    for place in ("/x", "/opt/greenr/x", "/data/x"):
        assert "Read-only" in podman("exec", name, "touch", place, check=False)
    assert podman("exec", name, "id", "-u").strip() == f"{USER}"
    assert inspected()["EffectiveCaps"] in (None, [])
    assert podman("stop", "--time=30", name) and inspected()["State"]["ExitCode"] == 0
