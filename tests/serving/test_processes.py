"""Servers are found by what they are: after their folder was deleted, moved, mounted elsewhere or copied, and whoever's
they are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenr_luigi.serving import processes, readiness, rollout, server
from greenr_luigi.serving.service import Service
from greenr_luigi.serving.sockets import ServerError
from greenr_luigi.serving.state import ServerNote
from tests import tiny_release
from tests.serving.looking import greenr, masters, ours, served, until
from tests.tiny_release import serve

pytestmark = pytest.mark.slow
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting, and acting as another user, need root")


@pytest.fixture
def elsewhere(place: Path) -> Iterator[Path]:
    """Another name for the data root."""
    folder = place.with_name("elsewhere")
    yield folder
    server.stop(folder / "server")


def test_a_deleted_data_root_is_followed_by_a_new_one_on_the_same_port(place: Path) -> None:
    first = serve(place, tiny_release.deploy(place / "releases"), workers=1)
    shutil.rmtree(place)
    until(lambda: served(first.port) == first.digest)
    assert masters(place) == [first.pid] and not place.exists()
    digest = tiny_release.deploy(place / "releases", 1)
    service = Service(place / "releases", place / "server", port=first.port, workers=1)
    assert server.not_as_wanted(service, digest) == "the server's folder was moved, or deleted under it"
    second = serve(place, digest, first.port, workers=1)
    assert served(first.port) == digest and masters(place) == [second.pid] != [first.pid]
    assert server.not_as_wanted(service, digest) is None


def test_the_server_of_a_deleted_data_root_can_be_stopped(place: Path) -> None:
    running = serve(place, tiny_release.deploy(place / "releases"), workers=1)
    shutil.rmtree(place)
    assert greenr(place, "stop") == "stopped\n"
    assert served(running.port) is None and not place.exists()


def test_the_last_to_start_is_told_though_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = (
        processes.Process(pid, parent=1, started=started, note=ServerNote(launch=launch))
        for pid, started, launch in ((9, 100, "metrics-8"), (8, 200, "metrics-7"))
    )
    monkeypatch.setattr(processes, "find", lambda _: [late, early])
    assert [running.pid for running in processes.servers(tmp_path)] == [9, 8]


def test_whoever_exports_the_variable_is_no_server(place: Path) -> None:
    running = serve(place, tiny_release.deploy(place / "releases"), workers=1)
    environment = {**os.environ, "GREENR_RUN_DIR": str(place / "server")}
    with subprocess.Popen(["sleep", "60"], env=environment, cwd=place / "server") as bystander:
        try:
            assert greenr(place, "stop", env=environment) == "stopped\n"
            assert served(running.port) is None and bystander.poll() is None
        finally:
            bystander.kill()


def test_a_deleted_run_folder_costs_nothing_but_a_restart(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    first = serve(place, digest, workers=1)
    shutil.rmtree(place / "server")
    second = serve(place, digest, first.port, workers=1)
    assert masters(place) == [second.pid] != [first.pid]


def test_a_moved_data_root_takes_its_server_along(place: Path, elsewhere: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    first = serve(place, digest, workers=1)
    place.rename(elsewhere)
    assert masters(elsewhere) == [first.pid]
    second = serve(elsewhere, digest, first.port, workers=1)
    assert masters(elsewhere) == [second.pid] != [first.pid] and served(first.port) == digest
    newest = tiny_release.deploy(elsewhere / "releases", 1)
    assert serve(elsewhere, newest, first.port, workers=1).pid == second.pid


@root_only
def test_a_data_root_mounted_elsewhere_has_one_server(place: Path, elsewhere: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    first = serve(place, digest, workers=1)
    elsewhere.mkdir()
    subprocess.run(["mount", "--bind", place, elsewhere], check=True)
    try:
        for root in (elsewhere, place):
            assert serve(root, digest, first.port, workers=1).pid == first.pid
    finally:
        subprocess.run(["umount", elsewhere], check=True)


def test_a_copy_whose_links_became_folders_leaves_the_original_alone(place: Path, elsewhere: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    first = serve(place, digest, workers=1)
    subprocess.run(["cp", "-rL", place, elsewhere], check=True)
    assert masters(elsewhere) == [] and not server.stop(elsewhere / "server")
    rollout.point(elsewhere / "releases", digest)
    with pytest.raises(ServerError, match=rf"process \d+ \(.*{place.name}/server.*\) listens there; stop it"):
        serve(elsewhere, digest, first.port, workers=1)
    assert masters(place) == [first.pid] and served(first.port) == digest
    second = serve(elsewhere, digest, workers=1)
    newest = tiny_release.deploy(elsewhere / "releases", 1)
    assert (elsewhere / "releases" / "current").is_symlink()
    assert readiness.wait_for_release(elsewhere / "server", newest, 10).pid == second.pid
    assert rollout.rollback(elsewhere / "releases") == digest
    assert served(first.port) == digest and first.port != second.port


@root_only
def test_the_server_of_another_user_is_named_and_stays() -> None:
    """`nobody` may write to the folder, and not look into root's processes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        running = serve(place, tiny_release.deploy(place / "releases"), workers=1)
        try:
            subprocess.run(["chmod", "-R", "a+rwX", folder], check=True)
            # Whatever is imported later may lie where nobody may read.
            code = (
                "import os, sys; from pathlib import Path; from greenr_luigi import cli, settings\n"
                "from greenr_luigi.serving import server as s\n"
                "p = Path(sys.argv[1]); service = s.Service(p / 'releases', p / 'server', port=int(sys.argv[3]))\n"
                "service.note(); os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
                "cli.main(['--root', sys.argv[1], 'stop'])\n"
                "print(s.not_as_wanted(service, sys.argv[2]), file=sys.stderr)\n"
                "try: s.ensure(service, sys.argv[2], 10)\n"
                "except s.ServerError as error: print(error, file=sys.stderr)\n"
            )
            command = [sys.executable, "-c", code, folder, running.digest, str(running.port)]
            run = subprocess.run(command, capture_output=True, text=True)
            told = run.stderr.splitlines()
            assert len(told) == 3, run
            assert all(f"(process {running.pid}) belongs to user 0" in line for line in told), run
            remedy = f"run as that user, or stop it first with `sudo -u '#0' greenr --root {place} stop`"
            assert remedy in told[0] and remedy in told[2]
            assert ours(running.pid, place) and (place / "server" / "gunicorn.pid").exists()
            assert served(running.port) == running.digest
        finally:
            server.stop(place / "server")


