"""The JSON side: batch, address, its OpenAPI description held to by schemathesis, metrics over all workers."""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings

from greenr_luigi.serving import server
from greenr_luigi.web import openapi
from greenr_luigi.web.problem import UNUSABLE, Code
from greenr_luigi.web.settings import Settings
from tests import tiny_release
from tests.web.conftest import Live

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DEFAULTS = Settings(store=Path())
OTHERS = Settings(store=Path(), batch=2, fetch=False, feedback=True)
schema = schemathesis.openapi.from_dict(openapi.document("", DEFAULTS))
other_schema = schemathesis.openapi.from_dict(openapi.document("", OTHERS))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server whose settings are not the default ones."""
    root = tmp_path_factory.mktemp("other settings")
    digest = tiny_release.deploy(root / "releases")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"BATCH": "2", "FETCH": "0", "FEEDBACK": "1"}.items():
            patch.setenv(f"GREENR_{name}", value)
        running = tiny_release.serve(root, digest, workers=1)
    found = Live(running, root)
    yield found
    found.session.close()
    server.stop(root / "server")


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_does_what_its_description_says(case: schemathesis.Case, live: Live) -> None:
    checks = schemathesis.checks
    excluded = [checks.CHECKS.get_one("positive_data_acceptance")]  # No random bytes are a picture.
    case.call_and_validate(base_url=live.url, session=live.session, excluded_checks=excluded)


@other_schema.parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_so_it_does_with_other_settings(case: schemathesis.Case, other: Live) -> None:
    checks = schemathesis.checks
    excluded = [checks.CHECKS.get_one("positive_data_acceptance")]
    case.call_and_validate(base_url=other.url, session=other.session, excluded_checks=excluded)


def test_the_description_is_served_and_names_every_api_route(live: Live) -> None:
    described = live.get("/api/openapi.json").json()
    assert described == openapi.document("", DEFAULTS)
    assert {"/api/predict-url", "/metrics"} < set(described["paths"]) and "/feedback" not in described[
        "paths"
    ]
    page = live.get("/api").text
    for path in described["paths"]:
        assert path in page


def test_the_description_follows_the_settings(other: Live) -> None:
    described = other.get("/api/openapi.json").json()
    assert described == openapi.document("", OTHERS)
    assert "/feedback" in described["paths"] and "/api/predict-url" not in described["paths"]
    assert "predict-url" not in other.get("/api").text
    batch = described["paths"]["/api/predict-batch"]["post"]
    sent = batch["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["file"]
    assert sent["maxItems"] == 2 and "At most 2 pictures" in batch["description"]
    assert not {"415", "422"} & set(batch["responses"])
    many = [("file", (str(n), tiny_release.picture())) for n in range(3)]
    assert other.post("/api/predict-batch", files=many[:2]).status_code == 200
    assert other.post("/api/predict-batch", files=many).status_code == 400
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", other.server.port, timeout=30)) as large:
        large.request("POST", "/api/predict-batch", headers={"Content-Length": str(2**30)})
        refused = re.search(r"[\d,]+ bytes in one request", large.getresponse().read().decode())
    assert refused is not None and refused[0] in batch["description"]


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
