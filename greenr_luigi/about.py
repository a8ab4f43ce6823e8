"""The project's own name, its version (which stands in setup.cfg and nowhere else), and where its files lie, in a
checkout as in a wheel."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

NAME = "greenr_luigi"
#: Where the project is to be found, which is told to every host that is asked for a picture: the package index, by its
#: name there.
ADDRESS = "https://pypi.org/project/greenr-luigi/"
PACKAGE = Path(__file__).resolve().parent
STATIC = PACKAGE / "static"
TEMPLATES = PACKAGE / "templates"
DEFAULTS = PACKAGE / "luigi.cfg"


def version() -> str:
    """That of the installed package; "0" where it runs without being installed."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "0"


def agent() -> str:
    """As whom hosts are asked: the User-Agent of HTTP."""
    return f"{NAME}/{version()} (+{ADDRESS})"
