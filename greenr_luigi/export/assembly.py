"""The model as it is served: a body's ONNX file with a head behind it, put together without torch's exporter."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from greenr_luigi.evaluation.familiarity import Features
from greenr_luigi.training.body_onnx import FEATURES, POOLED
from greenr_luigi.training.heads import Head

#: Of the unit vector of a picture without any features.
LEAST_LENGTH = 1e-12


def assembled(body: bytes, head: Head, temperature: float, centers: Features) -> bytes:
    """From the ONNX file of a body (training/body_onnx.py), one from uint8 pixels (n, S, S, 3) to probabilities (n,
    classes), heat (n, classes, h, w) and familiarity (n,), the cosine of the pooled features with the nearest of
    `centers` (classes, features).

    Heat is the head at each location. Its mean over locations is the class's logit (class activation maps: Zhou et al.,
    "Learning Deep Features for Discriminative Localization", CVPR 2016).
    """
    model = onnx.load_from_string(body)
    graph = model.graph

    def constant(name: str, values: Any, kind: type = np.float32) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(kind, inputs, [output], f"head/{output}", **attributes))
        return output

    weight, bias = constant("weight", head.weight[:, :, None, None]), constant("bias", head.bias)
    heat = node("Conv", [FEATURES, weight, bias], "heat", kernel_shape=[1, 1])
    places, each = constant("places", [2, 3], np.int64), constant("each", [1], np.int64)
    logits = node("ReduceMean", [heat, places], "logits", keepdims=0)
    scaled = node("Mul", [logits, constant("scale", 1 / temperature)], "scaled")
    probabilities = node("Softmax", [scaled], "probabilities", axis=1)
    length = node("ReduceL2", [POOLED, each], "length", keepdims=1)
    least = node("Max", [length, constant("least", LEAST_LENGTH)], "least_length")
    unit = node("Div", [POOLED, least], "unit")
    cosines = node("MatMul", [unit, constant("centers", centers.T)], "cosines")
    familiarity = node("ReduceMax", [cosines, each], "familiarity", keepdims=0)

    pictures, _, *locations = _shape(graph.output[0])
    classes = len(head.bias)
    del graph.output[:]
    for name, shape in (
        (probabilities, [pictures, classes]),
        (heat, [pictures, classes, *locations]),
        (familiarity, [pictures]),
    ):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _shape(output: onnx.ValueInfoProto) -> list[str | int]:
    return [size.dim_param or size.dim_value for size in output.type.tensor_type.shape.dim]
