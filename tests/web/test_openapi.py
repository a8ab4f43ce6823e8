"""The server is held to its OpenAPI description, by schemathesis."""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from greenr_luigi.serving import server
from greenr_luigi.web import openapi
from greenr_luigi.web.settings import Settings
from tests import tiny_release
from tests.web.conftest import Live

pytestmark = pytest.mark.slow
pytest_plugins = ["schemathesis.pytest.plugin"]

OTHERS = Settings(store=Path(), batch=2, fetch=False, feedback=True)
schema = schemathesis.openapi.from_dict(openapi.document("", Settings(store=Path())))
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
