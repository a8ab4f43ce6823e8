"""Collecting from lists of addresses: ours beside icrawler, fastai's `download_images` and img2dataset.

    python -m bench.collecting PHOTOGRAPHS [--rounds 3] [--hosts 200] [--img2dataset VENV/bin/python] [WAY ...]

A site on 127.0.0.1 to 127.0.0.<hosts> answers 2,000 addresses: 1,600 with a picture; 200 with a picture, slowly (in
drops over 4 s, with a silence of 6 s in its middle, or after 3 s); and 200 with none that can be used (cut short, a web
page that calls itself a JPEG, nothing, a PDF, 8 by 8 pixels, 404, 500, a connection that ends in the middle). Each way
gets the same list, in a process of its own; they take turns, imports are not counted, and the medians of the rounds
count. What is on disk is compared with what the site gave: by its bytes, or by its address where a way writes pictures
anew. A file is unaccounted for if it is neither there nor named by its address in what the way returns, writes or logs.

PHOTOGRAPHS holds JPEGs, at any depth. img2dataset needs an environment of its own, as its pins clash with fastai's.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import logging
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

FILES, SLOW, BROKEN = 2000, 200, 200
SLOWLY = ("drops", "silence", "late")
KINDS = ("cut", "page", "empty", "pdf", "small", "404", "500", "torn")


class File(NamedTuple):
    """What the site answers at /<number>.jpg."""

    kind: str
    data: bytes


def site_of(photographs: Path) -> list[File]:
    """The same for the same photographs. No two files are alike, as a few bytes behind a picture's end differ."""
    from PIL import Image

    found = [path.read_bytes() for path in sorted(photographs.rglob("*.jpg"))]
    if not found:
        sys.exit(f"{photographs} holds no .jpg")
    small = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(small, "JPEG")
    kinds = [SLOWLY[number % len(SLOWLY)] for number in range(SLOW)]
    kinds += [KINDS[number % len(KINDS)] for number in range(BROKEN)]
    kinds += ["good"] * (FILES - len(kinds))
    random.Random(0).shuffle(kinds)
    files = []
    for number, kind in enumerate(kinds):
        data, mark = found[number % len(found)], f" {number}".encode()
        files.append(
            File(
                kind,
                {
                    "cut": data[: len(data) // 2] + mark,
                    "page": b"<!doctype html><title>Log in</title>" + mark,
                    "empty": b"",
                    "pdf": b"%PDF-1.4\n" + mark,
                    "small": small.getvalue() + mark,
                    "404": b"gone" + mark,
                    "500": b"busy" + mark,
                }.get(kind, data + mark),
            )
        )
    return files


async def serve(files: list[File], port: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                if path == b"/robots.txt":
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                kind, data = files[int(path[1:].split(b".")[0])]
                status = kind if kind in ("404", "500") else "200"
                if kind == "late":
                    await asyncio.sleep(3)
                writer.write(
                    f"HTTP/1.1 {status} -\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                )
                half = len(data) // 2
                if kind == "torn":
                    writer.write(data[:half])
                    break
                if kind == "drops":
                    step = len(data) // 20 + 1
                    for start in range(0, len(data), step):
                        writer.write(data[start : start + step])
                        await asyncio.sleep(0.2)
                elif kind == "silence":
                    writer.write(data[:half])
                    await asyncio.sleep(6)
                    writer.write(data[half:])
                else:
                    writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", port, backlog=1024)
    await server.serve_forever()


def site(files: list[File], port: int) -> None:
    asyncio.run(serve(files, port))


# The ways, each in a process of its own: from a file of addresses to files below `out`. Each returns the seconds that
# it took, and all that it says of single addresses.


def ours(listed: Path, out: Path) -> tuple[float, str]:
    import ipaddress

    from greenr_luigi.pictures import manifest
    from greenr_luigi.sources import download, registry  # noqa: F401  It is imported when it is wanted first.
    from greenr_luigi.sources.collection import collect
    from greenr_luigi.sources.source import Request

    made = out / "collection"
    made.mkdir()
    inside = (ipaddress.ip_network("127.0.0.0/8"),)
    # As DownloadImages asks: 8 times a second of each host.
    request = Request("x", "x", 0, listed.parent, out, allow=inside, per_host=8)
    began = time.perf_counter()
    collect(registry.find("urls"), request, made, {}, lambda share, words: None)
    took = time.perf_counter() - began
    return took, (made / manifest.REJECTED).read_text()


def icrawler(listed: Path, out: Path, threads: int = 1) -> tuple[float, str]:
    from icrawler.builtin import UrlListCrawler

    log = io.StringIO()
    logging.basicConfig(stream=log, level=logging.INFO, force=True)
    began = time.perf_counter()
    crawler = UrlListCrawler(
        downloader_threads=threads, storage={"root_dir": f"{out}"}, log_level=logging.INFO
    )
    crawler.crawl(f"{listed}", max_num=FILES)
    return time.perf_counter() - began, "".join(
        line for line in log.getvalue().splitlines(keepends=True) if "ERROR" in line or "xception" in line
    )


def icrawler16(listed: Path, out: Path) -> tuple[float, str]:
    return icrawler(listed, out, 16)


def fastai(listed: Path, out: Path, workers: int = 8) -> tuple[float, str]:
    from fastai.vision.utils import download_images, get_image_files, verify_images

    began = time.perf_counter()
    download_images(out, listed, max_pics=FILES, n_workers=workers)
    failed = verify_images(get_image_files(out))
    failed.map(Path.unlink)
    return time.perf_counter() - began, ""


def fastai16(listed: Path, out: Path) -> tuple[float, str]:
    return fastai(listed, out, 16)


def img2dataset(listed: Path, out: Path) -> tuple[float, str]:
    from img2dataset import download

    began = time.perf_counter()
    download(
        url_list=f"{listed}", output_folder=f"{out}", output_format="files", processes_count=os.cpu_count() or 1,
        thread_count=256, image_size=256, resize_mode="no", number_sample_per_shard=FILES // 2, min_image_size=32,
    )  # fmt: skip
    took = time.perf_counter() - began
    told = ""
    for path in out.rglob("*.json"):
        row = json.loads(path.read_text())
        if row.get("status") == "success":
            # It has written the picture anew: whose it is, its own note says.
            path.with_suffix(".jpg").rename(path.with_suffix(f".{Path(row['url']).stem}.number"))
    import pyarrow.parquet

    for path in out.glob("*.parquet"):
        for row in pyarrow.parquet.read_table(path).to_pylist():
            if row["status"] != "success":
                told += f"{row['url']}\n"
    return took, told


WAYS: dict[str, Callable[[Path, Path], tuple[float, str]]] = {
    way.__name__: way for way in (ours, icrawler, icrawler16, fastai, fastai16, img2dataset)
}


class Found(NamedTuple):
    seconds: float
    cpu: float
    good: int
    bad: int
    unaccounted: int
    lost: int


def judged(way: str, python: str, files: list[File], hosts: int, port: int) -> Found:
    """One way over a site of its own turn."""
    urls = [f"http://127.0.0.{1 + number % hosts}:{port}/{number}.jpg" for number in range(len(files))]
    with tempfile.TemporaryDirectory() as name:
        listed, out = Path(name, "lists", "x.txt"), Path(name, "out")
        listed.parent.mkdir()
        out.mkdir()
        listed.write_text("\n".join(urls))
        command = [python, f"{Path(__file__)}", "--run", way, f"{listed}", f"{out}"]
        done = subprocess.run(
            command, capture_output=True, text=True, env=dict(os.environ, NO_PROXY="*", no_proxy="*")
        )
        if done.returncode:
            sys.exit(f"{way} failed:\n{done.stderr[-3000:]}")
        took, used, told = json.loads(done.stdout.splitlines()[-1])
        numbers = {hashlib.sha256(file.data).hexdigest(): number for number, file in enumerate(files)}
        kept: dict[int, str] = {}
        bad = 0
        pictures = {
            path.resolve() for path in out.rglob("*") if path.suffix in (".jpg", ".jpeg", ".number", ".png")
        }
        for path in pictures:
            if path.suffix == ".number":
                number = int(path.suffixes[-2][1:])
            else:
                number = numbers.get(hashlib.sha256(path.read_bytes()).hexdigest(), -1)
            if number >= 0 and files[number].kind in ("good", *SLOWLY):
                kept[number] = files[number].kind
            else:
                # A part of a file, or one that cannot be used.
                bad += 1
                kept.setdefault(number, "bad")
        kept.pop(-1, None)
        named = {int(number) for number in re.findall(r"/(\d+)\.jpg", told)}
        good = sum(kind != "bad" for kind in kept.values())
        lost = FILES - BROKEN - good
        return Found(took, used, good, bad, len({*range(len(files))} - {*kept} - named), lost)


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        _, _, way, listed, out = sys.argv
        sys.path.insert(0, os.fspath(Path(__file__).parent.parent))
        took, told = WAYS[way](Path(listed), Path(out))
        used = sum(os.times()[:4])
        print(f"\n{json.dumps([took, used, told])}")
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("ways", nargs="*", default=None, metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--img2dataset", help="the Python of an environment that has it")
    asked = parser.parse_intermixed_args()
    ways = asked.ways or [way for way in WAYS if way != "img2dataset" or asked.img2dataset]
    files = site_of(asked.photographs)
    port = random.randrange(20000, 30000)
    process = multiprocessing.get_context("fork").Process(target=site, args=(files, port), daemon=True)
    process.start()
    rounds: dict[str, list[Found]] = {way: [] for way in ways}
    for _ in range(asked.rounds):
        for way in ways:
            python = asked.img2dataset if way == "img2dataset" else sys.executable
            rounds[way].append(found := judged(way, python, files, asked.hosts, port))
            print(f"{way}: {found}", file=sys.stderr)
    print(
        "| | good pictures a second | ours to this | of 1,800 good ones lost | bad files left | unaccounted for |"
    )
    print("|---|---|---|---|---|---|")
    speeds = {way: [one.good / one.seconds for one in found] for way, found in rounds.items()}
    for way, found in rounds.items():
        ratios = [
            mine / theirs for mine, theirs in zip(speeds.get("ours", speeds[way]), speeds[way], strict=True)
        ]
        numbers = [f"{statistics.median(column):.0f}" for column in zip(*found, strict=True)]
        *_, bad, unaccounted, lost = numbers
        speed, ratio = statistics.median(speeds[way]), statistics.median(ratios)
        print(f"| {way} | {speed:.0f} | {ratio:.2f} | {lost} | {bad} | {unaccounted} |")


if __name__ == "__main__":
    main()
