"""Going through doubtful pictures in a real browser, and what becomes of the decisions."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from starlette.testclient import TestClient

from greenr_luigi.contracts import ContractError
from greenr_luigi.dataset import curation, decisions, rows
from greenr_luigi.evaluation import label_issues
from greenr_luigi.pictures import door, manifest
from greenr_luigi.review import cases
from greenr_luigi.review.page import create
from greenr_luigi.serving import feedback_store
from tests import tiny_release
from tests.pictures.test_door import drawn, encoded
from tests.pipeline import Pipeline
from tests.sources.conftest import picture
from tests.web import browser

pytestmark = pytest.mark.slow

COLOURS = {"dandelion": ("gold", "orange", "yellow"), "grass": ("green",)}
SHOTS = os.environ.get("GREENR_TEST_SHOTS")


class Place:
    """A data root with what visitors said, and with the outputs of two stages beside it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.dataset, self.evaluation = folder / "data", folder / "dataset", folder / "evaluation"
        self.root.mkdir()
        self.evaluation.mkdir()
        self.sha: dict[str, str] = {}
        found = []
        for label, colours in COLOURS.items():
            for colour in colours:
                data = tiny_release.picture(colour, 320)
                self.sha[colour] = door.sha256(data)
                file = self.dataset / "train" / label / f"{self.sha[colour][:16]}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                other = "grass" if label == "dandelion" else "dandelion"
                found.append(label_issues.LabelIssue(str(file.relative_to(self.dataset)), label, other, 0.2))
        label_issues.write_label_issues(self.evaluation, found)
        for colour, label in (("lime", "grass"), ("red", "")):
            data = tiny_release.picture(colour, 320)
            self.sha[colour] = door.sha256(data)
            feedback_store.keep(self.root / "feedback", data, label, "dandelion", "0" * 16)

    def waiting(self) -> list[cases.Case]:
        return cases.undecided(self.root, self.dataset, self.evaluation)

    def curation(self) -> decisions.Curation:
        return decisions.read_curation(self.root / decisions.FILE)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def address(place: Place) -> Iterator[str]:
    """The page, served by a process of its own."""
    with served(place) as address:
        yield address


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Such a page for the tests that decide nothing."""
    with served(Place(tmp_path_factory.mktemp("unchanged"))) as address:
        yield address


@contextlib.contextmanager
def served(place: Place) -> Iterator[str]:
    code = (
        "import sys; from pathlib import Path; from greenr_luigi.review import cases, page\n"
        "r, d, e = map(Path, sys.argv[1:])\n"
        "page.serve(cases.Review(r, cases.undecided(r, d, e), ['dandelion', 'grass']), 0)"
    )
    command = [sys.executable, "-u", "-c", code, *map(str, (place.root, place.dataset, place.evaluation))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        yield found[0]
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert "the next run takes it in: luigi --module tasks DeployApp --local-scheduler" in said


@pytest.fixture(scope="module")
def chrome() -> Iterator[webdriver.Chrome]:
    with browser.chromium() as driver:
        yield driver


def title(driver: webdriver.Chrome, words: str) -> None:
    WebDriverWait(driver, 60).until(lambda d: words in d.title, words)


def press(driver: webdriver.Chrome, key: str, then: str) -> None:
    driver.find_element(By.TAG_NAME, "body").send_keys(key)
    title(driver, then)


def test_only_the_picture_that_was_listed_is_shown_and_kept(place: Place, tmp_path: Path) -> None:
    """Whoever may write there puts another one in its place, or a link, or names one elsewhere."""
    mine = tmp_path / "mine.jpg"
    mine.write_bytes(tiny_release.picture("blue", 320))
    issue = label_issues.LabelIssue("../mine.jpg", "grass", "dandelion", 0.1)
    review = cases.Review(place.root, place.waiting(), ["dandelion", "grass"])
    page = TestClient(create(review, "t"), "http://127.0.0.1")
    assert page.get("/t/picture/0").status_code == 200
    first = review.cases[0].path
    first.unlink()
    first.symlink_to(mine)
    assert page.get("/t/picture/0").status_code == 404
    with pytest.raises(decisions.CurationError, match="no longer the picture that was listed"):
        review.decide(0, "=dandelion")
    assert not (place.root / "added").exists()
    assert len(place.waiting()) == len(review.cases) - 1
    label_issues.write_label_issues(place.evaluation, [issue])
    with pytest.raises(ContractError, match="line 2"):
        place.waiting()


def test_a_picture_that_no_browser_shows_is_shown_as_a_jpeg(tmp_path: Path) -> None:
    data = encoded(drawn(), "TIFF")
    (tmp_path / "one.tiff").write_bytes(data)
    case = cases.Case(tmp_path / "one.tiff", door.sha256(data), "grass", "dandelion", 0.1)
    review = cases.Review(tmp_path, [case], ["dandelion", "grass"])
    shown = TestClient(create(review, "t"), "http://127.0.0.1").get("/t/picture/0")
    assert shown.headers["content-type"] == "image/jpeg" and shown.content.startswith(b"\xff\xd8\xff")
    assert Image.open(io.BytesIO(shown.content)).size == (96, 64)


def test_keys_decide_and_take_back(place: Place, address: str, chrome: webdriver.Chrome) -> None:
    cases = place.waiting()
    assert [case.sha256 for case in cases] == [
        place.sha[colour] for colour in ("lime", "red", "gold", "orange", "yellow", "green")
    ]
    chrome.get(address)
    title(chrome, "1 of 6: is this grass?")
    press(chrome, "k", "2 of 6: what is this?")
    assert [path.read_bytes() for path in decisions.added_files(place.root, "grass")] == [
        tiny_release.picture("lime", 320)
    ]
    press(chrome, "k", "2 of 6")  # There is nothing to keep where a visitor named no class.
    press(chrome, "x", "3 of 6: is this dandelion?")
    press(chrome, "m", "4 of 6")
    press(chrome, Keys.ARROW_LEFT, "3 of 6")
    assert "You said: grass" in chrome.find_element(By.CSS_SELECTOR, ".why").text
    press(chrome, Keys.ARROW_RIGHT, "4 of 6")
    press(chrome, Keys.DELETE, "5 of 6")
    press(chrome, "k", "6 of 6: is this grass?")
    press(chrome, "K", "All looked through")
    found = place.curation()
    assert found.rejected == {place.sha["red"], place.sha["orange"]}
    assert found.relabelled == {place.sha["gold"]: "grass"}
    assert place.waiting() == []

    press(chrome, "u", "6 of 6")
    assert [case.sha256 for case in place.waiting()] == [place.sha["green"]]
    for at in range(5, 0, -1):
        press(chrome, "u", f"{at} of 6")
    assert len(place.waiting()) == 6 and place.curation() == decisions.Curation()
    assert decisions.added_files(place.root, "grass") == []


def test_buttons_do_without_a_script(place: Place, address: str) -> None:
    with browser.chromium(390, 800, javascript=False) as phone:
        phone.get(address)
        phone.find_element(By.CSS_SELECTOR, "button[value='=dandelion']").click()
        title(phone, "2 of 6")
        assert phone.execute_script("return document.documentElement.scrollWidth") <= 390
    assert len(decisions.added_files(place.root, "dandelion")) == 1


def test_everybody_can_use_it(unchanged: str, chrome: webdriver.Chrome, tmp_path: Path) -> None:
    axe = browser.axe(tmp_path)
    for width, scheme in ((1200, "light"), (390, "dark")):
        browser.resize(chrome, width, 900)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        for at in (0, 2, 6):
            chrome.get(f"{unchanged}?at={at}")
            # The policy forbids what a page would inject; this comes from outside the page.
            chrome.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
            found = chrome.execute_async_script("axe.run().then(r => arguments[0](r.violations))")
            assert not found, json.dumps(found, indent=1)
            if SHOTS:
                chrome.save_screenshot(str(Path(SHOTS) / f"review {at} {width}.png"))
    assert not [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


def test_only_its_own_page_decides(place: Place, address: str) -> None:
    page = urllib.parse.urlsplit(address)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers, verdict, status in (
        ({}, "reject", 403),
        ({"Sec-Fetch-Site": "cross-site"}, "reject", 403),
        ({"Sec-Fetch-Site": "same-origin", "Host": "evil.example"}, "reject", 400),
        ({"Sec-Fetch-Site": "same-origin"}, "=daisy", 400),
        ({"Sec-Fetch-Site": "same-origin"}, "", 400),
        ({"Sec-Fetch-Site": "same-origin"}, "reject", 303),
    ):
        connection = http.client.HTTPConnection(page.netloc, timeout=20)
        body = urllib.parse.urlencode({"at": "0", "verdict": verdict})
        connection.request("POST", f"{page.path}decide", body, form | headers)
        with contextlib.closing(connection):
            assert connection.getresponse().status == status, (headers, verdict)
        assert (place.root / decisions.FILE).exists() == (status == 303), (headers, verdict)


@pytest.mark.parametrize(
    "path", ["?at=7", "?at=-1", "?at=x", f"?at={'9' * 5000}", "picture/6", "picture/../../etc/passwd"]
)
def test_what_is_not_there(unchanged: str, path: str) -> None:
    page = urllib.parse.urlsplit(unchanged)
    assert get(page.netloc, page.path + path) == 404


@pytest.mark.parametrize("path", ["", "decide", "picture/0", "static/app.css"])
def test_who_does_not_know_the_address_sees_nothing(unchanged: str, path: str) -> None:
    """The token, 128 bits of chance, is in the address that the terminal shows."""
    page = urllib.parse.urlsplit(unchanged)
    token = page.path.strip("/")
    assert len(token) == 22 and get(page.netloc, page.path) == 200
    for other in ("", "A" * 22 + "/", token[:-1] + "/", "static/../"):
        assert get(page.netloc, f"/{other}{path}") == 404


def get(host: str, path: str) -> int:
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("GET", path)
    with contextlib.closing(connection):
        return connection.getresponse().status


def test_undo_leaves_what_a_person_had_added_themselves(place: Place) -> None:
    """By hand, without a line in curation.csv, and by `greenr add` while the page was open."""
    review = cases.Review(place.root, place.waiting(), ["dandelion", "grass"])
    lime, red = review.cases[:2]
    by_hand = place.root / "added" / "grass" / f"{lime.sha256[:16]}{lime.path.suffix}"
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(lime.path.read_bytes())
    by_command = curation.add(place.root, "grass", red.path).copy

    def theirs() -> list[tuple[bytes, int, int]]:
        stats = [(path, path.stat()) for path in (by_hand, by_command)]
        return [(path.read_bytes(), stat.st_ino, stat.st_mtime_ns) for path, stat in stats]

    before = theirs()
    curated = (place.root / decisions.FILE).read_bytes()
    for verdicts in (("keep", "=grass"), ("=dandelion", "=dandelion"), ("reject", "reject")):
        for number, verdict in enumerate(verdicts):
            review.decide(number, verdict)
        assert (place.root / decisions.FILE).read_bytes() != curated
        for number in (1, 0):
            review.take_back(number)
        assert theirs() == before
        assert decisions.added_files(place.root, "grass") == sorted([by_hand, by_command])
        assert decisions.added_files(place.root, "dandelion") == []
        assert (place.root / decisions.FILE).read_bytes() == curated


def test_undo_leaves_what_a_person_added_since(place: Place) -> None:
    review = cases.Review(place.root, place.waiting(), ["dandelion", "grass"])
    lime = review.cases[0]
    review.decide(0, "keep")
    copy = curation.add(place.root, "grass", lime.path, "mine").copy
    said = (place.root / decisions.FILE).read_text().splitlines()
    review.take_back(0)
    assert copy.read_bytes() == lime.path.read_bytes()
    assert (place.root / decisions.FILE).read_text().splitlines() == [said[0], said[2]]
    review.decide(0, "=dandelion")
    assert decisions.added_files(place.root, "dandelion")
    review.take_back(0)
    assert decisions.added_files(place.root, "dandelion") == [] and copy.exists()


def test_undo_leaves_a_line_that_a_person_made_a_comment_of(place: Place) -> None:
    review = cases.Review(place.root, place.waiting(), ["dandelion", "grass"])
    path = place.root / decisions.FILE
    review.decide(1, "reject")
    curation.reject(place.root, [review.cases[2].path])
    header, first, second = path.read_text().splitlines()
    edited = f"{header}\n# {first}\n{second}\n"
    path.write_text(edited)
    review.take_back(1)
    assert path.read_text() == edited


@pytest.mark.parametrize("colour", ["lime", "gold"])
def test_an_earlier_verdict_stays_where_a_later_one_cannot_be_taken(place: Place, colour: str) -> None:
    """A visitor's picture, and one of the data set."""
    waiting = place.waiting()
    walk = cases.Review(place.root, waiting, ["dandelion", "grass"])
    at = next(n for n, case in enumerate(waiting) if case.sha256 == place.sha[colour])
    data = waiting[at].path.read_bytes()
    walk.decide(at, "keep")
    lines, before = (place.root / decisions.FILE).read_bytes(), dict(walk.decided)
    waiting[at].path.write_bytes(b"another")
    for verdict in ("reject", "=dandelion", "=grass"):
        with pytest.raises(decisions.CurationError, match="is no longer the picture"):
            walk.decide(at, verdict)
    assert (place.root / decisions.FILE).read_bytes() == lines and walk.decided == before
    waiting[at].path.write_bytes(data)
    (place.root / decisions.FILE).write_bytes(lines + b"reject\n")
    with pytest.raises(decisions.CurationError, match="cells in 'reject'"):
        walk.decide(at, "reject")
    assert (place.root / decisions.FILE).read_bytes() == lines + b"reject\n" and walk.decided == before