@root_only
def test_no_other_user_can_look_like_a_server(place: Path) -> None:
    """Deployments were refused while somebody else's process named the log, and done again and again for one that had
    our variable."""
    run_dir = place / "server"
    run_dir.mkdir(mode=0o700)
    waiting = ["sh", "-c", "read _", "gunicorn", str(run_dir / processes.LOG)]
    environment = {"GREENR_RUN_DIR": str(run_dir)}

    def started(user: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(waiting, stdin=subprocess.PIPE, env=environment, user=user)

    def seen() -> list[int]:
        return [one.pid for one in processes.find(run_dir)]

    with started(65534) as stranger, started(0) as ours:
        until(lambda: ours.pid in seen())
        assert seen() == [ours.pid]
        os.chown(run_dir, 65534, -1)
        assert set(seen()) == {ours.pid, stranger.pid}
        for process in (stranger, ours):
            process.communicate(b"\n")


def test_another_process_that_has_the_pid_by_now_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        parent, began = processes.origin(bystander.pid)
        processes.kill(processes.Process(bystander.pid, parent, began - 1), signal.SIGKILL, 1)
        assert bystander.poll() is None
        processes.kill(processes.Process(bystander.pid, parent, began), signal.SIGKILL, 10)
        assert bystander.wait(60) == -signal.SIGKILL


def test_a_pid_file_that_lies_harms_nobody(place: Path) -> None:
    digest = tiny_release.deploy(place / "releases")
    (place / "server").mkdir()
    pid_file = place / "server" / "gunicorn.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    assert not server.stop(place / "server")
    running = serve(place, digest, workers=1)
    pid_file.write_text(f"{os.getpid()}\n")
    assert serve(place, digest, workers=1).pid == running.pid
    assert pid_file.read_text() == f"{running.pid}\n"


def test_processes_of_another_folder_are_not_ours(place: Path) -> None:
    running = serve(place, tiny_release.deploy(place / "releases"), workers=1)
    assert {running.pid, *running.workers} == {one.pid for one in processes.find(place / "server")}
    assert processes.find(place) == processes.find(place / "releases") == []
