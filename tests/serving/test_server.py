"""A real gunicorn: started as a daemon, found again, swapped, moved, mended after kill -9, stopped."""

from __future__ import annotations

import http.client
import importlib.metadata
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from greenr_luigi.operations.usage import served_releases
from greenr_luigi.serving import launch, processes, readiness, rollout, server
from greenr_luigi.serving.service import Service
from tests import tiny_release
from tests.serving.looking import get, greenr, kill, masters, ours, served, until, visitor
from tests.tiny_release import serve

pytestmark = pytest.mark.slow


def test_start_find_swap_and_stop(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tiny_release.deploy(place / "releases", 0)
    assert processes.servers(place / "server") == []
    # Whoever may write there runs nothing: neither by its folder, nor by a relative entry of PYTHONPATH.
    for name in ("greenr_luigi", "starlette", "gunicorn", "uvicorn_worker", "sitecustomize"):
        (place / "server").mkdir(exist_ok=True)
        (place / "server" / f"{name}.py").write_text("raise SystemExit('imported')")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([".", "", *filter(None, [os.environ.get("PYTHONPATH")])])
    )
    monkeypatch.chdir("/")
    running = serve(place, first, workers=2)
    assert len(running.workers) == 2 and running.digest == first
    assert served(running.port) == first
    written = [path for path in (place / "server").rglob("*") if path.suffix != ".py"]
    assert len(written) > 8 and not [path for path in written if path.stat().st_mode & 0o077]
    assert os.getsid(running.pid) != os.getsid(0)
    assert os.getpid() not in parents(running.pid)

    second = tiny_release.deploy(place / "releases", 1)
    again = serve(place, second, workers=2)
    assert (again.pid, again.workers) == (running.pid, running.workers)
    assert served(running.port) == second
    assert rollout.rollback(place / "releases") == first
    assert readiness.wait_for_release(place / "server", first, 5).digest == first

    assert server.stop(place / "server")
    assert not server.stop(place / "server")
    assert served(running.port) is None
    assert not ours(running.pid, place)


def test_a_server_is_found_by_any_name_of_its_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = tiny_release.deploy(place / "releases", 0)
    running = serve(place, digest, workers=2)
    (place.parent / "link").symlink_to(place)
    monkeypatch.chdir(place.parent)
    for folder in (Path("a place"), Path("link"), place):
        assert masters(folder) == [running.pid]
        assert served_releases(folder) == {digest}
    second = tiny_release.deploy(place / "releases", 1)
    assert readiness.wait_for_release(place / "server", second, 5).digest == second
    assert f"now serves release {digest} in all 2 workers" in greenr(Path("a place"), "rollback")


