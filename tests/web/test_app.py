"""The routes of the tutorial and of the JSON side, over real HTTP."""

from __future__ import annotations

import contextlib
import html
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from greenr_luigi.pictures import door, thumbnail
from greenr_luigi.pictures.door import open_picture
from greenr_luigi.web import app, model, model_page, pages
from greenr_luigi.web.settings import Settings
from tests import tiny_release
from tests.web.conftest import Live

YELLOW = {"file": ("a.jpg", tiny_release.picture("yellow"), "image/jpeg")}
GREEN = {"file": ("b.png", tiny_release.picture("green", kind="PNG"), "image/png")}


@contextlib.contextmanager
def inside(root: Path, *routes: Route, evaluated: bool = False, **settings: Any) -> Iterator[TestClient]:
    """The application in this process, so that a test may break it; `routes` come before its own."""
    tiny_release.deploy(root / "releases", evaluated=evaluated)
    made = app.create(Settings(store=root / "releases", **settings))
    made.router.routes[:0] = routes
    asked = {"base_url": "http://localhost", "follow_redirects": False}
    with TestClient(made, raise_server_exceptions=False, **asked) as client:
        yield client


@pytest.mark.slow
def test_an_answer_is_the_models_own_to_the_last_digit(tmp_path: Path) -> None:
    with inside(tmp_path) as client:
        told = client.post("/api/predict", files=YELLOW)
        batch = client.post("/api/predict-batch", files=YELLOW).json()["answers"]
    own = model.load(tmp_path / "releases", told.json()["release"]).answer(YELLOW["file"][1])
    assert told.headers["content-type"] == "application/json"
    assert told.json()["probabilities"] == own.probabilities and told.json()["label"] == own.label
    assert batch == [{"name": "a.jpg", **told.json()}]


@pytest.mark.slow
def test_the_web_process_loads_no_torch_fastai_luigi_or_pickled_model() -> None:
    code = (
        "import sys, json, greenr_luigi.serving.server, greenr_luigi.serving.releases\n"
        "from pathlib import Path\n"
        "from greenr_luigi.web import app, settings, worker, gunicorn_conf, model\n"
        "app.create(settings.Settings(store=Path('.')))\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {
        "torch",
        "torchvision",
        "fastai",
        "fastcore",
        "luigi",
        "timm",
        "pandas",
        "matplotlib",
    }


def test_predict_answers_every_class_sorted_by_number(live: Live) -> None:
    for picture, label in ((YELLOW, "dandelion"), (GREEN, "grass")):
        response = live.post("/api/predict", files=picture)
        body = response.json()
        assert response.status_code == 200, body
        assert body["label"] == label and body["sure"]
        assert body["release"] == live.server.digest
        assert set(body["probabilities"]) == set(tiny_release.CLASSES)
        values = list(body["probabilities"].values())
        assert values == sorted(values, reverse=True) and abs(sum(values) - 1) < 1e-5


def test_the_tutorials_routes(live: Live) -> None:
    for path in ("/", "/form"):
        page = live.get(path)
        assert page.status_code == 200 and 'action="/upload"' in page.text and 'name="file"' in page.text
    page = live.post("/upload", files=YELLOW)
    assert page.status_code == 200 and "dandelion" in page.text and "data:image/jpeg;base64," in page.text
    assert "pissenlit &lt;b&gt;é&lt;/b&gt;" in page.text and "<b>é" not in page.text
    hostile = '"><script>alert(1)</script>'
    page = live.post("/upload", files={"file": (hostile, b"no picture", "image/jpeg")})
    assert page.status_code == 415 and "<script>alert" not in page.text
    page = live.get("/classify-url", params={"url": f"http://127.0.0.1/{hostile}"})
    assert page.status_code == 400 and "<script>alert" not in page.text


def test_health(live: Live) -> None:
    assert live.get("/healthz").json() == {"alive": True}
    ready = live.get("/readyz")
    assert ready.status_code == 200 and ready.json()["release"] == live.server.digest
    assert {state["digest"] for state in ready.json()["workers"]} == {live.server.digest}


def test_refusals_are_typed(live: Live) -> None:
    cases = [
        (live.post("/api/predict"), 400, "no-picture"),
        (live.post("/api/predict", files={"other": b"x"}), 400, "no-picture"),
        (live.post("/api/predict", files={"file": b"not a picture"}), 415, "picture-format"),
        (live.post("/api/predict", files={"file": tiny_release.picture()[:300]}), 422, "picture-broken"),
        (live.post("/api/predict", files={"file": tiny_release.picture(side=8)}), 422, "picture-too-small"),
        (live.post("/api/predict", files={"file": b"0" * (22 * 2**20)}), 413, "upload-too-large"),
        (live.get("/api/predict"), 405, "method-not-allowed"),
        (live.get("/api/nothing"), 404, "not-found"),
    ]
    for response, status, code in cases:
        error = response.json()["error"]
        assert (response.status_code, error["status"], error["code"]) == (status, status, code)
        assert error["message"]
    page = live.get("/nothing")
    assert page.status_code == 404 and "text/html" in page.headers["content-type"]


