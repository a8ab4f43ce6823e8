"""A body in two parts: a lower one that stays as it came, and an upper one that is trained on."""

from __future__ import annotations

import math

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.fx.proxy import TraceError
from torch.nn.modules.batchnorm import _BatchNorm


class _Tracer(fx.Tracer):
    """Does not look into what has no parts, nor into BatchNorm, which must stay what it is to be frozen."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return (
            isinstance(module, _BatchNorm) or not [*module.children()] or super().is_leaf_module(module, name)
        )


def split(body: nn.Module, image_size: int) -> tuple[nn.Module, nn.Module]:
    """The lower and the upper part, one after the other what `body` is; they share its weights.

    They meet where little goes from one to the other: at the narrowest place before the body halves its locations for
    the last time. A body of which no such place is known, such as a vision transformer, is all upper part."""
    whole = nn.Identity(), body
    try:
        traced = fx.GraphModule(body, _Tracer().trace(body))
    except TraceError:
        return whole
    like = next(body.parameters())
    with torch.inference_mode():
        ShapeProp(traced.eval()).propagate(torch.zeros(1, 3, image_size, image_size, device=like.device))
    nodes = [*traced.graph.nodes]
    shapes = [_shape(node) for node in nodes]
    last = shapes[-1]
    if len(last) != 4:
        return whole
    cut: int | None = None
    for n in reversed(_alone(nodes)):
        if len(shapes[n]) == 4 and shapes[n][-1] > last[-1]:
            if cut is not None and math.prod(shapes[n]) > math.prod(shapes[cut]):
                break
            if cut is None or math.prod(shapes[n]) < math.prod(shapes[cut]):
                cut = n
    if cut is None:
        return whole
    return _part(body, nodes[: cut + 1]), _part(body, nodes[cut + 1 :], nodes[cut])


def operations(network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """What a network gives for `x`, and of how many floating-point operations its layers with weights make it, which
    are nearly all. torch's FlopCounterMode counts the same, and takes a second for it."""
    number = 0

    def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal number
        # A multiplication and an addition for each weight by which one number is made.
        assert isinstance(module.weight, torch.Tensor)
        number += 2 * out.numel() * module.weight[0].numel()

    counted = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [module.register_forward_hook(count) for module in counted]
    try:
        with torch.inference_mode():
            return network(x), number
    finally:
        for hook in hooks:
            hook.remove()


def _part(body: nn.Module, nodes: list[fx.Node], after: fx.Node | None = None) -> fx.GraphModule:
    """These nodes as a module of their own, which takes what `after` has given."""
    graph = fx.Graph()
    copies = {after: graph.placeholder("features")} if after else {}
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    if nodes[-1].op != "output":
        graph.output(copies[nodes[-1]])
    return fx.GraphModule(body, graph)


def _alone(nodes: list[fx.Node]) -> list[int]:
    """After which of them nothing else is needed any more of what was computed so far."""
    at = {node: n for n, node in enumerate(nodes)}
    last_use = [max((at[user] for user in node.users), default=-1) for node in nodes]
    furthest, found = -1, []
    for n, node in enumerate(nodes[:-1]):
        if furthest <= n and last_use[n] > n and node.op != "placeholder":
            found.append(n)
        furthest = max(furthest, last_use[n])
    return found


def _shape(node: fx.Node) -> tuple[int, ...]:
    if node.op == "output":
        (node,) = node.all_input_nodes
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))
