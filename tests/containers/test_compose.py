"""The images are built, and compose.yaml is run, for real, in an engine of the test's own. GREENR_TEST_DOCKER names a
folder where that engine keeps what it has built, for the next time."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenr_luigi.about import PACKAGE
from tests import tiny_release
from tests.containers.engine import Engine
from tests.serving.looking import until

pytestmark = [pytest.mark.slow, pytest.mark.machine, pytest.mark.timeout(1200)]

REPOSITORY = PACKAGE.parent
PAGE, DASHBOARD = "http://127.0.0.1:8080/app", "http://127.0.0.1:8082"
FOR_OTHERS = "127.0.0.1:8080/dashboard"
SERVICES = ("luigid", "pipeline", "app", "nginx")
#: Megabytes (10**6) of the image that serves.
MOST = 350
CONFIGURATION = REPOSITORY / "deploy/compose/luigi.cfg"
#: Small, and without the internet.
SMALL = {"DownloadImages": {"source": "sample", "limit": "40"}, "TrainModel": {"epochs": "3"}}
OVERRIDE = """
services:
  luigid: &configured
    volumes: ["{folder}/luigi.cfg:/etc/greenr/luigi.cfg:ro"]
  pipeline: *configured
"""
#: Prints a line an answer; of a connection that breaks, why.
VISITOR = """
import sys, requests
session, data = requests.Session(), open(sys.argv[2], "rb").read()
session.trust_env = False
while True:
    try:
        answer = session.post(sys.argv[1] + "/api/predict", files={"file": data}, timeout=30)
        print(answer.status_code, answer.json().get("release"), flush=True)
    except requests.RequestException as error:
        print("lost", repr(error), flush=True)
"""


def look_at_images(engine: Engine) -> None:
    """The one that serves is small, and has no more than it needs."""
    (image,) = json.loads(engine.docker("image", "inspect", "greenr-serve").stdout)
    print(f"greenr-serve: {image['Size'] / 10**6:.0f} MB")
    assert image["Size"] <= MOST * 10**6
    assert image["Config"]["User"] not in ("", "0", "root") and image["Config"]["Healthcheck"]
    look = (
        "import importlib.util as u, os, ssl; print(os.getuid(), os.path.exists('/run/secrets/ca'), "
        "ssl.create_default_context().cert_store_stats()['x509_ca'] > 100, [name for name in"
        " ('torch', 'fastai', 'luigi', 'scipy', 'onnx', 'pip') if u.find_spec(name)])"
    )
    found = {
        name: engine.docker(
            "run", "--rm", "--network=none", "--read-only", name, "python3", "-c", look
        ).stdout.strip()
        for name in ("greenr-serve", "greenr-pipeline")
    }
    assert found == {
        "greenr-serve": "10001 False True []",
        "greenr-pipeline": "10001 False True ['torch', 'fastai', 'luigi', 'scipy', 'onnx', 'pip']",
    }
    (base,) = json.loads(engine.docker("image", "inspect", "greenr-pipeline").stdout)
    print(f"greenr-pipeline: {base['Size'] / 10**6:.0f} MB")
    for name in ("greenr-serve", "greenr-pipeline"):
        history = engine.docker("history", "--no-trunc", name).stdout
        assert "127.0.0.1:" not in history.replace("127.0.0.1:8008", "")


class Stack:
    """compose.yaml, with pictures that are drawn."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        written = configparser.ConfigParser()
        written.read(CONFIGURATION)
        for section, options in SMALL.items():
            written.read_dict({section: options})
        with (folder / "luigi.cfg").open("w") as file:
            written.write(file)
        (folder / "override.yaml").write_text(OVERRIDE.format(folder=folder))
        self.files = ["-f", str(REPOSITORY / "compose.yaml"), "-f", str(folder / "override.yaml")]
        self.picture = folder / "picture.jpg"
        self.picture.write_bytes(tiny_release.picture("yellow", 300))

    def compose(self, *words: str, check: bool = True) -> str:
        return self.engine.compose(*self.files, *words, check=check).stdout

    def get(self, address: str) -> tuple[int, str]:
        code = (
            "import sys, requests; s = requests.Session(); s.trust_env = False; r = s.get(sys.argv[1], timeout=20); "
            "print(r.status_code); print(r.text)"
        )
        done = subprocess.run(
            self.engine.inside(sys.executable, "-c", code, address), capture_output=True, text=True
        )
        status, _, text = done.stdout.partition("\n")
        return int(status or 0), text

    def release(self) -> str | None:
        status, text = self.get(f"{PAGE}/api/model")
        return str(json.loads(text)["release"]) if status == 200 else None

    def container(self, service: str) -> dict[str, Any]:
        number = self.compose("ps", "--all", "--quiet", service).strip()
        (found,) = json.loads(self.engine.docker("inspect", number).stdout)
        return dict(found)

    def in_pipeline(self, *words: str) -> str:
        return self.compose("exec", "-T", "pipeline", *words)


