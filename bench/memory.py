"""The most memory that training, evaluation and the gate hold, of so many pictures whose features are kept already:
synthetic ones, so that no picture need lie anywhere.

python -m bench.memory PICTURES [HOME]    (HOME keeps what is made for the next time)
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CLASSES = ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
SIZE, EPOCHS = 224, 4


def make(home: Path, pictures: int) -> None:
    """A data set's tables, and the features and thumbnails of its pictures."""
    from PIL import Image

    from greenr_luigi import contracts
    from greenr_luigi.dataset import rows
    from greenr_luigi.dataset.rows import Excluded, LabelRow, SplitNote, SplitRow
    from greenr_luigi.kept import FEATURES, Kept
    from greenr_luigi.pictures.manifest import write_csv
    from greenr_luigi.pictures.thumbnails import Thumbnails
    from greenr_luigi.training import architectures, body_onnx, embedding
    from greenr_luigi.training.saved_model import Training, Weights

    dataset = home / "dataset"
    dataset.mkdir(parents=True)
    chance = np.random.default_rng(0)
    names = [f"{number:016x}" for number in np.sort(chance.integers(2**63, size=pictures))]
    sides = chance.choice(["train", "valid", "test"], pictures, p=[0.7, 0.15, 0.15])
    labels = chance.integers(len(CLASSES), size=pictures)
    of_all = [
        SplitRow(file=f"{side}/{CLASSES[k]}/{name}.jpg", label=CLASSES[k], sha256=name * 4, dhash="0" * 16, width=1,
                 height=1, bytes=1, engine="folder", side=str(side))
        for name, side, k in zip(names, sides, labels.tolist(), strict=True)
    ]  # fmt: skip
    write_csv(dataset / rows.SPLIT, of_all, SplitRow)
    write_csv(dataset / rows.LABELS, [LabelRow(r.file, r.label, r.sha256, r.side) for r in of_all], LabelRow)
    write_csv(dataset / rows.EXCLUDED, [], Excluded)
    contracts.write(dataset / rows.REFUSED, [])
    contracts.write(dataset / rows.NOTE, SplitNote({}, {}, {}, 0, 0))
    architecture = architectures.find(architectures.DEFAULT)
    mean, std = list(architecture.mean), list(architecture.std)
    training = Training(architecture.name, CLASSES, SIZE, mean, std, "head", 1, 0, Weights("", ""))
    body = architectures.learner(architecture, CLASSES, SIZE, pretrained=True).model[0]
    embedder = embedding.of_network(body_onnx.kept(home / "data", body, training), SIZE)
    centers = 0.15 * chance.normal(size=(len(CLASSES), embedder.size()))
    with Kept(home / "data" / FEATURES, embedder.digest, sys.exit) as kept:
        for name, k in zip(names, labels, strict=True):
            vector = np.maximum(centers[k] + 0.5 * chance.normal(size=embedder.size()), 0)
            kept.keep({name: vector.astype("<f4").tobytes()})
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG")
    thumbnails = Thumbnails(home / "data")
    small, kept_thumbnails = thumbnails.get(names[0], buffer.getvalue), thumbnails._opened()
    assert kept_thumbnails
    with kept_thumbnails:
        for name in names:
            kept_thumbnails.keep({name: small})


def measure(home: Path, what: str) -> None:
    """In a process of its own."""
    dataset, root, model, evaluation, exported = (
        home / name for name in ("dataset", "data", "model", "evaluation", "exported")
    )
    began = time.monotonic()
    if what == "train":
        from greenr_luigi.training.train import Hyperparameters, train

        how = Hyperparameters("tf_efficientnet_lite0", EPOCHS, seed=0, image_size=SIZE)
        train(dataset, model, how, on_progress=lambda *_: None, root=root)
    elif what == "evaluate":
        from greenr_luigi.evaluation.evaluate import evaluate

        evaluate(dataset, model, evaluation, on_progress=lambda *_: None, root=root)
    else:
        from greenr_luigi.deployment.gallery import write_gallery
        from greenr_luigi.deployment.gate import Limits, judge

        judge(exported, exported, dataset, Limits(), root=root)
        write_gallery(dataset, evaluation, root)
    # A process that was forked begins with the other measure's, of getrusage, where its parent stood.
    status = dict(
        line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    print(json.dumps([int(status["VmHWM"].split()[0]) / 2**20, time.monotonic() - began]))


def export(home: Path) -> None:
    """Of a model, as far as the gate asks for it: there are no pictures to compare on."""
    from greenr_luigi import contracts
    from greenr_luigi.evaluation.metrics import Metrics
    from greenr_luigi.export import assembly, model_card
    from greenr_luigi.export.model_card import ModelCard
    from greenr_luigi.pictures import door
    from greenr_luigi.training import body_onnx, linear_head
    from greenr_luigi.training.architectures import load_model

    learn, training = load_model(home / "model")
    metrics = contracts.read(home / "evaluation" / "metrics.json", Metrics)
    body, centers = (
        body_onnx.kept(home / "data", learn.model[0], training),
        np.load(home / "evaluation/centers.npy"),
    )
    (home / "exported").mkdir(exist_ok=True)
    head = linear_head.folded(learn.model[1])
    parts = assembly.Parts(body, head.weight, head.bias, metrics.temperature, centers)
    (home / "exported" / "model.onnx").write_bytes(assembly.assembled(parts))
    card = ModelCard(1, CLASSES, SIZE, metrics.threshold, metrics.familiarity, door=door.VERSION)
    contracts.write(home / "exported" / model_card.NAME, card)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=int)
    parser.add_argument("home", type=Path, nargs="?")
    parser.add_argument("--only", help="one of train, evaluate, gate, in this process")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = (arguments.home or Path(folder)).resolve()
        if arguments.only:
            measure(home, arguments.only)
            return
        if not (home / "dataset").exists():
            make(home, arguments.pictures)
        for name in ("model", "evaluation"):
            (home / name).mkdir(exist_ok=True)
        for what in ("train", "evaluate", "gate"):
            if what == "gate":
                export(home)
            command = [sys.executable, __file__, str(arguments.pictures), str(home), "--only", what]
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            gibibytes, seconds = json.loads(told.splitlines()[-1])
            print(f"{what:10} {gibibytes:6.2f} GiB at most  {seconds:7.1f} s", flush=True)


if __name__ == "__main__":
    main()
