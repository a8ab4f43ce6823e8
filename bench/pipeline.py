"""The whole pipeline on real photographs: seconds a stage, error, and how a model trained on drawings does on them.

python bench/pipeline.py PHOTOGRAPHS    (a folder with one sub-folder a class)
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))


def deploy(home: Path, classes: list[str], *options: str) -> dict[str, Path]:
    """Run the graph in `home`; prints what each stage took, and returns the stages' outputs."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    luigi = [sys.executable, "-m", "luigi", "--module", "tasks", "DeployApp", "--local-scheduler"]
    command = [*luigi, "--classes", ",".join(classes), "--port", "8766", *options]
    subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True)
    stop = [sys.executable, "-m", "greenr_luigi.cli", "stop"]
    subprocess.run(stop, cwd=home, env=environment, check=True, capture_output=True)
    folders = {}
    for stamp_file in sorted((home / "data").glob("*/*/stamp.json"), key=lambda path: path.stat().st_mtime):
        if stamp_file.parent.is_symlink():
            stamp = json.loads(stamp_file.read_text())
            folders[stamp["title"]] = stamp_file.parent
            print(f"  {stamp['title']:28} {stamp['finished'] - stamp['started']:7.1f} s")
    return folders


def report(evaluation: Path) -> None:
    from greenr_luigi import contracts
    from greenr_luigi.evaluation.metrics import Metrics

    metrics = contracts.read(evaluation / "metrics.json", Metrics)
    low, high = metrics.error_interval
    print(f"  error on its own test pictures: {metrics.error:.1%} (95 % interval {low:.1%} to {high:.1%})")


def error_on(exported: Path, photographs: Path, classes: list[str]) -> float:
    """The fraction of the photographs to which the model gives another class than their folder's."""
    from greenr_luigi.dataset import pixels
    from greenr_luigi.export.model_card import read_card
    from greenr_luigi.inference import open_session

    card, session = read_card(exported), open_session(exported / "model.onnx")
    files = [(label, file) for label in classes for file in sorted((photographs / label).iterdir())]
    wrong = 0
    for label, file in files:
        probabilities = session.run(
            ["probabilities"], {"pixels": pixels.read_pixels(file, card.image_size)[None]}
        )[0]
        wrong += card.classes[int(probabilities.argmax())] != label
    return wrong / len(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    photographs = parser.parse_args().photographs.resolve()
    classes = sorted(path.name for path in photographs.iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory() as home:
        print(f"trained on the photographs of {', '.join(classes)}:")
        report(
            deploy(Path(home), classes, "--source", "folder", "--folder", str(photographs))["EvaluateModel"]
        )
    with tempfile.TemporaryDirectory() as home:
        print("trained on drawings (source sample):")
        folders = deploy(Path(home), classes, "--source", "sample")
        report(folders["EvaluateModel"])
        print(f"  error on all the photographs: {error_on(folders['ExportModel'], photographs, classes):.1%}")


if __name__ == "__main__":
    main()