def test_a_verdict_said_twice_is_taken_back_at_once(place: Place) -> None:
    waiting = place.waiting()
    walk = cases.Review(place.root, waiting, ["dandelion", "grass"])
    at = next(n for n, case in enumerate(waiting) if case.sha256 == place.sha["lime"])
    for verdict in ("keep", "keep", "=dandelion", "=dandelion"):
        walk.decide(at, verdict)
        assert [path.parent.name for path in place.root.glob("added/*/*")] == [
            "grass" if verdict == "keep" else "dandelion"
        ]
    walk.take_back(at)
    assert not [*place.root.glob("added/*/*")] and place.curation() == decisions.Curation()


def test_undo_leaves_lines_that_came_after_or_were_edited(place: Place) -> None:
    review = cases.Review(place.root, place.waiting(), ["dandelion", "grass"])
    path = place.root / decisions.FILE
    path.write_text(f"action,sha256\nreject,{'a' * 64}\n")
    review.decide(1, "reject")
    curation.reject(place.root, [place.waiting()[0].path])
    review.take_back(1)
    assert place.curation().rejected == {"a" * 64, review.cases[0].sha256}
    review.decide(1, "reject")
    edited = path.read_text().replace("reject", "REJECT")
    path.write_text(edited)
    review.take_back(1)
    assert path.read_text() == edited
    path.unlink()
    review.decide(2, "reject")
    path.unlink()
    review.take_back(2)
    assert not path.exists()


