"""Imports of large libraries, which make a million objects that stay."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def garbage_left() -> Iterator[None]:
    """Python looks for no garbage meanwhile, which is a fifth of what it takes to import torch and fastai; nor, later,
    among what is there by then."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
