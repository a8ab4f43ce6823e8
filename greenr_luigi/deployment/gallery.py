"""What a release carries for its model page: small pictures of those held out, and where all came from."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from PIL import Image

from greenr_luigi.pictures.door import open_picture
from greenr_luigi.web.model_card import sources

#: The longest side of a picture in pixels, and how many are taken of a class at most.
SIDE = 240
OF_A_CLASS = 200


def write(dataset: Path, out: Path) -> None:
    """From a SplitDataset folder, write `pictures/<sha16>.jpg` of the side "test", and `sources.json`: where the
    pictures came from, and the sha16 of those that the model learned from or was chosen by, which the next one must not
    be compared on."""
    with (dataset / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    taken: dict[str, int] = {}
    for row in rows:
        if row["side"] != "test" or taken.get(row["label"], 0) >= OF_A_CLASS:
            continue
        taken[row["label"]] = taken.get(row["label"], 0) + 1
        image = open_picture((dataset / row["file"]).read_bytes(), at_least=SIDE)
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        image.save(out / "pictures" / f"{Path(row['file']).stem}.jpg", quality=80)
    (out / "sources.json").write_text(
        json.dumps(
            {
                "sources": sources(rows),
                "learned_from": sorted(Path(row["file"]).stem for row in rows if row["side"] != "test"),
            },
            indent=1,
        )
        + "\n",
        encoding="utf-8",
    )