def parents(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid, _ = processes.origin(pid)
        found.append(pid)
    return found


def test_a_server_outlives_the_process_that_started_it(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    code = (
        "import sys; from pathlib import Path; from greenr_luigi.serving import server\n"
        "from greenr_luigi.serving.service import Service\n"
        "place = Path(sys.argv[1])\n"
        "s = server.ensure(Service(place / 'releases', place / 'server', workers=1), sys.argv[2], 60)\n"
        "print(s.port)"
    )
    # Waiting for the pipes' end proves that the daemon holds none of them.
    ran = subprocess.run([sys.executable, "-c", code, str(place), digest], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert served(int(ran.stdout)) == digest


def test_killed_master_is_mended_on_the_same_port(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    running = serve(place, digest)
    kill(running.pid)
    again = serve(place, digest, running.port)
    assert again.pid != running.pid and again.port == running.port
    assert not set(again.workers) & set(running.workers)


def test_killed_worker_comes_back(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    running = serve(place, digest, workers=2)
    kill(running.workers[0])
    again = serve(place, digest, workers=2)
    assert again.pid == running.pid and len(again.workers) == 2
    while running.workers[0] in again.workers:
        again = serve(place, digest, workers=2)
    assert running.workers[1] in again.workers


def test_orphaned_workers_end_by_themselves(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    running = serve(place, digest, workers=2)
    handles = [os.pidfd_open(pid) for pid in running.workers]
    os.kill(running.pid, signal.SIGKILL)
    for handle in handles:
        select.select([handle], [], [], 20)
        os.close(handle)
    assert not any(ours(pid, place) for pid in running.workers)


def test_another_port_serves_before_the_old_one_stops(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    running = serve(place, digest)
    with socket.create_server(("127.0.0.1", 0)) as free:
        other = free.getsockname()[1]
    # Who knows both addresses finds one of them open at any time.
    with visitor(running.port, other) as statuses:
        moved = serve(place, digest, other)
    assert moved.pid != running.pid and moved.port == other and set(statuses) == {200}
    assert served(running.port) is None
    with pytest.raises(OSError):
        get(running.port, "/readyz")


def test_a_taken_port_says_so_and_leaves_the_old_server(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    running = serve(place, digest)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(
            server.ServerError, match=r"process \d+ \(.*\) listens there; stop it or choose another"
        ):
            serve(place, digest, taken.getsockname()[1])
        assert served(running.port) == digest


def test_a_broken_release_is_refused_and_the_old_one_serves_on(place: Path) -> None:
    good = tiny_release.deploy(place / "releases", 0)
    running = serve(place, good)
    bad = tiny_release.publish(place / "releases", 1, threshold="high")
    rollout.point(place / "releases", bad)
    with pytest.raises(
        server.ServerError, match=r"refuses the release.*model\.json cannot be read.*threshold"
    ):
        serve(place, bad)
    until(lambda: all(state.problem for state in processes.servers(place / "server")[0].workers))
    assert served(running.port) == good
    status, body = get(running.port, "/readyz")
    assert status == 200 and body["release"] == good
    assert bad in str(body["problem"]) and "refused" in (place / "server" / "gunicorn.log").read_text()


def test_a_first_release_that_is_broken_leaves_no_server(place: Path) -> None:
    bad = tiny_release.deploy(place / "releases", 0, image_size=-1)
    with pytest.raises(server.ServerError, match="image_size"):
        serve(place, bad)
    assert processes.find(place / "server") == []


def test_a_server_that_cannot_start_shows_its_log(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = tiny_release.deploy(place / "releases")
    monkeypatch.setenv("GREENR_QUEUE", "many")
    with pytest.raises(server.ServerError, match="GREENR_QUEUE='many': expected a whole number"):
        serve(place, digest)


def test_wrong_digest_and_wrong_host(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    with pytest.raises(server.ServerError, match="point it there first"):
        serve(place, "0" * 16)
    with pytest.raises(server.ServerError, match="no address of this machine"):
        server.ensure(Service(place / "releases", place / "server", "no.such.invalid"), digest, 5)


def test_a_port_that_is_none_leaves_the_old_server(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    running = serve(place, digest, workers=1)
    for port in (99999, 65536 + running.port, -1):
        with pytest.raises(
            server.ServerError, match=f"--port {port}: expected a whole number from 0 to 65535"
        ):
            serve(place, digest, port, workers=1)
    assert served(running.port) == digest


def test_a_restart_on_the_same_address_loses_no_request(place: Path) -> None:
    """Those who come anew and those who stay connected are answered by the old server or by the new one."""
    digest = tiny_release.deploy(place / "releases")
    running = serve(place, digest, workers=2)
    statuses: list[int] = []
    done = threading.Event()

    def knock(stays: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
        while not done.is_set():
            # After an answer with `Connection: close`, http.client connects anew by itself.
            connection.request("GET", "/readyz", headers={} if stays else {"Connection": "close"})
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()

    with ThreadPoolExecutor(6) as visitors:
        knocking = [visitors.submit(knock, stays) for stays in (True, False) * 3]
        try:
            until(lambda: len(statuses) > 50)
            again = serve(place, digest, running.port, root_path="/app", workers=2)
            count = len(statuses)
            until(lambda: len(statuses) > count + 50)
        finally:
            done.set()
        for one in knocking:
            one.result()
    assert again.pid != running.pid and again.port == running.port and set(statuses) == {200}
    assert get(again.port, "/app/readyz")[0] == get(again.port, "/readyz")[0] == 200
    assert not ours(running.pid, place)


def test_a_restart_that_fails_leaves_the_old_server(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = tiny_release.deploy(place / "releases")
    running = serve(place, digest)
    monkeypatch.setenv("GREENR_QUEUE", "many")
    refused = pytest.raises(server.ServerError, match="GREENR_QUEUE='many': expected a whole number")
    with visitor(running.port) as statuses, refused:
        serve(place, digest, running.port)
    assert set(statuses) == {200}
    assert served(running.port) == digest
    monkeypatch.delenv("GREENR_QUEUE")
    assert serve(place, digest, running.port).pid == running.pid


def test_an_upgraded_library_reaches_the_process(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    running = serve(place, digest, workers=1)
    real = importlib.metadata.distribution("gunicorn")
    newer = place / "newer" / "gunicorn-99.0.dist-info"
    shutil.copytree(str(real.locate_file("gunicorn")), newer.parent / "gunicorn")
    newer.mkdir()
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: gunicorn\nVersion: 99.0\n")
    (newer / "RECORD").write_text(str(real.read_text("RECORD")))
    code = (
        "import sys; from pathlib import Path; from greenr_luigi.serving import server as s\n"
        "p = Path(sys.argv[1])\n"
        "service = s.Service(p / 'releases', p / 'server', port=int(sys.argv[3]), workers=1)\n"
        "print(s.not_as_wanted(service, sys.argv[2]))\n"
        "print(s.ensure(service, sys.argv[2], 60).pid)\n"
        "print(s.not_as_wanted(service, sys.argv[2]))\n"
    )
    path = os.pathsep.join([str(newer.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code, str(place), digest, str(running.port)]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    before, pid, after = ran.stdout.splitlines()
    assert before.startswith("the server's gunicorn: ") and before.endswith(" -> 99.0"), ran
    assert masters(place) == [int(pid)] != [running.pid] and after == "None"


def test_a_server_of_version_0_2_is_found_and_replaced(place: Path) -> None:
    """It has the address through gunicorn's --bind, and says nothing of how it was started."""
    digest = tiny_release.deploy(place / "releases")
    run_dir = place / "server"
    (run_dir / "workers").mkdir(parents=True)
    note = launch.as_loaded(Service(place / "releases", run_dir, workers=1).note())
    environment = launch.environment(run_dir, note)
    del environment[processes.NOTE], environment["PROMETHEUS_MULTIPROC_DIR"]
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(("127.0.0.1", 0))
        port = int(listening.getsockname()[1])
        bind = ["--bind", f"fd://{listening.fileno()}"]
        subprocess.run(
            [*launch.command(note, str(run_dir / processes.LOG)), "--daemon", *bind],
            cwd=run_dir,
            env=environment,
            check=True,
            pass_fds=[listening.fileno()],
        )
        until(lambda: served(port) == digest)
    (old,) = masters(place)
    service = Service(place / "releases", run_dir, port=port, workers=1)
    assert "of an earlier version" in str(server.not_as_wanted(service, digest))
    with visitor(port) as statuses:
        running = serve(place, digest, port, workers=1)
    assert masters(place) == [running.pid] != [old] and set(statuses) == {200}


def test_two_data_roots_do_not_share_an_address(place: Path) -> None:
    running = serve(place, tiny_release.deploy(place / "releases"))
    other = place / "other"
    with pytest.raises(
        server.ServerError, match=r"process \d+ \(.*\) listens there; stop it or choose another"
    ):
        serve(other, tiny_release.deploy(other / "releases", 1), running.port)


def test_what_others_put_beside_its_files_stays(tmp_path: Path) -> None:
    names = ("workers/notes.json", "workers/7.txt", "metrics-mine/x", "metrics-", "mine.pid")
    foreign = [tmp_path / name for name in names]
    old = [tmp_path / "workers" / "999999999.json", tmp_path / "metrics-123" / "counter"]
    for path in [*foreign, *old]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("7")
    server.tidy(tmp_path, "metrics-124")
    assert not any(path.exists() for path in old)
    old[0].write_text("{}")
    assert not server.stop(tmp_path)
    assert not old[0].exists()
    assert {path.read_text() for path in foreign} == {"7"}