def test_a_picture_by_the_name_of_another_is_not_written_over(place: Place) -> None:
    review = cases.Review(place.root, place.waiting(), ["dandelion", "grass"])
    other = place.root / "added" / "grass" / f"{review.cases[0].sha256[:16]}{review.cases[0].path.suffix}"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    with pytest.raises(
        decisions.CurationError, match="is another picture, by the name that this one would get"
    ):
        review.decide(0, "keep")
    assert other.read_text() == "mine" and not (place.root / decisions.FILE).exists()


def test_why_nothing_can_be_decided_is_said(place: Place, address: str) -> None:
    (place.root / decisions.FILE).write_text("nonsense\n")
    page = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(page.netloc, timeout=20)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    connection.request("POST", f"{page.path}decide", "at=0&verdict=reject", headers)
    with contextlib.closing(connection):
        answer = connection.getresponse()
        assert (answer.status, b"line 1: 1 cells in" in answer.read()) == (409, True)
    (place.root / decisions.FILE).unlink()


def test_what_is_torn_or_gone_is_not_asked_about(place: Place) -> None:
    log = place.root / "feedback" / "feedback.jsonl"
    log.write_text(log.read_text() + '{"file": "grass/a.jpg", "la')
    next((place.dataset / "train" / "grass").iterdir()).unlink()
    assert [case.sha256 for case in place.waiting()] == [
        place.sha[colour] for colour in ("lime", "red", "gold", "orange", "yellow")
    ]


