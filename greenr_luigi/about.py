"""The project's own name and version, which stands in setup.cfg and nowhere else."""

from __future__ import annotations

from importlib import metadata

NAME = "greenr_luigi"


def version() -> str:
    """That of the installed package; "0" where it runs without being installed."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "0"
