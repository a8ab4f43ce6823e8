"""A data root as stages leave it: collected pictures, a data set of some of them, and what a model says of it."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from greenr_luigi import contracts
from greenr_luigi.dataset import rows
from greenr_luigi.evaluation import label_issues, predictions
from greenr_luigi.pictures import door, manifest
from greenr_luigi.pictures.manifest import PictureRow
from greenr_luigi.review.catalogue import Catalogue, Places
from tests import tiny_release

LABELS = ("dandelion", "grass")


def picture(number: int, side: int = 64) -> bytes:
    """Another one each number; quickly made."""
    buffer = io.BytesIO()
    colour = (number * 37 % 256, number // 7 % 256, number % 251)
    Image.new("RGB", (side, side + number % 5), colour).save(buffer, "PNG")
    return buffer.getvalue()


class Collected:
    """`count` pictures a class, of which every tenth is in no data set, half of these left out, and the rest on a side.
    Of every class the first three in the data set are doubtful, and the held-out ones are more and more familiar."""

    def __init__(
        self, folder: Path, count: int, trained: bool = True, labels: tuple[str, ...] = LABELS
    ) -> None:
        self.root, self.labels = folder / "data", labels
        self.folders = {
            label: self.root / "DownloadImages" / f"{number}-0" for number, label in enumerate(labels)
        }
        self.dataset, self.evaluation = self.root / "SplitDataset" / "0", self.root / "EvaluateModel" / "0"
        self.rows: dict[str, list[PictureRow]] = {}
        self.trained = trained
        for label, place in self.folders.items():
            (place / "pictures").mkdir(parents=True)
            start = labels.index(label) * 100_000
            self.rows[label] = [self._collect(place, label, start + number) for number in range(count)]
            manifest.write_jsonl(place / manifest.MANIFEST, self.rows[label])
        if trained:
            self._train()

    def _collect(self, place: Path, label: str, number: int) -> PictureRow:
        data = picture(number)
        sha = door.sha256(data)
        (place / "pictures" / f"{sha[:16]}.png").write_bytes(data)
        fetched = f"2026-01-{1 + number % 28:02}T10:00:00+00:00"
        engine = ("bing", "openverse")[number % 2]
        return PictureRow(
            f"pictures/{sha[:16]}.png", label, sha, sha[:16], 64, 64, len(data), engine,
            fetched=fetched, phash=sha[:44],
        )  # fmt: skip

    def _train(self) -> None:
        taken, out, issues, judged = [], [], [], []
        for label, found in self.rows.items():
            other = self.labels[1 - self.labels.index(label)]
            for number, row in enumerate(found):
                if number % 10 == 9:
                    if number % 20 == 9:
                        out.append(rows.Excluded(row.file, label, row.sha256, "duplicate", "the same"))
                    continue
                side = ("train", "train", "train", "valid", "test")[number % 5]
                file = f"{side}/{self.labels.index(label)}/{row.sha256[:16]}.png"
                taken.append(rows.SplitRow(**vars(dataclasses.replace(row, file=file)), side=side))
                if number < 3:
                    issues.append(label_issues.LabelIssue(file, label, other, 0.1 + number / 10))
                if side != "train":
                    predicted = other if number < 5 else label
                    judged.append(predictions.Prediction(file, label, side, predicted, number / len(found)))
        self.dataset.mkdir(parents=True)
        self.evaluation.mkdir(parents=True)
        manifest.write_csv(self.dataset / rows.SPLIT, taken, rows.SplitRow)
        labels = [msgspec.convert(row, rows.LabelRow, from_attributes=True) for row in taken]
        manifest.write_csv(self.dataset / rows.LABELS, labels, rows.LabelRow)
        manifest.write_csv(self.dataset / rows.EXCLUDED, out, rows.Excluded)
        label_issues.write_label_issues(self.evaluation, issues)
        logits = np.zeros((len(judged), len(self.labels)))
        said = predictions.Predictions([*self.labels], judged, logits)
        predictions.write_predictions(self.evaluation / "predictions.csv", said)
        metrics = dataclasses.replace(tiny_release.METRICS, classes=[*self.labels], familiarity=0.2)
        contracts.write(self.evaluation / "metrics.json", metrics)

    def places(self) -> Places:
        if self.trained:
            return Places(self.folders, self.dataset, self.evaluation)
        return Places(self.folders)

    def catalogue(self) -> Catalogue:
        return Catalogue(self.places)