def test_what_visitors_said_teaches_once_a_person_kept_it(tmp_path: Path) -> None:
    """From a visitor's word, through the review, to the data set of the source `feedback`."""
    pipeline = Pipeline(tmp_path, "--source", "feedback", "--classes", "grass,was?")
    for number in range(26):
        label = ("grass", "was?")[number % 2]
        feedback_store.keep(pipeline.root / "feedback", picture(number), label, "grass", "0" * 16)
    walk = cases.Review(pipeline.root, cases.undecided(pipeline.root, None, None), ["grass", "was?"])
    assert len(walk.cases) == 26
    for at in range(2, 26):
        walk.decide(at, "keep" if at > 2 else "=was?")
    walk.decide(25, "reject")
    kept = {case.sha256: case.label for case in walk.cases[3:25]} | {walk.cases[2].sha256: "was?"}
    cases.remove_decided_feedback(pipeline.root)
    left = feedback_store.read(pipeline.root / "feedback")
    assert [row.sha256 for row in left] == [case.sha256 for case in walk.cases[:2]]

    run = pipeline.run(stage="SplitDataset")
    assert run.status == 0, run.output
    split = pipeline.newest_output("SplitDataset")
    taken = manifest.read_csv(split / "manifest.csv", rows.SplitRow)
    out = manifest.read_csv(split / "excluded.csv", rows.Excluded)
    assert {"duplicate", "rejected"}.isdisjoint(row.reason for row in out)
    assert {row.sha256: row.label for row in [*taken, *out]} == kept
    assert pipeline.causes(stage="SplitDataset") == {}
    walk.decide(0, "keep")
    stale = pipeline.causes(stage="SplitDataset")
    assert list(stale) == ["DownloadImages(grass)", "SplitDataset"]
    assert "kept as grass" in stale["DownloadImages(grass)"] and "grass" in stale["SplitDataset"]
