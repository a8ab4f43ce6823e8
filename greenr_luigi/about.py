"""The project's own name, its version (which stands in setup.cfg and nowhere else), and where its files lie, in a
checkout as in a wheel."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

NAME = "greenr_luigi"
#: Where whoever runs this is to be reached: a page, or an address of mail.
CONTACT = re.compile(r"https?://[!-'*-~]+|(mailto:)?[!-'*-9;-?A-~]+@[!-'*-?A-~]+")
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


def agent(contact: str = "") -> str:
    """As whom hosts are asked: the User-Agent of HTTP. `contact`: of whoever runs this, a CONTACT or empty. The project
    itself has no address."""
    return f"{NAME}/{version()}" + (f" ({contact})" if contact else "")
