"""How fast pictures are checked and hashed, how well copies of them are found, and how long a large split
takes.

    python -m bench.cleaning FOLDER [PICTURES]

FOLDER holds photographs, a sub-folder a class; PICTURES (default 100,000) is the size of the split. Prints
the tables of docs/benchmarks.md and its appendix, Cleaning.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from greenr_luigi.dataset.duplicates import hash_matrix, near_pairs
from greenr_luigi.dataset.split import Division, split
from greenr_luigi.pictures import door, manifest
from greenr_luigi.pictures.examine import examine
from greenr_luigi.pictures.hashing import perceptual_hash
from greenr_luigi.pictures.manifest import PictureRow
from tests.dataset.test_duplicates import COPIES
from tests.sources.collecting import collect_from


def cpu(work: Callable[[bytes], object], files: list[bytes]) -> float:
    """Milliseconds of one core a picture, the least of three rounds."""
    rounds = []
    for _ in range(3):
        started = time.process_time()
        for data in files:
            work(data)
        rounds.append((time.process_time() - started) / len(files) * 1000)
    return min(rounds)


def bare(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def checked(data: bytes) -> object:
    return examine(data, "", "bench")


def large(data: bytes) -> bytes:
    """The photograph as a camera of 12 megapixels would give it, in bytes if not in detail."""
    buffer = io.BytesIO()
    bare(data).resize((4000, 3000), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def rates(files: list[bytes]) -> None:
    print(
        "| photographs | bare decoding | checked, hashed, described | pictures/s a core | against bare decoding |"
    )
    print("|---|---|---|---|---|")
    for name, some in (
        (f"{len(files)} as they are", files),
        ("20 of 12 megapixels", [*map(large, files[:20])]),
    ):
        alone, whole = cpu(bare, some), cpu(checked, some)
        print(f"| {name} | {alone:.2f} ms | {whole:.2f} ms | {1000 / whole:.0f} | {alone / whole:.2f} |")


def all_cores(name: str, files: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        mine, out = Path(place, "mine", "x"), Path(place, "out")
        mine.mkdir(parents=True)
        for number, data in enumerate(files):
            # A few bytes behind the end of a picture make it another file.
            (mine / f"{number:05d}").write_bytes(data + str(number).encode())
        wall, used = time.perf_counter(), time.process_time()
        found = collect_from("folder", "x", out, folder=mine.parent)
        wall, used = time.perf_counter() - wall, time.process_time() - used
    count = found["pictures"]
    cores = f"{used / wall:.2f} of {os.cpu_count()} cores busy"
    print(f"\nCollecting {count} {name} from a folder: {count / wall:.0f} pictures/s, {cores}.")


def recall(files: list[bytes]) -> None:
    images = [door.open_picture(data, door.MAX_PIXELS) for data in files]
    originals = [perceptual_hash(image) for image in images]
    print(
        "| copy | recall, dhash alone (6 bits) | recall | precision | median and 99th percentile of differing bits |"
    )
    print("|---|---|---|---|---|")
    for name, (change, _) in COPIES.items():
        copies = [perceptual_hash(change(image)) for image in images]
        every = hash_matrix([*originals, *copies])
        i, j = near_pairs(every)
        right = np.count_nonzero(j - i == len(files))
        bits = np.bitwise_count(hash_matrix(originals) ^ hash_matrix(copies))
        whole = bits.sum(1)
        spread = f"{np.median(whole):.0f}, {np.quantile(whole, 0.99):.0f}"
        alone = np.mean(bits[:, 0] <= 6)
        print(f"| {name} | {alone:.1%} | {right / len(files):.1%} | {right / len(i):.1%} | {spread} |")


def random_rows(rng: random.Random, label: str, count: int) -> list[PictureRow]:
    """Every twentieth is a near-duplicate of the one before it."""
    rows: list[PictureRow] = []
    for number in range(count):
        sha = f"{rng.getrandbits(256):064x}"
        new = PictureRow(f"pictures/{sha[:16]}.jpg", label, sha, f"{rng.getrandbits(64):016x}", 64, 64, 1, "bench",
                  phash=f"{rng.getrandbits(176):044x}")  # fmt: skip
        if number % 20 == 19:
            last = rows[-1]
            flips = rng.getrandbits(64) & rng.getrandbits(64) & rng.getrandbits(64)
            new = replace(new, dhash=f"{int(last.dhash, 16) ^ flips:016x}", phash=last.phash)
        rows.append(new)
    return rows


def large_split(count: int) -> None:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        root, downloads = Path(place), {}
        for label in map(str, range(10)):
            downloads[label] = root / label
            (root / label / "pictures").mkdir(parents=True)
            rows = random_rows(rng, label, count // 10)
            for row in rows:
                (root / label / row.file).write_bytes(b"x")
            manifest.write_jsonl(root / label / "manifest.jsonl", rows)
        (root / "out").mkdir()
        wall, used = time.perf_counter(), time.process_time()
        found = split(
            downloads, root / "out", Division(0), curation=None, on_progress=lambda share, words: None
        )
        wall, used = time.perf_counter() - wall, time.process_time() - used
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cost = f"{wall:.1f} s, {used:.1f} s of CPU, {memory:.0f} MiB"
        print(f"\nSplitting {count:,} pictures in 10 classes: {cost}; {found}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("pictures", type=int, nargs="?", default=100_000)
    asked = parser.parse_args()
    photographs = [path.read_bytes() for path in sorted(asked.photographs.glob("*/*.jpg"))]
    rates(photographs)
    all_cores("photographs", photographs * 10)
    all_cores("of 12 megapixels", [*map(large, photographs[:100])])
    print()
    recall(photographs)
    large_split(asked.pictures)


if __name__ == "__main__":
    main()
