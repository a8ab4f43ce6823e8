"""Several workers on one machine: `luigi --workers 2`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from greenr_luigi.pictures.manifest import PictureRow, read_jsonl
from greenr_luigi.staleness import traces
from tests.pipeline import Pipeline, Run, draw

pytestmark = pytest.mark.slow

CLASSES = ("dandelion", "grass", "rose")


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
        options = ("--source", "urls", "--folder", str(tmp_path / "lists"), "--allow-networks", "127.0.0.0/8")
        one, both = (Pipeline(tmp_path / name, *options) for name in ("one", "both"))

        def list_pictures(label: str) -> None:
            lines = [f"http://127.0.0.1:{port}/{label}/{number}.jpg\n" for number in range(12)]
            (tmp_path / "lists" / f"{label}.txt").write_text("".join(lines))

        for label in ("grass", "rose"):
            list_pictures(label)
        failed = run(both, workers=2)
        assert failed.status == 30 and "no list for 'dandelion'" in failed.output, failed.output
        assert two.is_set() and {*failed.ran} == {f"DownloadImages({label})" for label in CLASSES}

        list_pictures("dandelion")
        mended = run(both, workers=2)
        assert mended.status == 0 and {*mended.ran} == {"DownloadImages(dandelion)", "SplitDataset"}
        assert run(one, workers=1).status == 0
    assert made(both) == made(one)
