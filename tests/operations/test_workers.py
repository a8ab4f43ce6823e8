"""Several workers on one machine: `luigi --workers 2`."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from greenr_luigi.pictures.manifest import PictureRow, read_jsonl
from greenr_luigi.staleness import listing, traces
from tests.pipeline import Pipeline, Run, draw

pytestmark = pytest.mark.slow

CLASSES = ("dandelion", "grass", "rose")
#: Of a list, and as often as can be.
FROM_HERE = ("--source", "urls", "--allow-networks", "127.0.0.0/8", "--per-host", "0")


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[int, threading.Event]]:
    """A server of the pictures in a folder, which answers for none until two classes have been asked for."""
    asked, two = set[str](), threading.Event()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(folder))

        def do_GET(self) -> None:
            asked.add(self.path.split("/")[1])
            if len(asked) == 2:
                two.set()
            if two.wait(20):
                super().do_GET()
            else:
                self.send_error(410, "nobody asks for another class")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port, two
        server.shutdown()


def made(pipeline: Pipeline) -> dict[str, object]:
    """All that the classes and the data set hold, but for the times at which pictures came."""
    dataset = pipeline.newest_output("SplitDataset")
    split = {name: file.sha256 for name, file in traces.snapshot(dataset).items() if name != "manifest.csv"}
    rows = {
        label: [
            vars(row) | {"fetched": None}
            for row in read_jsonl(
                pipeline.newest_output(f"DownloadImages({label})") / "manifest.jsonl", PictureRow
            )
        ]
        for label in CLASSES
    }
    return {"split": split, "rows": rows}


def test_two_classes_at_once_come_out_as_one_after_the_other_and_one_that_fails_costs_no_other(
    tmp_path: Path,
) -> None:
    draw(tmp_path / "pictures", dict.fromkeys(CLASSES, 12))
    (tmp_path / "lists").mkdir()

    def run(pipeline: Pipeline, workers: int) -> Run:
        return pipeline.run(f"--workers={workers}", "--classes", ",".join(CLASSES), stage="SplitDataset")

    with serving(tmp_path / "pictures") as (port, two):
        options = (*FROM_HERE, "--folder", str(tmp_path / "lists"))
        one, both = (Pipeline(tmp_path / name, *options) for name in ("one", "both"))

        def list_pictures(label: str) -> None:
            lines = [f"http://127.0.0.1:{port}/{label}/{number}.jpg\n" for number in range(12)]
            (tmp_path / "lists" / f"{label}.txt").write_text("".join(lines))

        for label in ("grass", "rose"):
            list_pictures(label)
        (tmp_path / "lists" / "dandelion.txt").write_text(f"http://127.0.0.1:{port}/none.jpg\n")
        failed = run(both, workers=2)
        assert failed.status == 30 and "404" in failed.output, failed.output
        assert two.is_set() and {*failed.ran} == {f"DownloadImages({label})" for label in CLASSES}

        list_pictures("dandelion")
        mended = run(both, workers=2)
        assert mended.status == 0 and {*mended.ran} == {"DownloadImages(dandelion)", "SplitDataset"}
        assert run(one, workers=1).status == 0
    assert made(both) == made(one)


@contextlib.contextmanager
def holding_back(folder: Path) -> Iterator[tuple[int, list[str], dict[str, Any]]]:
    """A server of the pictures in a folder, that lists what it has answered, and what it does: `held` holds back those
    that `answers` does not let through, until it is set."""
    answered: list[str] = []
    how: dict[str, Any] = {"answers": lambda path: True, "held": threading.Event()}

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(folder))

        def do_GET(self) -> None:
            if not how["answers"](self.path) and not how["held"].wait(20):
                self.send_error(410, "held back for too long")
                return
            answered.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Who asked was killed."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port, answered, how
        how["held"].set()
        server.shutdown()


def test_parts_of_a_list_are_fetched_side_by_side_and_what_a_killed_one_has_fetched_is_not_fetched_again(
    tmp_path: Path,
) -> None:
    draw(tmp_path / "pictures", {"grass": 40})
    (tmp_path / "lists").mkdir()
    with holding_back(tmp_path / "pictures") as (port, answered, how):
        addresses = [f"http://127.0.0.1:{port}/grass/{number}.jpg" for number in range(40)]
        (tmp_path / "lists" / "grass.txt").write_text("\n".join(addresses))
        part_of = {f"/{url.split('/', 3)[3]}": listing.part_of(url.encode(), 4) for url in addresses}
        options = (*FROM_HERE, "--folder", str(tmp_path / "lists"))
        pipeline, whole = (Pipeline(tmp_path / name, *options) for name in ("parts", "whole"))
        spool = pipeline.root / "collected" / "grass" / ".fetched"
        parts = ("--label=grass", "--shard-size=10")

        few = itertools.count()
        how["answers"] = lambda path: next(few) < 3
        killed = pipeline.start(*parts, stage="DownloadImages")
        deadline = time.monotonic() + 60
        while len([*spool.glob("[0-9a-f]*")]) < 3:
            assert killed.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        assert len(answered) == 3

        asked, two = set[int](), threading.Event()

        def when_two_parts_ask(path: str) -> bool:
            asked.add(part_of[path])
            if len(asked) >= 2:
                two.set()
            return two.wait(20)

        how["answers"] = when_two_parts_ask
        run = pipeline.run("--workers=2", *parts, stage="DownloadImages")
        assert run.status == 0 and len(run.ran) == 5, run.output
        assert len(asked) == 4 and sorted(answered) == sorted(part_of)

        assert whole.run("--label=grass", stage="DownloadImages").status == 0
    one, other = (
        [
            vars(row) | {"fetched": None}
            for row in read_jsonl(each.newest_output("DownloadImages(grass)") / "manifest.jsonl", PictureRow)
        ]
        for each in (pipeline, whole)
    )
    assert one == other and len(one) == 40
    assert not [*spool.iterdir()]
