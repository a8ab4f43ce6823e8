"""Where the last good release is served again: where the last deployment served it, whatever is asked for now."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tasks
from greenr_luigi.about import PACKAGE
from greenr_luigi.deployment import deploy
from greenr_luigi.operations.start import start
from greenr_luigi.serving.service import Service
from tests.stamped import finish

PLACE = {"host": "127.0.0.2", "port": "99", "web_workers": "3", "root_path": "/app"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    """What was to be served, of which nothing is."""
    services: list[Service] = []
    for name in ("serve", "serve_on"):
        monkeypatch.setattr(deploy, name, lambda service, _: services.append(service))
    return services


def service(root: Path, host: str, port: int, workers: int, root_path: str) -> Service:
    return Service(root / "releases", root / "server", host, port, workers, root_path)


def test_it_starts_where_the_last_deployment_served_and_looks_at_nothing_else(
    tmp_path: Path, asked: list[Service]
) -> None:
    finish(tmp_path, "DeployApp", 1, parameters={**PLACE, "port": "98"})
    finish(
        tmp_path, "DeployApp", 2, parameters={**PLACE, "source": "of a package that is gone", "epochs": "?"}
    )
    start(tmp_path)
    assert asked == [service(tmp_path, "127.0.0.2", 99, 3, "/app")]


def test_before_the_first_deployment_it_starts_as_configured(tmp_path: Path, asked: list[Service]) -> None:
    finish(tmp_path, "DeployApp", 1, parameters={"port": "99"})  # Of a version that had no more.
    start(tmp_path)
    start(tmp_path / "empty")
    assert asked[0] == service(tmp_path, asked[1].host, 99, asked[1].workers, asked[1].root_path)
    assert asked[1].port == dict(tasks.DeployApp.get_params())["port"].task_value("DeployApp", "port")


def test_a_run_that_fails_serves_on_where_the_last_deployment_served(
    tmp_path: Path, asked: list[Service]
) -> None:
    wanted = tasks.DeployApp(root=tmp_path, port=7, root_path="/elsewhere")
    wanted.serve_on(tmp_path, wanted.to_str_params(), print)
    assert asked == [wanted.service], "none has been deployed"
    finish(tmp_path, "DeployApp", 1, parameters=PLACE)
    wanted.serve_on(tmp_path, wanted.to_str_params(), print)
    assert asked[1:] == [service(tmp_path, "127.0.0.2", 99, 3, "/app")]


WRONG = """
[DownloadImages]
root = roots
[DeployApp]
port = x
[TrainModel]
epohcs = 3
epochs = 0
arch = 5%
[TrainModle]
"""
TOLD = """
luigi.cfg: [TrainModle] is no stage: did you mean [TrainModel]?
luigi.cfg: [TrainModel] epohcs is no parameter of TrainModel: did you mean epochs?
luigi.cfg: [DeployApp] port x: expected a whole number from 0 to 65535
luigi.cfg: [TrainModel] epochs 0: expected a whole number, at least 1
luigi.cfg: [TrainModel] arch = 5%: write %% for a percent sign
""".strip().splitlines()
#: What both would serve is only printed.
COMMAND = """
import sys
from greenr_luigi.deployment import deploy
def asked(service, tell):
    print(service.store.parent, service.host, service.port, service.workers, service.root_path)
def last(service, tell):
    sys.exit(asked(service, tell))
deploy.serve, deploy.serve_on = last, asked
if "--module" in sys.argv:
    import luigi.cmdline
    luigi.cmdline.luigi_run()
else:
    from greenr_luigi import cli
    cli.main()
"""


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    line = [sys.executable, "-c", COMMAND, *arguments]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_wrong_settings_stop_no_start_and_a_run_that_they_refuse_serves_on(tmp_path: Path) -> None:
    (tmp_path / "luigi.cfg").write_text(WRONG)
    for root in ("roots", "others"):
        finish(tmp_path / root, "DeployApp", 1, parameters=PLACE)
    greenr = command(tmp_path, "start")
    assert greenr.stdout == f"{tmp_path / 'roots'} 127.0.0.2 99 3 /app\n", greenr.stderr
    assert greenr.stderr.splitlines() == [f"greenr: {words}" for words in TOLD]
    run = command(tmp_path, "--module", "tasks", "DeployApp", "--root", "others")
    assert run.stdout == f"{tmp_path / 'others'} 127.0.0.2 99 3 /app\n"
    assert (run.returncode, run.stderr) == (1, f"{TOLD[0]}\n")
    (tmp_path / "luigi.cfg").write_text("[run]\nretries = x")
    unattended = command(tmp_path, "run", "--root", "others")
    assert unattended.stdout.startswith(f"{tmp_path / 'others'} 127.0.0.2 99 3 /app\n"), unattended.stderr
    words = "greenr: luigi.cfg: [run] retries x: expected a whole number, at least 0"
    assert unattended.stderr.splitlines() == [words] * 2
    (tmp_path / "luigi.cfg").write_text("[DeployApp]\nroot = 5%")
    unknown = command(tmp_path, "start")
    words = [
        "luigi.cfg: [DeployApp] root = 5%: write %% for a percent sign",
        "luigi.cfg: [DeployApp] root: it cannot be told from what is written there",
    ]
    assert (unknown.stdout, unknown.stderr.splitlines()) == ("", [f"greenr: {line}" for line in words])
