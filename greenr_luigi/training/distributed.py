"""What a recipe needs to train over processes: pictures of its own, and averages. In a single process each of
these does nothing, so a recipe has no second form. rank.py makes the processes find each other.

As in PyTorch's DistributedDataParallel, each process has the whole model and its part of each batch, of pictures of its
own, and gradients are averaged at each step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
import torch.distributed as dist

from greenr_luigi.training.libraries import fv

T = TypeVar("T")
#: Pictures of a batch that each process has at the least: BatchNorm learns from what its own process sees.
LEAST = 8


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def of_all(mine: T) -> list[T]:
    """What each process has, by rank."""
    if world() == 1:
        return [mine]
    everyone: list[T] = [mine] * world()
    dist.all_gather_object(everyone, mine)
    return everyone


def dealt(items: list[T]) -> list[T]:
    """This process's part of a long list, every world()-th."""
    return items[dist.get_rank() :: world()] if world() > 1 else items


def collected(mine: torch.Tensor, number: int) -> torch.Tensor:
    """One row for each of `number` items that were dealt, from the rows of each process; in the order of the items."""
    if world() == 1:
        return mine
    parts = of_all(mine)
    rows = mine.new_empty(number, *parts[0].shape[1:])
    for rank, part in enumerate(parts):
        if len(part):
            rows[rank :: len(parts)] = part
    return rows


def batch_size(wanted: int) -> int:
    """The number of pictures of a batch, of which each process has as many as each other, and no less than LEAST."""
    return world() * max(LEAST, wanted // world()) if world() > 1 else wanted


class Averaging(fv.Callback):  # type: ignore[misc]
    """Keeps the models of all processes alike: they start from the same weights, make the same steps, and have seen the
    same when they are validated."""

    def before_fit(self) -> None:
        # Other processors compute otherwise in the last digits.
        _average([*self.learn.model.parameters(), *self.learn.model.buffers()])

    def before_step(self) -> None:
        _average(p.grad for p in self.learn.model.parameters() if p.grad is not None)

    def before_validate(self) -> None:
        _average(self.learn.model.buffers())


def callbacks() -> list[fv.Callback]:
    """What a learner takes that trains the same weights in several processes."""
    return [Averaging()] if world() > 1 else []


def _average(tensors: Iterable[torch.Tensor]) -> None:
    """In place, over the processes; in one message."""
    # BatchNorm counts its steps in whole numbers, which are alike.
    floats = [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
    if not floats:  # A network without BatchNorm has no buffers.
        return
    together = torch.cat([tensor.flatten() for tensor in floats])
    dist.all_reduce(together)
    together /= world()
    means = torch.split(together, [tensor.numel() for tensor in floats])
    for tensor, mean in zip(floats, means, strict=True):
        tensor.copy_(mean.view_as(tensor))
