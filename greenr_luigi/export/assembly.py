"""The model as it is served: a body's ONNX file with a head behind it, put together without torch's exporter."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from greenr_luigi.evaluation.familiarity import Features
from greenr_luigi.training.embedding import MAPS, POOLED

#: Of the unit vector of a picture without any features.
LEAST_LENGTH = 1e-12
#: What the head adds to a body's file, and the outputs of that.
CONSTANTS = ["weight", "bias", "places", "each", "scale", "least", "centers"]
OF_BODY = [MAPS, POOLED]


class Parts(NamedTuple):
    """What a served model is put together from: the ONNX file of a body, `weight` (classes, features) and `bias`
    (classes,) of a head, the temperature, and the centers of familiarity (classes, features)."""

    body: bytes
    weight: Features
    bias: Features
    temperature: float
    centers: Features


def assembled(parts: Parts) -> bytes:
    """From the ONNX file of a body (training/body_onnx.py), one from uint8 pixels (n, S, S, 3) to probabilities (n,
    classes), heat (n, classes, h, w) and familiarity (n,), the cosine of the pooled features with the nearest center.

    Heat is the head at each location. Its mean over locations is the class's logit (class activation maps: Zhou et al.,
    "Learning Deep Features for Discriminative Localization", CVPR 2016).
    """
    model = _assembled(parts)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def taken_apart(model: bytes) -> Parts | None:
    """What `assembled` has put together; None for a file of another make, be it by one byte."""
    apart = onnx.load_from_string(model)
    graph = apart.graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    if [*constants][-len(CONSTANTS) :] != CONSTANTS or [i.name for i in graph.value_info][-2:] != OF_BODY:
        return None
    weight, bias, scale, centers = (constants[name] for name in ("weight", "bias", "scale", "centers"))
    nodes = sum(node.name.startswith("head/") for node in graph.node)
    del graph.node[len(graph.node) - nodes :], graph.initializer[-len(CONSTANTS) :], graph.output[:]
    graph.output.extend(graph.value_info[-len(OF_BODY) :])
    del graph.value_info[-len(OF_BODY) :]
    body = bytes(apart.SerializeToString(deterministic=True))
    parts = Parts(body, weight.reshape(len(bias), -1), bias, 1 / float(scale), centers.T)
    return parts if _assembled(parts).SerializeToString(deterministic=True) == model else None


def _assembled(parts: Parts) -> onnx.ModelProto:
    model = onnx.load_from_string(parts.body)
    graph = model.graph

    def constant(name: str, values: Any, kind: type = np.float32) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(kind, inputs, [output], f"head/{output}", **attributes))
        return output

    weight, bias = constant("weight", parts.weight[:, :, None, None]), constant("bias", parts.bias)
    heat = node("Conv", [MAPS, weight, bias], "heat", kernel_shape=[1, 1])
    places, each = constant("places", [2, 3], np.int64), constant("each", [1], np.int64)
    logits = node("ReduceMean", [heat, places], "logits", keepdims=0)
    scaled = node("Mul", [logits, constant("scale", 1 / parts.temperature)], "scaled")
    probabilities = node("Softmax", [scaled], "probabilities", axis=1)
    length = node("ReduceL2", [POOLED, each], "length", keepdims=1)
    least = node("Max", [length, constant("least", LEAST_LENGTH)], "least_length")
    unit = node("Div", [POOLED, least], "unit")
    cosines = node("MatMul", [unit, constant("centers", parts.centers.T)], "cosines")
    familiarity = node("ReduceMax", [cosines, each], "familiarity", keepdims=0)

    pictures, _, *locations = _shape(graph.output[0])
    classes = len(parts.bias)
    # By these the body is found again in what it is part of.
    graph.value_info.extend(graph.output)
    del graph.output[:]
    for name, shape in (
        (probabilities, [pictures, classes]),
        (heat, [pictures, classes, *locations]),
        (familiarity, [pictures]),
    ):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return model


def _shape(output: onnx.ValueInfoProto) -> list[str | int]:
    return [size.dim_param or size.dim_value for size in output.type.tensor_type.shape.dim]