@pytest.fixture
def stack(engine: Engine, tmp_path: Path) -> Iterator[Stack]:
    tmp_path.chmod(0o755)
    made = Stack(engine, tmp_path)
    try:
        yield made
    finally:
        print(made.compose("logs", "--no-color", "--tail=80", check=False))
        made.compose("down", "--volumes", "--timeout=60", check=False)


def test_from_nothing_to_both_pages_a_new_release_without_a_lost_request_and_all_is_kept(
    engine: Engine, stack: Stack
) -> None:
    look_at_images(engine)
    stack.compose("up", "--detach", "--no-build", "--wait", "luigid", "app", "nginx")
    assert stack.release() is None and stack.get(f"{PAGE}/healthz")[0] == 200

    # The dashboard is open on its own machine alone, until there is a password.
    assert stack.get(f"{DASHBOARD}/")[0] == 200
    assert stack.get(f"http://{FOR_OTHERS}/runs")[0] == 401
    assert stack.get(f"http://anna:sesame@{FOR_OTHERS}/runs")[0] == 403
    hashed = subprocess.run(["openssl", "passwd", "-6", "sesame"], check=True, capture_output=True, text=True)
    line = f"anna:{hashed.stdout.strip()}"
    stack.compose("exec", "-T", "luigid", "sh", "-c", f"echo '{line}' > /etc/nginx/greenr/passwords")
    assert stack.get(f"http://anna:guessed@{FOR_OTHERS}/runs")[0] == 401
    assert stack.get(f"http://anna:sesame@{FOR_OTHERS}/runs")[0] == 200

    stack.compose("up", "--detach", "--no-build")
    # Not as soon as one worker answers: the other may need a moment more, for which DeployApp waits.
    until(lambda: "deployed" in stack.in_pipeline("greenr", "history"), 300)
    first = stack.release()
    assert first is not None
    assert stack.get(f"{PAGE}/")[0] == stack.get(f"{PAGE}/model")[0] == stack.get(f"{DASHBOARD}/")[0] == 200
    assert 'href="/app/' in stack.get(f"{PAGE}/")[1]
    assert "DeployApp" in stack.get(f"{DASHBOARD}/api/task_list?data={{}}")[1]
    assert stack.get(f"{PAGE}/readyz")[0] == stack.get(f"{PAGE}/metrics")[0] == 403

    # A new model goes live while somebody asks; who asks without end would only hold up its training.
    stack.in_pipeline("luigi", "--module=tasks", "ExportModel", "--seed=7")
    command = stack.engine.inside(sys.executable, "-c", VISITOR, PAGE, str(stack.picture))
    # Not to a pipe, which holds some 3,000 answers: then nobody would ask any more.
    said_to = stack.picture.with_name("answers")
    with said_to.open("w") as file, subprocess.Popen(command, stdout=file) as visitor:
        try:
            until(lambda: said_to.stat().st_size > 0)
            stack.in_pipeline("greenr", "run", "--seed=7", "--force=DeployApp")
            second = stack.release()
            said = stack.in_pipeline("greenr", "rollback")
            assert f"http://app:8008 now serves release {first}" in said
            stack.in_pipeline("greenr", "rollback", str(second))
        finally:  # It asks without end, and would be waited for.
            visitor.terminate()
    whole, _, _ = said_to.read_text().rpartition("\n")
    answers = [line.split(maxsplit=1) for line in whole.splitlines()]
    print(f"{len(answers)} answers during three swaps")
    assert first != second and {status for status, _ in answers} == {"200"}
    assert {release for _, release in answers} == {first, second}

    # What it may not.
    for place in ("/x", "/opt/greenr/x", "/data/x", "/data/releases/x"):
        assert "Read-only" in stack.compose("exec", "-T", "app", "touch", place, check=False)
    assert stack.container("app")["State"]["Health"]["Status"] == "healthy"
    assert stack.container("app")["HostConfig"]["CapDrop"] == ["ALL"]

    # Each ends by itself within its grace, and comes again with all that it had.
    history = stack.in_pipeline("greenr", "history")
    (runs, stages) = (f"http://anna:sesame@{FOR_OTHERS}/{page}" for page in ("runs", "history"))
    assert stack.get(runs)[1].count("deployed") and "DeployApp" in stack.get(stages)[1]
    stack.compose("stop")
    assert {name: stack.container(name)["State"]["ExitCode"] for name in SERVICES} == dict.fromkeys(
        SERVICES, 0
    )
    stack.compose("down")
    stack.compose("up", "--detach", "--no-build")
    until(lambda: stack.release() == second, 60)
    assert stack.in_pipeline("greenr", "history").startswith(history[:500])
    assert str(second) in stack.get(runs)[1] and "DeployApp" in stack.get(stages)[1]
