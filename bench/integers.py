"""What 8-bit integers bring a network, by its architecture: float32 and int8 take turns on one thread.

`python -m bench.integers [ARCHITECTURE ...]`: untrained, so nothing is downloaded and only the times mean anything;
quantization.RELUS is set aside. Prints ReLUs a convolution, milliseconds a picture (least of 40 runs) and the ratio.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import onnx

from greenr_luigi.export import quantization
from greenr_luigi.inference import open_session
from greenr_luigi.training import architectures, body_onnx
from greenr_luigi.training.saved_model import Training, Weights

KNOWN = (
    "tf_efficientnet_lite0", "resnet18", "resnet34", "resnet50", "mobilenetv2_100", "densenet121", "squeezenet1_1",
    "regnetx_004", "regnety_004", "convnext_atto", "convnext_tiny", "mobilenetv3_large_100", "mobilenetv3_small_100",
    "efficientnet_b0",
)  # fmt: skip
SIDE, RUNS = 224, 40


def measure(name: str) -> str:
    architecture = architectures.find(name)
    learn = architectures.learner(architecture, ["a", "b"], SIDE, pretrained=False)
    training = Training(
        name, ["a", "b"], SIDE, [*architecture.mean], [*architecture.std], "head", 0, 0, Weights("", "")
    )
    body = body_onnx.written(learn.model[0].eval(), training)
    nodes = [node.op_type for node in onnx.load_from_string(body).graph.node]
    relus = sum(nodes.count(kind) for kind in ("Relu", "Clip")) / nodes.count("Conv")
    integers = quantization.quantized(body, SIDE)
    if not integers:
        return f"{name:24} {relus:6.2f}   no convolution but the first three"
    noise = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    sessions = [
        open_session(file, threads=1) for file in (body, integers)
    ]  # As a worker of the web classifier runs it.
    least = [float("inf")] * 2
    for _ in range(RUNS):
        for which, session in enumerate(sessions):
            began = time.perf_counter()
            session.run(["pooled"], {"pixels": noise})
            least[which] = min(least[which], 1000 * (time.perf_counter() - began))
    return f"{name:24} {relus:6.2f} {least[0]:9.1f} {least[1]:8.1f} {least[0] / least[1]:8.2f} x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", default=KNOWN)
    asked = parser.parse_args()
    quantization.RELUS = 0.0
    print(f"{'architecture':24} {'ReLUs':>6} {'float32':>9} {'int8':>8} {'gain':>10}")
    for name in asked.architectures:
        print(measure(name), flush=True)


if __name__ == "__main__":
    main()
