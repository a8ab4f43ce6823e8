import subprocess
import sys
from pathlib import Path

import pytest

#: Torch as its newer versions have it: what fastai and timm call while they are imported warns of a future version.
IMPORT = """
import warnings, torch
script = torch.jit.script
def warning(*args, **kwargs):
    warnings.warn("{message}", FutureWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return script(*args, **kwargs)
torch.jit.script = warning
import greenr_luigi.training.libraries
"""


@pytest.mark.parametrize(
    ("message", "shown"),
    [("`torch.jit.script` is deprecated.", False), ("something else is deprecated.", True)],
)
def test_a_user_does_not_see_what_fastai_is_warned_of(message, shown):
    command = [sys.executable, "-c", IMPORT.format(message=message)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True)
    assert (f"FutureWarning: {message}" in done.stderr) == shown and bool(done.stderr) == shown
