"""Settings from the environment, and errors that name the variable."""

from __future__ import annotations

import ipaddress
from dataclasses import fields
from pathlib import Path

import pytest

from greenr_luigi.web.settings import READERS, Settings, SettingsError, from_environment


def test_every_field_can_be_set() -> None:
    assert {str(field.type) for field in fields(Settings)} <= set(READERS)
    found = from_environment(
        {
            "GREENR_STORE": "/a store",
            "GREENR_RUN_DIR": "/run",
            "GREENR_ROOT_PATH": "/app/",
            "GREENR_FORWARDED_PREFIX": "yes",
            "GREENR_QUEUE": "3",
            "GREENR_FETCH": "0",
            "GREENR_FETCH_PORTS": "80, 8080",
            "GREENR_FETCH_ALLOW": "10.0.0.0/8,fd00::/8",
            "GREENR_BODY_SECONDS": "2.5",
            "GREENR_ALLOWED_HOSTS": "Example.org., [2001:DB8::1],bücher.example,",
            "GREENR_TRUSTED_PROXIES": "127.0.0.1",
            "UNRELATED": "x",
        }
    )
    assert found.store == Path("/a store") and found.root_path == "/app" and found.queue == 3
    assert found.forwarded_prefix and not found.fetch and not found.feedback
    assert found.fetch_ports == (80, 8080) and found.body_seconds == 2.5
    assert found.allowed_hosts == ("example.org", "2001:db8::1", "xn--bcher-kva.example")
    assert found.trusted_proxies == (ipaddress.ip_network("127.0.0.1/32"),)
    assert found.fetch_allow[1] == ipaddress.ip_network("fd00::/8")


@pytest.mark.parametrize(
    ("name", "value"),
    [("QUEUE", "0"), ("QUEUE", "-1"), ("QUEUE", "²"), ("FETCH", "maybe"), ("BODY_SECONDS", "0"),
     ("BODY_SECONDS", "nan"), ("BODY_SECONDS", "x"), ("FETCH_PORTS", "http"), ("FETCH_ALLOW", "10.0.0.1/8"),
     ("ROOT_PATH", "app"), ("ROOT_PATH", '/a"><script>'), ("ROOT_PATH", "//evil.example"),
     ("ALLOWED_HOSTS", "https://example.org"), ("ALLOWED_HOSTS", "example.org:443"), ("ALLOWED_HOSTS", "*"),
     ("ALLOWED_HOSTS", "a b"), ("ALLOWED_HOSTS", "a" * 300), ("TRUSTED_PROXIES", "nginx"),
     ("ROOT_PATH", "/api"), ("ROOT_PATH", "/static/x")],
)  # fmt: skip
def test_what_cannot_be_used_names_the_variable_and_the_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as found:
        from_environment({"GREENR_STORE": "x", f"GREENR_{name}": value})
    assert f"GREENR_{name}={value!r}" in str(found.value)


def test_there_must_be_a_store() -> None:
    with pytest.raises(SettingsError, match="GREENR_STORE is not set"):
        from_environment({})
