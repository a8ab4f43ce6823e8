"""What is installed where only the web classifier runs, and what of the images can be judged without an engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from greenr_luigi.about import PACKAGE
from greenr_luigi.serving.launch import LIBRARIES, WEB
from greenr_luigi.staleness import code, libraries, memo

REPOSITORY = PACKAGE.parent


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.slow
@memo.question()
def test_what_serving_requires_is_what_it_imports() -> None:
    lines = (REPOSITORY / "requirements/serve.txt").read_text().splitlines()
    required = {normalized(re.split(r"[^\w.-]", line)[0]) for line in lines if not line.startswith("#")}
    imported = libraries.imported(code.sources([WEB, "greenr_luigi.serving"]))
    # Not there unless a person wants HEIC: the extra of that name.
    extra = {"pillow-heif"}
    assert required | extra == {normalized(name) for name in {*imported, *LIBRARIES}}


def test_hadolint_finds_nothing() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", REPOSITORY / "Dockerfile"],
        capture_output=True,
        text=True,
    )
    assert linted.stdout + linted.stderr == ""


def test_what_nginx_cannot_be_told_ends_the_container_in_whose_log_it_stands(tmp_path: Path) -> None:
    """Everything would be up otherwise, and nothing at 8080."""
    command = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]["luigid"]["command"]
    words = [word.replace("$$", "$").replace("/etc/nginx/greenr/", f"{tmp_path}/") for word in command]
    (tmp_path / "greenr").write_text('#!/bin/sh\necho "$1"; [ "$1" != nginx ] || exit "$FAILS"\n')
    (tmp_path / "greenr").chmod(0o755)
    for fails in (0, 1):
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FAILS": str(fails)}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (fails, "" if fails else "dashboard\n")
        assert (tmp_path / "greenr.conf").exists() == (not fails)
        (tmp_path / "greenr.conf").unlink(missing_ok=True)


def test_each_container_is_closed() -> None:
    services = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]
    assert set(services) == {"luigid", "pipeline", "app", "nginx"}
    for service in services.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert services["app"]["volumes"] == ["data:/data:ro"]
    # luigid asks nobody for a password.
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "nginx": ["8080:8080"], "luigid": ["127.0.0.1:8082:8082"],
    }  # fmt: skip
