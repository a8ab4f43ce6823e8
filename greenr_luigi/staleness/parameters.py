"""Parameters as a stamp records them, and of which the name of an output folder is made."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import luigi
from luigi.parameter import ParameterVisibility


class NamesParameter(luigi.Parameter[tuple[str, ...]]):
    """Names with commas between them."""

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(name for name in text.split(",") if name)

    def serialize(self, value: Iterable[str]) -> str:
        return ",".join(value)


class KnownParameters(luigi.Task):
    """A task that looks for its parameters once."""

    @classmethod
    @functools.cache
    def get_params(cls) -> list[tuple[str, luigi.Parameter[Any]]]:
        """By name. Luigi looks for them in all that the class has, a hundred times for one `complete`: here they are
        those that it has when they are first asked for, as by its first instance."""
        return super().get_params()  # type: ignore[no-untyped-call, no-any-return]

    @classmethod
    def get_param_values(cls, params: Any, args: Any, kwargs: Any) -> list[tuple[str, Any]]:
        """Where all are given, as by `clone` of a stage of the same class, no setting is asked for: Luigi looks at each
        of the class, twice for each instance."""
        if not args and kwargs.keys() == dict(params).keys():
            return [(name, kind.normalize(kwargs[name])) for name, kind in params]
        return super().get_param_values(params, args, kwargs)  # type: ignore[no-untyped-call, no-any-return]


def recorded(kind: luigi.Parameter[Any], value: object) -> str:
    """A value as text; of a private parameter, which Luigi shows nobody, the digest of that."""
    text = _serialized(kind, value)
    return digest(text) if kind.visibility == ParameterVisibility.PRIVATE else text


def digest(text: str) -> str:
    """12 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _serialized(kind: luigi.Parameter[Any], value: object) -> str:
    """A parameter as text, in which the order of the keys of a mapping counts for nothing."""
    text = str(kind.serialize(value))
    if isinstance(kind, luigi.DictParameter | luigi.ListParameter):
        # A class derived from one of these may write it as something else.
        with contextlib.suppress(ValueError):
            return json.dumps(json.loads(text), sort_keys=True)
    return text
