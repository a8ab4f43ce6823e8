"""The routes of the tutorial and of the JSON side, over real HTTP."""

from __future__ import annotations

import json
import subprocess
import sys

from tests import tiny_release
from tests.web.conftest import Live

YELLOW = {"file": ("a.jpg", tiny_release.picture("yellow"), "image/jpeg")}
GREEN = {"file": ("b.png", tiny_release.picture("green", kind="PNG"), "image/png")}


def test_the_web_process_loads_no_torch_fastai_luigi_or_pickled_model() -> None:
    code = (
        "import sys, json, greenr_luigi.server, greenr_luigi.releases\n"
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


def test_the_model_page_of_a_release_that_carries_little(live: Live) -> None:
    page = live.get("/model", params={"label": "<b>", "predicted": "grass"})
    assert page.status_code == 200 and live.server.digest in page.text
    assert "Confusion matrix" not in page.text and "<b>, recognised" not in page.text
    assert live.get("/model/pictures/0000000000000000.jpg").status_code == 404
