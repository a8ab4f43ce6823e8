"""Where the page's assets, templates and the default configuration lie, in a checkout as in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
STATIC = PACKAGE / "static"
TEMPLATES = PACKAGE / "templates"
DEFAULTS = PACKAGE / "luigi.cfg"
