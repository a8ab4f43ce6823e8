"""What all tests share."""

import compileall
import gc
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core; two that take all of them for their arithmetic wait for each other most of the time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from greenr_luigi.about import PACKAGE
from greenr_luigi.staleness import memo
from tests import shared
from tests.pipeline import Pipeline, copy_of_ready, make_ready

# A busy machine is no failure of a property.
settings.register_profile("greenr", deadline=None)
settings.load_profile("greenr")
settings.register_profile("quick", settings.get_profile("greenr"), max_examples=25)


#: Fixtures that train a model, or start a server: a test with one of them is slow, whether it says so or not.
SLOW = {"ready", "deployed", "live", "behind", "feedback_on"}
MEMORY = "/dev/shm"


def is_quick(config: pytest.Config) -> bool:
    return bool(config.option.markexpr == "not slow")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m "not slow"` leaves modules that are slow as a whole unread: importing torch takes longer than most tests."""
    quick = is_quick(config) and collection_path.suffix == ".py"
    return True if quick and "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """And no other one imports it: a single one costs each process of a quick run five seconds."""
    before = "torch" in sys.modules
    report = yield
    if is_quick(collector.config) and "torch" in sys.modules and not before:
        report.outcome = "failed"
        report.longrepr = (
            f"{collector.nodeid} imports torch, which no quick test may: give it `pytestmark = pytest.mark.slow`, or "
            "import it in a slow test"
        )
    return report


def room_in_memory() -> bool:
    """Whether files of tests may lie there: a container has 64 MiB of it, whose programs do not run."""
    if not Path(MEMORY).is_dir():
        return False
    there = os.statvfs(MEMORY)
    return there.f_bavail * there.f_frsize > 2 << 30 and not there.f_flag & os.ST_NOEXEC


def pytest_configure(config: pytest.Config) -> None:
    if is_quick(config):
        settings.load_profile("quick")
        if room_in_memory():
            # A disk is waited for at each of the many files that tests make and remove.
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        # Where PYTHONDONTWRITEBYTECODE is set, each process of the tests would compile all that it imports.
        for name in ("greenr_luigi", "tasks"):
            compileall.compile_dir(PACKAGE.parent / name, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Of the tests, too, what has been compiled is kept."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = before


def pytest_itemcollected(item: pytest.Item) -> None:
    if SLOW.intersection(getattr(item, "fixturenames", ())):
        item.add_marker("slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first: those with a machine or containers of their own, which are given more time than others,
    then those that need `ready`. The first process has them, one after another as the engine of containers wants it.
    The second, which has the rear half, takes over others when that is done: no long one is left for the end."""

    def late(item: pytest.Item) -> tuple[bool, bool]:
        given = item.get_closest_marker("timeout")
        longer = given is not None and given.args[0] > float(item.config.getini("timeout"))
        return not longer, "ready" not in getattr(item, "fixturenames", ())

    items.sort(key=late)


def pytest_collection_finish() -> None:
    """What is there by now stays: no search for garbage, of which tests make much, need look through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def folder_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    shared.folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(autouse=True)
def no_answer_outlives_its_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine an answer takes so long that it would outlive the change that a test makes next."""
    monkeypatch.setattr(memo, "QUICK", math.inf)


@pytest.fixture(autouse=True)
def umask_of_its_own() -> Iterator[None]:
    """A run sets it for the whole process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 KiB. Skipped where none may be mounted."""
    disk = tmp_path / "small disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    mounted = subprocess.run(mounting, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted, which needs root: {mounted.stderr}")
    yield disk
    # It lives, in memory, as long as this process has a file of it open or mapped: so not with all that fills it.
    shutil.rmtree(disk, ignore_errors=True)
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture(scope="session")
def ready(folder_of_this_run: None) -> Path:
    """The home of a pipeline that has deployed two models (tests.pipeline.make_ready). Not to be changed."""
    return shared.once("ready", make_ready)


@pytest.fixture
def deployed(ready: Path, tmp_path: Path) -> Iterator[Pipeline]:
    """A copy of the ready pipeline with a server of its own, to do with as a test likes."""
    pipeline = copy_of_ready(ready, tmp_path)
    try:
        pipeline.serve()
        yield pipeline
    finally:
        pipeline.stop()