def test_every_answer_carries_the_security_headers_and_its_id(live: Live) -> None:
    answers = [
        live.get("/"),
        live.get("/nothing"),
        live.get("/static/app.css"),
        live.post("/upload"),
        live.get("/healthz", headers={"X-Request-ID": "mine-1"}),
        live.get("/healthz", headers={"X-Request-ID": "not\tmine"}),
    ]
    for response in answers:
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "server" not in response.headers
        live.logged(f"{response.headers['x-request-id']} 127.0.0.1")
    assert (
        answers[4].headers["x-request-id"] == "mine-1" and answers[5].headers["x-request-id"] != "not\tmine"
    )
    assert "no-store" in answers[0].headers["cache-control"]
    assert "immutable" in answers[2].headers["cache-control"]


def test_the_model_page_says_how_good_the_model_is_in_the_terms_of_the_field(tmp_path: Path) -> None:
    with inside(tmp_path, evaluated=True) as client:
        page = html.unescape(re.sub(r"<[^>]+>", " ", client.get("/model").text)).replace("\xa0", " ")
    words = " ".join(page.split())
    for shown in (
        "Accuracy 90.0 % of the test pictures get the right name; 95 % interval: 74.4 % to 96.5 %",
        "Accuracy in cross-validation 92.0 % of the 270 other pictures get the right name, each from a model that has "
        "not learned from it; 95 % interval: 88.0 % to 94.6 % (too narrow: where it was measured, it held 75 to "
        "90 times in 100)",
        "How sure it must be to answer comes from a cross-validation of them: 5 models",
        "Calibration error 2.0 %",
        "Out-of-distribution 3.0 %",
        "Coverage 95.0 %",
        "Class Precision Recall Test pictures dandelion 90 % – 10",
        "Class Train Validation Test dandelion 80 10 10",
        "Total 240 30 30",
    ):
        assert shown in words


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_decoded_once_for_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    decoded: list[int] = []

    def counted(data: bytes, *how: int, **named: int) -> Image.Image:
        decoded.append(len(data))
        return open_picture(data, *how, **named)

    async def fetch(address: str, *how: Any) -> bytes:
        return picture

    picture = tiny_release.picture("yellow", 900, kind)
    for module in (model, door, thumbnail):
        monkeypatch.setattr(module, "open_picture", counted)
    with inside(tmp_path, feedback=True) as client:
        monkeypatch.setattr(client.app_state["fetcher"], "fetch", fetch)
        answers = [
            client.post("/upload", files={"file": picture}),
            client.post("/api/predict?show=1", files={"file": picture}),
            client.post("/api/predict-batch?show=1", files={"file": picture}),
            client.post("/api/predict-url?show=1", json={"url": "https://example.org/"}),
            client.get("/classify-url?url=https://example.org/"),
            client.post("/feedback", files={"file": picture}, headers={"Sec-Fetch-Site": "same-origin"}),
        ]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert decoded == [len(picture)] * 6
    for answer in (answers[0], answers[3], answers[4]):
        assert "data:image/jpeg;base64," in answer.text and "data:image/png;base64," in answer.text


#: What a release may lack or have in another shape, and be answered from all the same.
ODD: list[dict[str, Any]] = [
    {name: value}
    for name in ("metrics", "data", "versions", "int8", "license", "arch")
    for value in (None, [], "text", 5, float("nan"), {}, {"counts": None}, {"offered": True})
]


@pytest.mark.slow
def test_a_release_that_tells_little_of_itself_has_its_pages(tmp_path: Path) -> None:
    with inside(tmp_path) as client:
        classifier = client.app_state["classifier"]
        for about in ODD:
            digest = tiny_release.deploy(tmp_path / "releases", **about)
            classifier.follower.loader.submit(classifier.follower.swap).result()
            for path in ("/", "/model", "/api/model"):
                page = client.get(path)
                assert page.status_code == 200 and digest in page.text, (path, about)


