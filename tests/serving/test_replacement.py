"""A server is replaced while visitors ask. Whatever ends that in its midst, the page stays and the next start mends.

GREENR_KILLS sets how many replacements are killed in each of two ways: 2 by default, 20 and more when the mechanism
changes.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenr_luigi.errors import GreenrError, os_refusals_explained
from greenr_luigi.serving import processes, server
from greenr_luigi.serving.readiness import Server
from greenr_luigi.serving.service import Service
from tests import tiny_release
from tests.serving.looking import masters, served, until, visitor
from tests.serving.test_full_disk import fill
from tests.tiny_release import serve

#: Spread over the two seconds that replacing takes.
KILLS = int(os.environ.get("GREENR_KILLS", "2"))
pytestmark = pytest.mark.slow
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
#: Replaces the server of a data root by one with another prefix.
REPLACE = """
import sys; from pathlib import Path; from greenr_luigi.serving.server import Service, ensure
root, digest, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("goes", flush=True)
ensure(Service(root / "releases", root / "server", port=port, workers=2, root_path="/app"), digest, 60)
"""


def start_replacing(place: Path, running: Server) -> subprocess.Popen[str]:
    """A process that has just begun to replace the server."""
    command = [sys.executable, "-c", REPLACE, str(place), running.digest, str(running.port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "goes\n"
    return process


def wait(process: subprocess.Popen[str], number: int) -> None:
    """For a time by chance in that part of the two seconds that is the number's."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2 * (number + random.Random(number).random()) / KILLS)


def mend(place: Path, running: Server) -> float:
    """The next start; returns the seconds that it takes."""
    began = time.monotonic()
    again = serve(place, running.digest, running.port, root_path="/app", workers=2)
    took = time.monotonic() - began
    service = Service(place / "releases", place / "server", port=running.port, workers=2, root_path="/app")
    assert server.not_as_wanted(service, running.digest) is None
    assert {again.pid, *again.workers} == {process.pid for process in processes.find(place / "server")}
    assert {int(path.stem) for path in place.glob("server/workers/*")} == set(again.workers)
    assert [path.name for path in place.glob("server/metrics-*")] == [again.launch]
    assert (place / "server" / "gunicorn.pid").read_text() == f"{again.pid}\n"
    return took


@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_killed_while_it_replaces_the_server_costs_no_request(place: Path, number: int) -> None:
    running = serve(place, tiny_release.deploy(place / "releases"), workers=2)
    with visitor(running.port) as statuses, start_replacing(place, running) as process:
        wait(process, number)
        process.kill()
        asked = len(statuses)
        took = mend(place, running)
    assert set(statuses) == {200} and len(statuses) > asked
    print(f"mended in {took:.1f} s, {len(statuses)} requests")


@pytest.mark.parametrize("number", range(KILLS))
def test_a_gunicorn_killed_with_the_run_is_mended(place: Path, number: int) -> None:
    running = serve(place, tiny_release.deploy(place / "releases"), workers=2)
    with start_replacing(place, running) as process:
        wait(process, number)
        process.kill()
        victim = random.Random(number).choice(masters(place))
        os.kill(victim, signal.SIGKILL)
        took = mend(place, running)
    print(f"mended in {took:.1f} s")


def test_an_interrupted_replacement_leaves_the_old_server(place: Path) -> None:
    running = serve(place, tiny_release.deploy(place / "releases"), workers=2)
    with visitor(running.port) as statuses, start_replacing(place, running) as process:
        while len(masters(place)) < 2 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
    assert masters(place) == [running.pid] and served(running.port) == running.digest
    assert set(statuses) == {200}
    assert serve(place, running.digest, running.port, workers=2).pid == running.pid


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """The server's folder, of 3 MB."""
    disk = place / "server"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=True)
    yield disk
    server.stop(disk)
    subprocess.run(["umount", disk], check=True)


@root_only
def test_a_full_disk_keeps_no_page_down_when_the_machine_went_down(place: Path, small_disk: Path) -> None:
    running = serve(place, tiny_release.deploy(place / "releases"), workers=2)
    for process in processes.find(small_disk):
        os.kill(process.pid, signal.SIGKILL)
    until(lambda: not processes.find(small_disk))
    fill(small_disk)
    again = serve(place, running.digest, running.port, workers=2)
    assert masters(place) == [again.pid] and served(again.port) == running.digest


@root_only
def test_a_full_disk_leaves_the_old_server(place: Path, small_disk: Path) -> None:
    running = serve(place, tiny_release.deploy(place / "releases"), workers=2)
    with visitor(running.port) as statuses:
        ballast = fill(small_disk)
        with (
            pytest.raises(GreenrError, match=r"server: the disk is full: free some space"),
            os_refusals_explained(),
        ):
            serve(place, running.digest, running.port, root_path="/app", workers=2)
        asked = len(statuses)
        ballast.unlink()
        mend(place, running)
    assert set(statuses) == {200} and len(statuses) > asked
