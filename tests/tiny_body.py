"""A body as ONNX that is made in no time: a picture's colours at each place, and on average."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIZE = 4
FEATURES = 3


def body(factor: float = 1.0) -> bytes:
    """Bytes of a file as training/body_onnx.py writes it; `factor` makes another body of it."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "factor"], ["coloured"]),
        helper.make_node("Transpose", ["coloured"], ["features"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["features", "axes"], ["pooled"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["pictures", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["pictures", FEATURES, SIZE, SIZE]),
            helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["pictures", FEATURES]),
        ],
        [
            numpy_helper.from_array(np.array(factor / 255, np.float32), "factor"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))