def test_the_model_page_of_many_classes_is_no_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 classes that would be a million cells: 26 MB, and 5 s of the processor for each who looks."""
    monkeypatch.setattr(model_page, "MATRIX_CLASSES", 1)
    monkeypatch.setattr(model_page, "WORST", 1)
    confused = tiny_release.METRICS.matrix
    _, row, column = max((n, i, j) for i, row in enumerate(confused) for j, n in enumerate(row) if i != j)
    truth, predicted = (tiny_release.METRICS.classes[place] for place in (row, column))
    with inside(tmp_path, evaluated=True) as client:
        page = html.unescape(client.get("/model").text)
        assert 'class="matrix"' not in page
        assert f"/model?{urlencode({'label': truth, 'predicted': predicted})}#cell" in page
        assert page.count(", a test picture") == 1 and "some test pictures" not in page
        assert f"All {len(confused)} classes</summary>" in page
        cell = html.unescape(client.get("/model", params={"label": truth, "predicted": predicted}).text)
    assert f"{truth}, taken for {predicted}" in cell and "/model/pictures/" in cell.partition('id="cell"')[2]


def test_the_model_page_of_a_release_that_carries_little(live: Live) -> None:
    page = live.get("/model", params={"label": "<b>", "predicted": "grass"})
    assert page.status_code == 200 and live.server.digest in page.text
    assert "Confusion matrix" not in page.text and "<b>, recognised" not in page.text
    assert live.get("/model/pictures/0000000000000000.jpg").status_code == 404


@pytest.mark.parametrize("prefix", ["", "/app"])
def test_a_refusal_says_what_to_do(tmp_path: Path, prefix: str) -> None:
    with inside(tmp_path, root_path=prefix) as client:
        missing = client.get("/api/nope").json()["error"]["message"]
        assert f"{prefix}/model" in missing and f"{prefix}/api/openapi.json" in missing
        for path in ("/nope", "/static/nope.css"):
            page = client.get(path)
            assert page.status_code == 404 and f"the pages are {prefix}/, " in page.text
            assert f'href="{prefix}/static/app.css' in page.text and "/static/static" not in page.text
        wrong = client.put("/upload")
        assert wrong.status_code == 405 and wrong.headers["allow"] == "GET, HEAD, POST"
        assert "use GET or HEAD or POST" in wrong.text
        assert client.get("/api/predict").json()["error"]["message"].endswith("does not take GET: use POST")


def test_what_only_starlette_refuses_has_its_code_too(tmp_path: Path) -> None:
    async def teapot(_: Request) -> Response:
        raise HTTPException(418)

    with inside(tmp_path, Route("/api/teapot", teapot)) as client:
        response = client.get("/api/teapot")
        assert (response.status_code, response.json()["error"]["code"]) == (418, "refused")
        assert "/api says" in response.json()["error"]["message"]


@pytest.mark.parametrize("prefix", ["", "/app"])
def test_the_address_of_an_answer_leads_back_to_the_page(tmp_path: Path, prefix: str) -> None:
    with inside(tmp_path, root_path=prefix) as client:
        response = client.get("/upload")
        assert (response.status_code, response.headers["location"]) == (303, f"{prefix}/")


def test_before_the_first_release_visitors_are_told_of_no_folder(tmp_path: Path) -> None:
    made = app.create(Settings(store=tmp_path / "releases"))
    with TestClient(made) as client:
        for path, asked in (
            ("/model", client.get),
            ("/api/model", client.get),
            ("/api/predict", client.post),
        ):
            answer = asked(path, **({"files": YELLOW} if asked == client.post else {}))
            assert answer.status_code == 503 and "no model to answer with yet" in answer.text
            assert str(tmp_path) not in answer.text
        ready = client.get("/readyz", headers={"Host": "localhost"})
        assert str(tmp_path) in ready.json()["problem"]["message"]


async def fall(_: Request) -> Response:
    raise RuntimeError("a secret of ours")


@pytest.mark.parametrize("path", ["/fallen", "/api/fallen"])
def test_what_nobody_foresaw_comes_in_the_envelope(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level(logging.INFO)
    with inside(tmp_path, Route(path, fall), root_path="/app") as client:
        response = client.get(path, headers={"X-Request-ID": "mine-500"})
    assert response.status_code == 500 and "secret" not in response.text
    assert response.headers["x-request-id"] == "mine-500" and "mine-500" in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    if path.startswith("/api"):
        assert response.json()["error"]["code"] == "internal"
    else:
        assert (
            "text/html" in response.headers["content-type"] and 'href="/app/static/app.css' in response.text
        )
    failed, line = [one for one in caplog.records if "mine-500" in one.getMessage()]
    assert failed.exc_info is not None and "a secret of ours" in str(failed.exc_info[1])
    assert line.name == "greenr.access" and " 500 " in line.getMessage()


def test_a_page_that_fails_takes_the_one_that_says_so_not_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a filter")

    monkeypatch.setitem(pages.PAGES.env.filters, "percent", broken)
    with inside(tmp_path, evaluated=True) as client:
        page = client.get("/model")
        assert page.status_code == 500 and "something went wrong here" in page.text


class Half(Response):
    """An answer that fails once it has begun."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("half way")


def test_an_answer_that_breaks_off_is_not_answered_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def half(_: Request) -> Response:
        return Half()

    with inside(tmp_path, Route("/half", half)) as client:
        assert client.get("/half", headers={"X-Request-ID": "mine-half"}).status_code == 200
    (failed,) = [one for one in caplog.records if "mine-half" in one.getMessage() and one.exc_info]
    assert "half way" in str(failed.exc_info)


@pytest.mark.parametrize("path", ["/model", "/model/pictures/0000000000000000.jpg"])
def test_a_model_page_that_takes_long_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    read, reading, answered, in_time = pages.read_model_page, threading.Event(), threading.Event(), []

    def slowly(release: Path) -> object:
        reading.set()
        in_time.append(answered.wait(60))
        return read(release)

    with inside(tmp_path) as client, ThreadPoolExecutor(1) as beside:
        monkeypatch.setattr(pages, "read_model_page", slowly)
        page = beside.submit(client.get, path)
        while not reading.wait(0.01):
            assert not page.done()
        assert client.get("/healthz").status_code == 200
        answered.set()
        assert page.result().status_code in (200, 404) and in_time == [True]
