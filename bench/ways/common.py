"""What LitServe's and BentoML's way share with ours: the same model file, decoding and runtime settings."""

import os

import numpy as np
import onnxruntime
from PIL import Image

SIZE = int(os.environ["BENCH_SIZE"])


def session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(os.environ["BENCH_ONNX"], options, providers=["CPUExecutionProvider"])


def pixels(file):
    image = Image.open(file).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(image)[None]


def answer(asked, batch):
    probabilities = asked.run(["probabilities"], {"pixels": batch})[0][0]
    return {"probabilities": probabilities.tolist()}
