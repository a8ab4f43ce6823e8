"""`greenr predict` with real processes: what the page says, whatever lies there, and whatever ends it."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from greenr_luigi import cli
from greenr_luigi.errors import GreenrError
from greenr_luigi.prediction import journal, workers
from greenr_luigi.prediction.inputs import Input
from greenr_luigi.prediction.predict import Prediction
from greenr_luigi.prediction.workers import Workers
from greenr_luigi.serving import rollout
from greenr_luigi.staleness import data_root
from greenr_luigi.text import networks
from greenr_luigi.web import app
from greenr_luigi.web.settings import Settings
from tests import tiny_release
from tests.pictures.test_door import encoded
from tests.serving.looking import until
from tests.started import is_alive, started

pytestmark = pytest.mark.slow

COLOURS = ("yellow", "green", "blue", "grey", tiny_release.STRANGE)


class Site:
    """Serves one picture; whoever asks waits until `go` is set, and `asked` tells that somebody does."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.on_asked: Callable[[], object] = lambda: None
        self.url = ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    here = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.set()
            here.on_asked()
            here.go.wait(60)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(tiny_release.picture("green"))

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("GREENR_FETCH_ALLOW", "127.0.0.0/8")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # Who asked has been killed.
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        here.url = f"http://127.0.0.1:{server.server_port}/x.jpg"
        yield here
        here.go.set()
        server.shutdown()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    data_root.mark(tmp_path / "data")
    tiny_release.deploy(tmp_path / "data" / "releases")
    return tmp_path / "data"


