"""What 8-bit integers bring a network, by its architecture: float32 and int8 take turns on one thread.

`python -m bench.integers [ARCHITECTURE ...]`: untrained, so nothing is downloaded and only the times mean anything;
quantization.RELUS is set aside. Prints ReLUs a convolution, milliseconds a picture (least of 40 runs) and the ratio.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from greenr_luigi.export import onnx_export, quantization
from greenr_luigi.inference import open_session
from greenr_luigi.training import architectures

KNOWN = (
    "tf_efficientnet_lite0", "resnet18", "resnet34", "resnet50", "mobilenetv2_100", "densenet121", "squeezenet1_1",
    "regnetx_004", "regnety_004", "convnext_atto", "convnext_tiny", "mobilenetv3_large_100", "mobilenetv3_small_100",
    "efficientnet_b0",
)  # fmt: skip
SIDE, RUNS = 224, 40


def measure(name: str, folder: Path) -> str:
    learn = architectures.learner(architectures.find(name), ["a", "b"], SIDE, pretrained=False)
    model = learn.model.eval()
    features = next(part.in_features for part in model[1].children() if hasattr(part, "in_features"))
    centers = np.zeros((2, features), np.float32)
    served = onnx_export.Served(model, [0.5] * 3, [0.5] * 3, 1.0, centers).eval()
    files = folder / "model.onnx", folder / "model.int8.onnx"
    onnx_export.write_onnx(served, SIDE, files[0])
    noise = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    pictures = [folder / f"{number}.png" for number in range(len(noise))]
    for picture, pixels in zip(pictures, noise, strict=True):
        Image.fromarray(pixels).save(picture)
    nodes = [node.op_type for node in onnx.load(files[0]).graph.node]
    relus = sum(nodes.count(kind) for kind in ("Relu", "Clip")) / nodes.count("Conv")
    if not quantization.quantize(files[0], pictures, SIDE, files[1]):
        return f"{name:24} {relus:6.2f}   no convolution between the first three and the last"
    sessions = [open_session(file, threads=1) for file in files]  # As a worker of the web classifier runs it.
    least = [float("inf")] * 2
    for _ in range(RUNS):
        for which, session in enumerate(sessions):
            began = time.perf_counter()
            session.run(["probabilities"], {"pixels": noise[:1]})
            least[which] = min(least[which], 1000 * (time.perf_counter() - began))
    return f"{name:24} {relus:6.2f} {least[0]:9.1f} {least[1]:8.1f} {least[0] / least[1]:8.2f} x"


def main() -> None:
    quantization.RELUS = 0.0
    print(f"{'architecture':24} {'ReLUs':>6} {'float32':>9} {'int8':>8} {'gain':>10}")
    for name in sys.argv[1:] or KNOWN:
        with tempfile.TemporaryDirectory() as folder:
            print(measure(name, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
