"""gunicorn's log, bounded: so are its workers', which write to the same file."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from gunicorn import glogging  # type: ignore[import-untyped]

from greenr_luigi.logs import OneLine, RotatedFile
from greenr_luigi.web.settings import from_environment


class BoundedLogger(glogging.Logger):  # type: ignore[misc]
    """A file is rotated; what goes to standard error is left to who reads that, such as systemd's journal."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        # What the lines do not tell need not be found out for each (docs.python.org/3/howto/logging.html#optimization).
        logging._srcfile = None
        logging.logThreads = logging.logMultiprocessing = False
        if cfg.errorlog != "-":
            settings = from_environment(os.environ)
            for handler in self.error_log.handlers:
                handler.close()
            self.error_log.handlers = [
                RotatedFile(Path(cfg.errorlog), settings.log_bytes, settings.log_files)
            ]
        for handler in self.error_log.handlers:
            handler.setFormatter(OneLine(self.error_fmt, self.datefmt))