def predicting(root: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    """Of the pictures that the file `list` names."""
    command = [sys.executable, "-m", "greenr_luigi.cli", "predict", "list", "--jsonl", "--root", str(root)]
    return started(command, stderr=subprocess.PIPE)


def read_to_end(process: subprocess.Popen[str]) -> tuple[list[dict[str, Any]], str]:
    out, said = process.communicate()
    assert "Traceback" not in said
    return [json.loads(line) for line in out.splitlines()], said


def fill(folder: Path, count: int, colour: str) -> list[str]:
    """Pictures of one size in bytes, and of one time, whatever their colour."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        path = folder / f"{number:03}.bmp"
        path.write_bytes(tiny_release.picture(colour, kind="BMP"))
        os.utime(path, ns=(0, 0))
    return [f"{folder.name}/{number:03}.bmp" for number in range(count)]


def test_what_the_page_answers_for_the_same_bytes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("pictures")
    folder.mkdir()
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"):
        for colour in COLOURS:
            (folder / f"{kind}{colour}").write_bytes(tiny_release.picture(colour, kind=kind))
    (folder / "turned.jpg").write_bytes(
        encoded(Image.effect_noise((64, 48), 90).convert("RGB"), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    )
    (folder / "cut.jpg").write_bytes(tiny_release.picture(side=300)[:-400])
    (folder / "text.jpg").write_text("<html>")
    (folder / "empty.png").touch()
    (folder / "small.png").write_bytes(tiny_release.picture(side=8, kind="PNG"))
    Image.new("1", (30_000, 6_000)).save(folder / "bomb.png")
    (folder / "sparse.jpg").touch()
    os.truncate(folder / "sparse.jpg", 1 << 40)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dead.jpg").symlink_to("nowhere")
    assert cli.main(["predict", "pictures", "--jsonl", "--root", str(root)]) == 0
    rows = {Path(row["path"]).name: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert set(rows) == {path.name for path in folder.iterdir()}
    for name in ("pipe.jpg", "dead.jpg"):
        assert rows.pop(name)["reason"] == "unreadable"
    assert rows["sparse.jpg"]["reason"] == "picture-format"
    del rows["sparse.jpg"]
    with TestClient(app.create(Settings(root / "releases")), base_url="http://localhost") as client:
        for name, row in rows.items():
            answer = client.post("/api/predict", files={"file": (name, (folder / name).read_bytes())}).json()
            if "error" in answer:
                assert (row["reason"], row["message"]) == (
                    answer["error"]["code"],
                    answer["error"]["message"],
                )
                assert row["answer"] is row["probability"] is row["probabilities"] is None
            else:
                assert row["probabilities"] == answer["probabilities"] and row["release"] == answer["release"]
                assert row["answer"] == (answer["label"] if answer["sure"] else None)
                assert row["probability"] == answer["probabilities"][answer["label"]]
                assert (row["reason"] == "unfamiliar") == (not answer["familiar"])
    reasons = {row["reason"] for row in rows.values()}
    assert reasons >= {None, "unsure", "unfamiliar", "picture-broken", "picture-format", "picture-too-small"}


def test_killed_at_60_percent_the_next_run_does_only_the_rest(root: Path, site: Site) -> None:
    names = fill(Path("pictures"), 20, "yellow")
    Path("list").write_text("\n".join([*names[:12], site.url, *names[12:]]))
    with predicting(root) as first:
        assert first.stdout
        before = [json.loads(first.stdout.readline()) for _ in range(12)]
        assert site.asked.wait(60)
        first.kill()
    assert {row["answer"] for row in before} == {"dandelion"}
    # What is asked again is another picture by now, and nothing tells.
    fill(Path("pictures"), 20, "green")
    site.go.set()
    with predicting(root) as second:
        rows, said = read_to_end(second)
    assert rows[:12] == before
    assert [row["path"] for row in rows] == [*names[:12], site.url, *names[12:]]
    assert {row["answer"] for row in rows[12:]} == {"grass"}
    assert "21 pictures (12 dandelion, 9 grass), 12 of them found before" in said
    assert not journal.left(root)


def children(process: subprocess.Popen[str]) -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_is_ended_it_is_quiet_leaves_no_process_and_keeps_what_is_done(
    number: int, root: Path, site: Site
) -> None:
    names = fill(Path("pictures"), 3, "yellow")
    Path("list").write_text("\n".join([*names, site.url]))
    with predicting(root) as process:
        assert process.stdout
        for _ in names:
            process.stdout.readline()
        assert site.asked.wait(60)
        working = children(process)
        assert working
        process.send_signal(number)
        rest, said = process.communicate()
    assert rest == ""
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert said.endswith("ended at 3 of 4: the same command goes on from there\n")
    else:
        assert process.returncode == -number
    assert "Traceback" not in said
    (kept,) = journal.left(root)
    assert kept.read_text().count('"dandelion","prob') == 3
    until(lambda: not any(map(is_alive, working)))


def test_a_release_that_comes_meanwhile_is_for_the_next_run(root: Path, site: Site) -> None:
    store = root / "releases"
    serving = rollout.current(store)
    names = fill(Path("pictures"), 40, "yellow")
    Path("list").write_text("\n".join([site.url, *names]))
    with predicting(root) as process:
        assert site.asked.wait(60)
        other = tiny_release.deploy(store, 1)
        site.go.set()
        rows, _ = read_to_end(process)
    assert {row["release"] for row in rows} == {serving}
    with predicting(root) as process:
        rows, _ = read_to_end(process)
    assert {row["release"] for row in rows} == {other}


def asked(root: Path, site: Site, files: list[str]) -> tuple[Workers, list[tuple[Input, None]]]:
    settings = Settings(root / "releases", fetch_allow=networks("127.0.0.0/8"))
    digest = rollout.current(root / "releases")
    assert digest
    return Workers(settings, digest, 1), [(Input(file, file), None) for file in files]


def test_a_picture_that_its_process_dies_of_costs_no_other_one(root: Path, site: Site) -> None:
    names = fill(Path("pictures"), 4, "yellow")
    made, inputs = asked(root, site, [*names[:2], site.url, *names[2:]])
    deaths: list[int] = []

    def kill() -> None:
        deaths.append(made.workers[0].process.pid)
        made.workers[0].process.kill()

    site.on_asked = kill
    with made:
        found = [one.row for one in made.answers(inputs)]
    assert [row.answer for row in found] == ["dandelion", "dandelion", None, "dandelion", "dandelion"]
    assert found[2].reason == "crashed" and found[2].message == (
        "it ended the process that read it, twice: save it anew"
    )
    assert len(set(deaths)) == 2, "once may be chance"


def test_a_picture_that_takes_for_ever_is_given_up(
    root: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = fill(Path("pictures"), 1, "yellow")
    made, inputs = asked(root, site, [name, site.url])
    with made:
        answers = made.answers(inputs)
        assert next(answers).row.answer == "dandelion"
        monkeypatch.setattr(workers, "SECONDS", 0.5)
        assert [one.row.reason for one in answers] == ["too-slow"]


def test_a_release_that_cannot_be_loaded_ends_it_with_the_reason(root: Path) -> None:
    (name,) = fill(Path("pictures"), 1, "yellow")
    made = Workers(Settings(root / "releases"), "0" * 16, 2)
    with made, pytest.raises(GreenrError, match=f"release {'0' * 16} cannot answer: no release"):
        list(made.answers([(Input(name, name), None)]))


def test_a_table_of_a_folder_and_nothing_in_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pictures").mkdir()
    command = ["predict", "pictures", "--csv", "--root", str(root)]
    assert cli.main(command) == 0
    header = ["path", "answer", "probability", "reason", "message", "release"]
    header += [f"probability:{label}" for label in tiny_release.CLASSES]
    assert [*csv.reader(io.StringIO(capsys.readouterr().out))] == [header]
    fill(Path("pictures"), 3, "yellow")
    assert cli.main(command) == 0
    out, said = capsys.readouterr()
    assert next(csv.reader(io.StringIO(out))) == header and out.count(",dandelion,") == 3
    assert said.startswith("3 pictures (3 dandelion) in ")


def test_no_more_pictures_are_taken_than_are_asked_soon(root: Path) -> None:
    """So memory does not grow with their number; without a process, as all are known."""
    taken = 0

    def coming() -> Iterator[tuple[Input, Any]]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield Input(f"{number}", f"{number}"), number

    with Workers(Settings(root / "releases"), "0" * 16, 2) as made:
        for number, found in enumerate(made.answers(coming())):
            assert found == number  # type: ignore[comparison-overlap]
            assert taken <= number + 2 * workers.WINDOW + 2
    assert not made.workers


def test_what_is_taken_over_counts_as_it_is_printed(root: Path) -> None:
    """And not as it is read ahead: the pace and the time left of the first rows were below 0."""
    fill(Path("pictures"), 30, "yellow")
    settings = Settings(root / "releases")

    def fail(words: str) -> None:
        raise AssertionError(words)

    for begin in (0, 20):
        made = Prediction(root, Path("pictures"), settings, None, fail)
        assert made.total == 30
        rows = made.rows()
        for number in range(1, 21 + begin // 2):
            next(rows)
            assert made.taken == min(number, begin)
        rows.close()


def test_no_library_for_training_is_loaded() -> None:
    code = (
        "import sys, greenr_luigi.operations.predict, greenr_luigi.prediction.worker\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "fastai", "scipy", "onnx", "sklearn", "pandas"} & {*done.stdout.split()}
