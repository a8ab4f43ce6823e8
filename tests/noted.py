"""Functions that note what they are asked, and do what they did."""

from __future__ import annotations

from typing import Any

import pytest


def noted(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list[Any]:
    """The first argument of each call of a function, since the list was cleared."""
    seen: list[Any] = []
    real = getattr(owner, name)

    def noting(first: Any, *others: Any, **more: Any) -> Any:
        seen.append(first)
        return real(first, *others, **more)

    monkeypatch.setattr(owner, name, noting)
    return seen
