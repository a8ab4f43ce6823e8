"""The version stands in one place."""

import configparser

from greenr_luigi import about
from greenr_luigi.sources import download
from tests.pipeline import REPOSITORY


def test_the_version_is_that_of_setup_cfg_and_is_written_nowhere_else():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    version = setup["metadata"]["version"]
    sources = [*REPOSITORY.glob("greenr_luigi/**/*.py"), *REPOSITORY.glob("tasks/*.py")]
    assert not [
        path for path in sources if f'"{version}"' in path.read_text() or f"/{version}" in path.read_text()
    ]
    assert download.Session().agent == f"{about.NAME}/{version}"
