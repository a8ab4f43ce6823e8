import pytest

from tests.toys import prepare


@pytest.fixture
def root(tmp_path):
    """A data root whose toy graph has yet to run."""
    return prepare(tmp_path)
