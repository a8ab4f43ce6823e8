"""greenr_luigi: from a few class names to a deployed picture classifier, as a Luigi task graph."""

from pathlib import Path

#: Where the page's assets, templates and the default configuration lie, in a checkout as in a wheel.
HERE = Path(__file__).resolve().parent
