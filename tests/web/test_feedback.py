"""Feedback: off by default, from its own page only, bounded, and kept where the pipeline looks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests

from greenr_luigi.serving import feedback_store, server
from greenr_luigi.web import feedback
from greenr_luigi.web.feedback import Feedback
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.settings import Settings
from tests import tiny_release
from tests.web.conftest import Live


@pytest.fixture(scope="module")
def feedback_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("feedback on")
    digest = tiny_release.deploy(root / "releases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENR_FEEDBACK", "1")
        running = tiny_release.serve(root, digest, workers=1)
    found = Live(running, root)
    yield found
    found.session.close()
    server.stop(root / "server")


def give(live: Live, data: bytes, label: str, **headers: str) -> requests.Response:
    own = headers or {"Origin": live.url}
    return live.post(
        "/feedback", files={"file": data}, data={"label": label, "predicted": "grass"}, headers=own
    )


def test_a_verdict_is_kept_once_with_its_line(feedback_on: Live) -> None:
    data = tiny_release.picture("yellow", 100, "PNG")
    kept = give(feedback_on, data, "dandelion")
    assert kept.status_code == 200
    again = give(feedback_on, data, "dandelion", **{"Sec-Fetch-Site": "same-origin"})
    assert again.json() == kept.json()
    folder = feedback_on.root / "feedback"
    assert (folder / kept.json()["kept"]).read_bytes() == data
    rows = [json.loads(line) for line in (folder / "feedback.jsonl").read_text().splitlines()]
    said = [(row["label"], row["release"]) for row in rows if row["file"] == kept.json()["kept"]]
    assert said == [("dandelion", feedback_on.server.digest)] * 2
    strange = tiny_release.CLASSES[2]
    name = give(feedback_on, data, strange).json()["kept"]
    assert name.startswith("pissenlit <b>é<%2Fb>/") and (folder / name).exists()
    assert give(feedback_on, data, "").json()["kept"].startswith("%none/")


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
     {"Origin": "null"}, {"X-Nothing": "1"}, {"Origin": "http://["}],
)  # fmt: skip
def test_other_pages_are_not_heard(feedback_on: Live, headers: dict[str, str]) -> None:
    response = give(feedback_on, tiny_release.picture(), "grass", **headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "foreign")


def test_what_is_no_label_or_no_picture(feedback_on: Live) -> None:
    assert give(feedback_on, tiny_release.picture(), "../../etc").json()["error"]["code"] == "no-label"
    assert give(feedback_on, b"none", "grass").json()["error"]["code"] == "picture-format"


def settings(tmp_path: object) -> Settings:
    return Settings(store=tmp_path / "releases", feedback=True)  # type: ignore[operator]


def test_a_visitor_may_say_only_so_much(tmp_path: object) -> None:
    kept_feedback = Feedback(settings(tmp_path))
    for _ in range(feedback.PER_VISITOR):
        kept_feedback.admit("a")
    with pytest.raises(Problem) as found:
        kept_feedback.admit("a")
    assert found.value.status == 429
    kept_feedback.admit("b")


def test_many_visitors_may_say_only_so_much(tmp_path: object) -> None:
    """Who has many addresses is many visitors."""
    kept_feedback = Feedback(settings(tmp_path))
    for number in range(feedback.PER_WORKER):
        kept_feedback.admit(f"2001:db8::{number:x}")
    with pytest.raises(Problem) as found:
        kept_feedback.admit("another")
    assert found.value.code == "too-often"


def test_what_was_predicted_is_one_of_the_classes_or_nothing(feedback_on: Live) -> None:
    data = tiny_release.picture("lime", 99, "PNG")
    form = {"label": "grass", "predicted": "daisy"}
    kept = feedback_on.post("/feedback", files={"file": data}, data=form, headers={"Origin": feedback_on.url})
    assert kept.status_code == 200
    assert feedback_store.read(feedback_on.root / "feedback")[-1].predicted == ""


def test_there_is_only_so_much_room(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_store, "MOST_BYTES", 1000)
    kept_feedback = Feedback(settings(tmp_path))
    kept_feedback.keep(tiny_release.picture("yellow"), "grass", "", "")
    with pytest.raises(Problem) as found:
        kept_feedback.keep(tiny_release.picture("green"), "grass", "", "")
    assert found.value.code == "feedback-full"
