"""Releases with a tiny model, built without torch: it tells pictures apart by their mean colour, and dark ones are
strange to it."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from greenr_luigi import contracts
from greenr_luigi.deployment import attribution
from greenr_luigi.deployment.attribution import Credit
from greenr_luigi.evaluation.metrics import (
    ClassMetrics,
    CrossValidation,
    DataCounts,
    HeldOutCounts,
    Measured,
    Metrics,
)
from greenr_luigi.serving import publishing, readiness, rollout, server
from greenr_luigi.serving.service import Service

SIZE = 32
CLASSES = ("dandelion", "grass", "pissenlit <b>é</b>")
#: Rows: the classes; columns: red, green, blue in 0 to 1. Grey says nothing for any of them.
WEIGHTS = np.array([[10, 10, -20], [-20, 20, 0], [-10, -10, 20]], np.float32)

#: Pictures whose makers are named.
CREDITS = 230
COUNTS = {"train": 80, "valid": 10, "test": 10}
METRICS = Metrics(
    classes=sorted(CLASSES),
    pictures=HeldOutCounts(valid=30, test=30),
    accuracy=0.9,
    error=0.1,
    error_interval=(0.035, 0.256),
    per_class={label: ClassMetrics(precision=0.9, recall=None, pictures=10) for label in CLASSES},
    confusion=[{0: 9, 1: 1}, {1: 10}, {0: 2, 2: 8}],
    temperature=1.0,
    threshold=0.6,
    coverage_asked=0.97,
    coverage=0.95,
    error_of_answered=0.05,
    loss=0.3,
    calibration_error=0.02,
    calibration_error_before=0.05,
    reliability=[],
    data=DataCounts("", {side: dict.fromkeys(sorted(CLASSES), count) for side, count in COUNTS.items()}),
    familiarity=0.12,
    unfamiliar=0.03,
    cross_validation=CrossValidation(5, 270, 0.08, (0.054, 0.12), 0.28, 0.015),
)


def model(weights: np.ndarray = WEIGHTS, size: int = SIZE) -> bytes:
    """uint8 (N, S, S, 3) to `probabilities` (N, C), `heat` (N, C, S/8, S/8) and `familiarity` (N,), the mean of
    all values from 0 to 1."""
    count = len(weights)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["pooled", "weights"], ["heat"]),
        helper.make_node("ReduceMean", ["heat", "axes"], ["logits"], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ReduceMean", ["scaled", "all but the first"], ["familiarity"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", size, size, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", count]),
            helper.make_tensor_value_info("heat", TensorProto.FLOAT, ["n", count, size // 8, size // 8]),
            helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, ["n"]),
        ],
        [
            numpy_helper.from_array(np.float32(1 / 255), "scale"),
            numpy_helper.from_array(weights.reshape(count, 3, 1, 1).astype(np.float32), "weights"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
            numpy_helper.from_array(np.array([1, 2, 3], np.int64), "all but the first"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def costly(kind: str, weights: np.ndarray = WEIGHTS) -> bytes:
    """The model, which never comes to an end ("endless"), needs a terabyte ("huge"), or neither ("cheap")."""
    made = onnx.load_from_string(model(weights))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [])
    going = helper.make_tensor_value_info("going", TensorProto.BOOL, [])
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    same = [
        helper.make_node("Identity", ["going"], ["still"]),
        helper.make_node("Identity", ["x"], ["y"]),
    ]
    results = [
        helper.make_tensor_value_info("still", TensorProto.BOOL, []),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, []),
    ]
    body = helper.make_graph(same, "body", [count, going, given], results)
    nodes = {
        "cheap": [helper.make_node("Identity", ["scale"], ["cost"])],
        "endless": [helper.make_node("Loop", ["", "true", "scale"], ["cost"], body=body)],
        "huge": [
            helper.make_node("ConstantOfShape", ["terabyte"], ["zeros"]),
            helper.make_node("ReduceMean", ["zeros"], ["zero"], keepdims=0),
            helper.make_node("Add", ["scale", "zero"], ["cost"]),
        ],
    }[kind]
    made.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(True), "true"),
            numpy_helper.from_array(np.array([2**38], np.int64), "terabyte"),
        ]
    )
    made.graph.node[1].input[1] = "cost"
    for place, node in enumerate(nodes, start=1):
        made.graph.node.insert(place, node)
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
        "familiarity": 0.12,
        "arch": f"tiny-{variant}",
        "metrics": contracts.plain(msgspec.convert(METRICS, Measured, from_attributes=True)),
        "data": contracts.plain(METRICS.data),
        "versions": {},
        "license": "CC0-1.0",
        **about,
    }
    (folder / "model.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    return folder


def serve(
    folder: Path, digest: str, port: int = 0, workers: int = 1, root_path: str = "", timeout: float = 60
) -> readiness.Server:
    """A server of the store `folder/releases`; to be stopped by `server.stop(folder / "server")`."""
    service = Service(folder / "releases", folder / "server", port=port, workers=workers, root_path=root_path)
    return server.ensure(service, digest, timeout)


def publish(store: Path, variant: int = 0, **about: object) -> str:
    return publishing.publish(store, export(store.parent / f"export-{variant}", variant, **about).iterdir())


def deploy(store: Path, variant: int = 0, evaluated: bool = False, **about: object) -> str:
    """`evaluated`: with what EvaluateModel and the gallery leave."""
    exported = export(store.parent / f"export-{variant}", variant, **about)
    if evaluated:
        evaluation(exported)
    digest = publishing.publish(store, exported.iterdir())
    rollout.point(store, digest)
    return digest


#: A dandelion by its probability, and too dark to be familiar.
STRANGE = "#282800"


def picture(colour: str = "yellow", side: int = 64, kind: str = "JPEG") -> bytes:
    """A picture of one colour: yellow is a dandelion, green is grass, in variant 0."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, kind)
    return buffer.getvalue()


def evaluation(folder: Path) -> None:
    """What EvaluateModel and the gallery leave beside an export: metrics, predictions, pictures, sources."""
    classes = METRICS.classes
    lines = [f"file,label,side,predicted,familiarity,{','.join(f'logit:{label}' for label in classes)}"]
    (folder / "pictures").mkdir()
    for label, row in zip(classes, METRICS.matrix, strict=True):
        for predicted, count in zip(classes, row, strict=True):
            for _ in range(count):
                colour = ("gold", "seagreen", "steelblue")[classes.index(label)]
                data = picture(colour, 64 + len(lines))
                name = hashlib.sha256(data).hexdigest()[:16]
                (folder / "pictures" / f"{name}.jpg").write_bytes(data)
                lines.append(f"test/x/{name}.png,{label},test,{predicted},0.5,0,0,0")
    (folder / "predictions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    contracts.write(folder / "metrics.json", METRICS)
    deed = "https://creativecommons.org/licenses/by/2.0/"
    credits = [
        Credit("grass", f"https://site.example/{n}", f"A. <b>{n}</b>", "CC BY 2.0", deed, "bing")
        for n in range(CREDITS)
    ]
    attribution.write(folder / attribution.NAME, credits)
    rows = [
        {"engine": "sample", "license": "CC0-1.0", "pictures": 240},
        {"engine": "bing", "license": "CC BY 2.0", "pictures": CREDITS},
    ]
    (folder / "sources.json").write_text(json.dumps({"sources": rows}), encoding="utf-8")
