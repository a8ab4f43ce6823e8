"""What a release carries for its model page: small pictures of those held out, and where all came from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.dataset.rows import read_manifest
from greenr_luigi.deployment import attribution, provenance
from greenr_luigi.pictures.thumbnail import thumbnail
from greenr_luigi.staleness import regular

#: The longest side of a picture in pixels, and how many are taken of a class at most.
SIDE = 240
PER_CLASS = 200


def write_gallery(dataset: Path, out: Path) -> list[Path]:
    """From a SplitDataset folder, write `pictures/<sha16>.jpg` of its test pictures, `sources.json` and, where
    searches found some, `attribution.csv`. Returns the paths of these."""
    rows = read_manifest(dataset)
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    shown: Counter[str] = Counter()
    for row in rows:
        if row.side == "test" and shown[row.label] < PER_CLASS:
            shown[row.label] += 1
            image = thumbnail(regular.read(dataset / row.file), SIDE)
            image.save(out / "pictures" / f"{Path(row.file).stem}.jpg", quality=80)
    contracts.write(out / provenance.NAME, provenance.provenance_of(rows))
    attribution.write(out / attribution.NAME, attribution.credits_of(rows))
    names = ("pictures", provenance.NAME, attribution.NAME)
    return [path for name in names if (path := out / name).exists()]
