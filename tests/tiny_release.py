"""Releases with a tiny model, built without torch: it tells pictures apart by their mean colour."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from greenr_luigi import releases

SIZE = 32
CLASSES = ("dandelion", "grass", "pissenlit <b>é</b>")
#: Rows: the classes; columns: red, green, blue in 0 to 1.
WEIGHTS = np.array([[20, 2, -20], [-20, 20, -10], [-20, -20, 20]], np.float32)


def model(weights: np.ndarray = WEIGHTS, size: int = SIZE) -> bytes:
    """uint8 (N, S, S, 3) to `probabilities` (N, C) and `heat` (N, C, S/8, S/8)."""
    count = len(weights)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["pooled", "weights"], ["heat"]),
        helper.make_node("ReduceMean", ["heat", "axes"], ["logits"], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", size, size, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", count]),
            helper.make_tensor_value_info("heat", TensorProto.FLOAT, ["n", count, size // 8, size // 8]),
        ],
        [
            numpy_helper.from_array(np.float32(1 / 255), "scale"),
            numpy_helper.from_array(weights.reshape(count, 3, 1, 1).astype(np.float32), "weights"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def export(folder: Path, variant: int = 0, **about: object) -> Path:
    """What ExportModel leaves; variants differ in the order of their classes, so their answers differ too."""
    folder.mkdir(parents=True, exist_ok=True)
    turn = variant % len(CLASSES)
    classes = [*CLASSES[turn:], *CLASSES[:turn]]
    (folder / "model.onnx").write_bytes(model())
    described = {
        "format": 1,
        "classes": classes,
        "image_size": SIZE,
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
        "resize": "squish-bilinear",
        "temperature": 1.0,
        "threshold": 0.6,
        "arch": f"tiny-{variant}",
        "metrics": {"accuracy": 0.9},
        "data": {"counts": {label: {"train": 8, "valid": 1, "test": 1} for label in classes}},
        "versions": {},
        "license": "CC0-1.0",
        **about,
    }
    (folder / "model.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    return folder


def publish(store: Path, variant: int = 0, **about: object) -> str:
    return releases.publish(store, export(store.parent / f"export-{variant}", variant, **about))


def deploy(store: Path, variant: int = 0, **about: object) -> str:
    digest = publish(store, variant, **about)
    releases.point(store, digest)
    return digest


def picture(colour: str = "yellow", side: int = 64, kind: str = "JPEG") -> bytes:
    """A picture of one colour: yellow is a dandelion, green is grass, in variant 0."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, kind)
    return buffer.getvalue()
