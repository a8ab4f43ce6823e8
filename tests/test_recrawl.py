"""Collecting again: what the web still has, has anew, or has lost, and what a person has said of it meanwhile."""

import csv
import functools
import http.server
import shutil
import threading
from typing import ClassVar

import pytest

from tests.pipeline import Pipeline, drawings

pytestmark = pytest.mark.slow

BOTH = ["DownloadImages(dandelion)", "DownloadImages(grass)"]


class Handler(http.server.SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    #: Pictures are loaded many at a time; whose connection finds no place waits for seconds, and longer each time.
    request_queue_size = 128


@pytest.fixture
def web(tmp_path):
    folder = shutil.copytree(drawings(), tmp_path / "web")
    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    server.folder = folder
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pipeline(tmp_path, web):
    lists = tmp_path / "lists"
    lists.mkdir()
    for label, lost in (("dandelion", [99]), ("grass", [])):
        addresses = [f"http://127.0.0.1:{web.server_port}/{label}/{n}.jpg" for n in [*range(25), *lost]]
        (lists / f"{label}.txt").write_text("\n".join(addresses) + "\n")
    (tmp_path / "home").mkdir()
    source = ["--source", "urls", "--folder", str(lists), "--allow-networks", "127.0.0.1/32"]
    return Pipeline(tmp_path / "home", *source)


def collect(pipeline, *options):
    run = pipeline.run(*options, stage="SplitDataset")
    assert run.status == 0, run.output
    return run


def rows(pipeline):
    with (pipeline.newest_output("SplitDataset") / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_recrawl_keeps_adds_and_never_brings_back(pipeline, web, tmp_path):
    assert list(collect(pipeline).ran) == [*BOTH, "SplitDataset"]
    before = rows(pipeline)
    assert len(before) == 50

    # New code examines the pictures at hand, and asks nobody.
    Handler.asked.clear()
    with (pipeline.code / "greenr_luigi" / "pictures" / "examine.py").open("a") as file:
        file.write("\nVERSION = 2\n")
    causes = collect(pipeline).ran
    assert causes[BOTH[0]] == causes[BOTH[1]] == "code of greenr_luigi/pictures/examine.py changed"
    assert Handler.asked == [] and rows(pipeline) == before

    (web.folder / "grass" / "7.jpg").unlink()
    again = collect(pipeline, "--refresh-days", "0")
    assert list(again.ran) == BOTH and rows(pipeline) == before
    assert again.ran[BOTH[0]].startswith("collected 0 days ago, refresh_days is 0")
    assert "SplitDataset is up to date" in again.output
    assert Handler.asked == ["/dandelion/99.jpg"]

    with (tmp_path / "lists" / "grass.txt").open("a") as file:
        file.write(f"http://127.0.0.1:{web.server_port}/grass/27.jpg\n")
    added = collect(pipeline)
    assert added.ran["DownloadImages(grass)"] == "the list of addresses was edited"
    after = {row["sha256"]: row for row in rows(pipeline)}
    assert len(after) == 51
    assert {row["sha256"]: row["side"] for row in before}.items() <= {
        s: r["side"] for s, r in after.items()
    }.items()

    mine = tmp_path / "mine.jpg"
    mine.write_bytes((web.folder / "dandelion" / "29.jpg").read_bytes())
    rejected, relabelled = before[0], before[1]
    for words in (
        ["reject", rejected["sha256"]],
        ["relabel", "grass", relabelled["sha256"]],
        ["add", "dandelion", str(mine)],
    ):
        told = pipeline.greenr(*words)
        assert told.returncode == 0, told.stderr
    assert list(collect(pipeline).ran) == ["SplitDataset"]
    assert list(collect(pipeline, "--refresh-days", "0").ran) == BOTH
    after = {row["sha256"]: row for row in rows(pipeline)}
    assert rejected["sha256"] not in after
    assert after[relabelled["sha256"]]["label"] == "grass"

    assert len(after) == 51
    mine.unlink()
    pipeline.greenr("prune", "--keep", "1")
    assert len(list((pipeline.root / "added").rglob("*.jpg"))) == 1
    assert pipeline.greenr("restore", rejected["sha256"]).returncode == 0
    collect(pipeline)
    assert len(rows(pipeline)) == 52


def test_a_source_that_brings_too_little_says_what_came_and_what_to_try(pipeline, web):
    for number in range(25):
        (web.folder / "grass" / f"{number}.jpg").write_bytes(b"<html>not found</html>")
    run = pipeline.run(stage="SplitDataset")
    assert run.status == 30
    assert "brought no pictures of 'grass'" in run.output
    assert "25 format" in run.output
    assert "Add addresses to " in run.output
