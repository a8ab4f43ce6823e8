"""What a release carries for its model page: small pictures of those held out, and where all came from."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from greenr_luigi import contracts, cores
from greenr_luigi.dataset.rows import SplitRow, read_manifest
from greenr_luigi.deployment import attribution, provenance
from greenr_luigi.pictures.thumbnails import Thumbnails
from greenr_luigi.staleness import regular

#: How many pictures are taken of a class at most.
PER_CLASS = 200


def write_gallery(dataset: Path, out: Path, root: Path | None = None) -> list[Path]:
    """From a SplitDataset folder, write `pictures/<sha16>.jpg` of its test pictures, `sources.json` and, where
    searches found some, `attribution.csv`. Returns the paths of these. `root`: a data root, where thumbnails stay."""
    rows = read_manifest(dataset)
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    shown: Counter[str] = Counter()
    thumbnails = Thumbnails(root)

    def write(row: SplitRow) -> None:
        sha16 = Path(row.file).stem
        small = thumbnails.get(sha16, lambda: regular.read(dataset / row.file))
        (out / "pictures" / f"{sha16}.jpg").write_bytes(small)

    with ThreadPoolExecutor(cores.allowed()) as pool:
        chosen = []
        for row in rows:
            if row.side == "test" and shown[row.label] < PER_CLASS:
                shown[row.label] += 1
                chosen.append(row)
        for _ in pool.map(write, chosen):
            pass
    contracts.write(out / provenance.NAME, provenance.provenance_of(rows))
    attribution.write(out / attribution.NAME, attribution.credits_of(rows))
    names = ("pictures", provenance.NAME, attribution.NAME)
    return [path for name in names if (path := out / name).exists()]
