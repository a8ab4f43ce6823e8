"""docs/moving.md: the tutorial's own folder and lists are taken in by the commands that it tells, and it says what
became of each of the tutorial's files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenr_luigi.about import PACKAGE
from greenr_luigi.pictures.manifest import Refusal, read_jsonl
from tests.photographs import PHOTOS
from tests.sources.conftest import Internet, online, picture

PAGE = (PACKAGE.parent / "docs" / "moving.md").read_text()
CLASSES = ("dandelion", "grass")
#: The tutorial's files, of its last version and those that a run leaves.
FILES = [
    "1_wuKQAuOMfv9gjAEMNuuZnw.png", "Dockerfile", "README.md", "airflow-scheduler.err",
    "airflow-scheduler.log", "airflow-scheduler.out", "airflow-scheduler.pid", "config/airflow.cfg",
    "config/default", "config/default-airflow", "config/default-app", "dags/__pycache__",
    "dags/ml_pipeline.py", "data/dandelion/", "data/grass/", "data/dandelion.csv", "data/grass.csv",
    "data/export.pkl", "data/models/stage-1.pth", "logs/", "nginx.sh", "preview.png", "requirements.txt",
    "scripts/.ipynb_checkpoints", "scripts/download_images.py", "scripts/entrypoint.sh",
    "scripts/nginx-airflow.sh", "scripts/nginx-app.sh", "scripts/serve.py", "scripts/train.py",
    "unittests.cfg", "img.jpg",
]  # fmt: skip


def test_it_says_what_became_of_each_file() -> None:
    table = PAGE.partition("## What became of each file")[2].partition("\n## ")[0]
    told = re.findall(
        r"`([^`]+)`", " ".join(line.split("|")[1] for line in table.splitlines() if "|" in line)
    )
    stem = "airflow-scheduler"
    told += [f"{stem}{name}" for name in told if name.startswith(".")]
    missing = [name for name in FILES if not any(name.rstrip("/") == one.rstrip("/") for one in told)]
    assert missing == []


def tutorials(home: Path, pictures: Path | None) -> Path:
    """The tutorial's folder as it has it. Without `pictures` they are drawn."""
    data = home / "greenr-airflow" / "data"
    for number, label in enumerate(CLASSES):
        (data / label).mkdir(parents=True)
        if pictures:
            shutil.copytree(pictures / label, data / label, dirs_exist_ok=True)
        else:
            for one in range(12):
                (data / label / f"{one:08d}.jpg").write_bytes(picture(100 * number + one))
        # The browser that wrote the lists left empty lines, many at the start.
        lines = [f"https://pictures.example/{100 * number + one}.jpg" for one in range(12)]
        lines[5:5] = ["", "https://pictures.example/1001.jpg"]
        (data / f"{label}.csv").write_text("\n" * 140 + "\n".join(lines))
    (data / "models").mkdir()
    for name in ("export.pkl", "models/stage-1.pth"):
        (data / name).write_bytes(b"\x80\x03")
    return data


def commands(home: Path) -> list[str]:
    """Those of the page that take the folder in and run, as a shell gets them: of the graph as far as the data set."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", PAGE, re.M | re.S)
    told = [line.strip() for block in blocks for line in block.splitlines()]
    programs = home / "bin"
    programs.mkdir()
    for name, module in (("greenr", "greenr_luigi.cli"), ("luigi", "luigi")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    wanted = [line for line in told if "greenr init" in line or "luigi" in line]
    assert [line.split()[0] for line in wanted] == ["greenr", "greenr", "cd"]
    return [line.replace("DeployApp", "SplitDataset") for line in wanted]


def run(command: str, home: Path, **environment: str) -> None:
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PYTHONPATH": f"{PACKAGE.parent}", **environment, "HOME": f"{home}", "PATH": path}
    done = subprocess.run(
        ["sh", "-ec", command], cwd=home, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sides(home: Path) -> dict[str, int]:
    """How many pictures of each class are in the data set of a folder."""
    (table,) = (home / "data/SplitDataset").glob("[!.]*/labels.csv")
    return {label: len([*table.parent.glob(f"*/{label}/*")]) for label in CLASSES}


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [None, PHOTOS], ids=["drawn", "photographs"])
def test_the_tutorials_pictures_are_taken_in(tmp_path: Path, pictures: Path | None) -> None:
    if pictures and not pictures.is_dir():
        pytest.skip("../shared/photos is not there: real photographs")
    data = tutorials(tmp_path, pictures)
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    init, _, luigi = commands(tmp_path)
    run(init, tmp_path)
    run(luigi, tmp_path)
    given = {label: len([*(data / label).iterdir()]) for label in CLASSES}
    # Some of the photographs are there twice, or nearly.
    assert all(
        0.9 * given[label] <= count <= given[label] for label, count in sides(tmp_path / "greenr").items()
    )
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


@pytest.mark.slow
def test_the_tutorials_lists_are_taken_in(tmp_path: Path) -> None:
    tutorials(tmp_path, None)
    _, init, luigi = commands(tmp_path)
    run(init, tmp_path)
    with online(Internet()) as environment:
        run(luigi.replace("~/greenr ", "~/greenr-lists "), tmp_path, **environment)
    assert sides(tmp_path / "greenr-lists") == {"dandelion": 12, "grass": 12}
    refused, _ = (tmp_path / "greenr-lists/data/DownloadImages").glob("[!.]*/rejected.jsonl")
    (dead,) = read_jsonl(refused, Refusal)
    assert (dead.reason, dead.message.split(":")[0].split(", ")[1]) == ("http-404", "line 147")
