"""Pictures drawn at run time, so that the pipeline can be tried and tested without a network or photographs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

from greenr_luigi.sources.source import Candidate, Request, Source


def candidates(request: Request) -> Iterator[Candidate]:
    """Drawings number 0, 1, 2 ... of the label, without end."""
    from greenr_luigi.sources import drawn

    for number in itertools.count():
        load = functools.partial(drawn.encoded, request.label, number)
        name = f"sample:{drawn.SEED}:{request.label}:{number}"
        yield Candidate(load, name, license="CC0-1.0")


SOURCE = Source(
    "sample",
    "pictures drawn here, to try the pipeline without a network",
    candidates,
    local=True,
    stands_in=True,
)
