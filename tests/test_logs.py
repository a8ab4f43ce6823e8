"""Logs of bounded lines in bounded files, however many processes write them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenr_luigi.logs import MOST_LINE, OneLine, RotatedFile


def record(words: str, *arguments: object, exc_info: object = None) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, words, arguments, exc_info)  # type: ignore[arg-type]


def handler(path: Path, most_bytes: int, most_files: int) -> RotatedFile:
    made = RotatedFile(path, most_bytes, most_files)
    made.setFormatter(OneLine("[%(levelname)s] %(message)s"))
    return made


def write(path: Path, name: int, lines: int) -> None:
    log = handler(path, 1000, 100)
    for number in range(lines):
        log.emit(record("%d %d", name, number))
    log.close()


@pytest.mark.slow
def test_processes_at_once_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write, args=(path, name, 400)) for name in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    written = [*tmp_path.glob("log*")]
    lines = [line for file in written for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(f"[INFO] {name} {number}" for name in range(3) for number in range(400))
    # More gets into one while the others are renamed.
    assert len(written) > 4


@pytest.mark.parametrize("most_files", [1, 3])
def test_the_oldest_goes(tmp_path: Path, most_files: int) -> None:
    path = tmp_path / "log"
    for name in ("log.7", "log.txt", "log.1x"):
        (tmp_path / name).touch()
    log = handler(path, 200, most_files)
    for number in range(100):
        log.emit(record("%03d", number))
    log.close()
    ours = [path, *(Path(f"{path}.{number}") for number in range(1, most_files))]
    assert {*tmp_path.glob("[!.]*")} == {*ours, tmp_path / "log.txt", tmp_path / "log.1x"}
    assert all(file.stat().st_size < 220 for file in ours)
    left = "".join(file.read_text() for file in reversed(ours))
    assert left.endswith("".join(f"[INFO] {number:03d}\n" for number in range(100 - len(left) // 11, 100)))


def test_nothing_forges_a_line_or_makes_a_long_one(tmp_path: Path) -> None:
    log = handler(tmp_path / "log", 1 << 20, 2)
    log.emit(record("a\n[INFO] b\r\x1b[31m\u2028c"))
    log.emit(record("x" * 100_000 + "\n" * 100_000))
    try:
        raise ValueError("d\n[INFO] e")
    except ValueError:
        log.emit(record("failed", exc_info=sys.exc_info()))
    log.close()
    lines = (tmp_path / "log").read_bytes().decode().split("\n")
    assert lines[:2] == ["[INFO] a", "    [INFO] b\\r\\x1b[31m\\u2028c"]
    assert [line for line in lines if line.startswith("[INFO] ")][2:] == ["[INFO] failed"]
    assert len(lines) < 80 and max(map(len, lines)) < MOST_LINE + 10


def test_a_full_disk_and_a_deleted_folder_harm_nobody(small_disk: Path) -> None:
    folder = small_disk / "server"
    folder.mkdir()
    log = handler(folder / "log", 4000, 3)
    log.emit(record("before"))
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free)
    for _ in range(200):
        log.emit(record("x" * 300))
    assert sum(file.stat().st_size for file in folder.glob("log*")) < 5000
    ballast.unlink()
    log.emit(record("after"))
    assert (folder / "log").read_text().splitlines()[-1] == "[INFO] after"
    shutil.rmtree(folder)
    for _ in range(40):
        log.emit(record("x" * 300))
    assert not folder.exists() and os.fstat(log.file).st_size < 4400
    log.close()


def test_what_goes_to_standard_error_goes_along(tmp_path: Path) -> None:
    code = (
        "import logging, os, sys; from pathlib import Path; from greenr_luigi.logs import RotatedFile\n"
        "log = RotatedFile(Path(sys.argv[1]), 100, 2)\n"
        "for text in ('x' * 200, 'first'):\n"
        "    log.emit(logging.LogRecord('x', 20, '', 0, text, (), None))\n"
        "os.write(2, b'crashed\\n')\n"
    )
    with (tmp_path / "log").open("ab") as log:
        subprocess.run([sys.executable, "-c", code, tmp_path / "log"], stdout=log, stderr=log, check=True)
    assert (tmp_path / "log").read_text() == "first\ncrashed\n"
