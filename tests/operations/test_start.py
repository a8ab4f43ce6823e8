"""Where the last good release is served again: where the last deployment served it, whatever is asked for now."""

from pathlib import Path

import pytest

import tasks
from greenr_luigi.deployment import deploy
from greenr_luigi.operations.start import start
from greenr_luigi.serving.server import Service
from tasks.deploy import serve_on
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
    serve_on(wanted)
    assert asked == [wanted.service], "none has been deployed"
    finish(tmp_path, "DeployApp", 1, parameters=PLACE)
    serve_on(wanted)
    assert asked[1:] == [service(tmp_path, "127.0.0.2", 99, 3, "/app")]
