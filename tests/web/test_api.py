"""The JSON side: batch, address, its OpenAPI description, metrics over all workers."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest
import requests

from greenr_luigi.web import openapi
from greenr_luigi.web.problem import UNUSABLE, Code
from greenr_luigi.web.settings import Settings
from tests import tiny_release
from tests.web.conftest import Live

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DEFAULTS = Settings(store=Path())


def test_the_description_is_served_and_names_every_api_route(live: Live) -> None:
    described = live.get("/api/openapi.json").json()
    assert described == openapi.document("", DEFAULTS)
    assert {"/api/predict-url", "/metrics"} < set(described["paths"]) and "/feedback" not in described[
        "paths"
    ]
    page = live.get("/api").text
    for path in described["paths"]:
        assert path in page


def test_every_code_is_described_and_documented() -> None:
    """A program tells refusals by their code: the sources, the description and the manual know the same ones."""
    sources = "".join(path.read_text() for path in (REPOSITORY / "greenr_luigi" / "web").glob("*.py"))
    used = set(re.findall(r'(?:Problem\(\s*\d+,\s*|\bcode = )"([a-z-]+)"', sources))
    used |= {code for _, code in UNUSABLE.values()}
    manual = (REPOSITORY / "docs" / "serving.md").read_text()
    documented = re.findall(r"`([a-z-]+)`", manual[manual.index("Codes: ") :].partition("\n\n")[0])
    described = openapi.document("", DEFAULTS)["components"]["schemas"]["ProblemDetail"]["properties"]["code"]
    assert used == set(described["enum"]) == set(get_args(Code)) and sorted(documented) == sorted(used)


def test_a_batch_answers_each_by_itself(live: Live) -> None:
    sent = [
        ("file", ("a", tiny_release.picture("yellow"))),
        ("file", ("b", b"none")),
        ("file", ("c", tiny_release.picture("green"))),
    ]
    body = live.post("/api/predict-batch", files=sent).json()
    assert [one["name"] for one in body["answers"]] == ["a", "b", "c"]
    assert [one.get("label") for one in body["answers"]] == ["dandelion", None, "grass"]
    assert body["answers"][1]["error"]["code"] == "picture-format"
    many = [("file", (str(n), tiny_release.picture())) for n in range(17)]
    assert live.post("/api/predict-batch", files=many).json()["error"]["code"] == "upload-too-many"


def test_show_brings_the_heat_map(live: Live) -> None:
    files = {"file": tiny_release.picture()}
    assert "heat" not in live.post("/api/predict", files=files).json()
    assert live.post("/api/predict?show=1", files=files).json()["heat"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    "body", ['{"url": 5}', "[]", "null", "{", "", '{"url": ""}', "[" * 60_000, b'{"url": "\xff"}']
)
def test_an_address_that_is_none(live: Live, body: str | bytes) -> None:
    response = live.post("/api/predict-url", data=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "no-address")


def test_addresses_inside_are_refused_over_http_too(live: Live) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "169.254.169.254"):
        response = live.post("/api/predict-url", json={"url": f"http://{host}/a.jpg"})
        assert response.json()["error"]["code"] == "address-refused"
        assert live.get("/classify-url", params={"url": f"http://{host}/"}).status_code == 400


def test_what_the_model_is(live: Live) -> None:
    body = live.get("/api/model").json()
    assert body["release"] == live.server.digest and body["model"]["threshold"] == 0.6


def count(live: Live, outcome: str) -> float:
    found = re.search(rf'greenr_pictures_total{{outcome="{outcome}"}} (\S+)', live.get("/metrics").text)
    return float(found[1]) if found else 0.0


def test_metrics_add_up_over_all_workers(live: Live) -> None:
    before = count(live, "sure")

    def one(_: int) -> int:
        # A new connection each, so that both workers have some.
        return requests.post(
            live.url + "/api/predict", files={"file": tiny_release.picture()}, timeout=30
        ).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(60)))
    assert count(live, "sure") - before == answers.count(200) == 60
    text = live.get("/metrics").text
    assert 'route="/api/predict"' in text and "greenr_request_seconds_bucket" in text
