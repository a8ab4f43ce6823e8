import subprocess
import sys
from pathlib import Path

import pytest

#: Torch as its newer versions have it: what fastai and timm call while they are imported warns of a future version.
IMPORT = """
import warnings, torch
script = torch.jit.script
def warning(*args, **kwargs):
    warnings.warn("`torch.jit.script` is deprecated.", FutureWarning)
    warnings.warn("something else is deprecated.", FutureWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return script(*args, **kwargs)
torch.jit.script = warning
import greenr_luigi.training.libraries
"""


@pytest.mark.slow
def test_a_user_does_not_see_what_fastai_is_warned_of_but_all_else():
    command = [sys.executable, "-c", IMPORT]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True)
    assert "FutureWarning: something else is deprecated." in done.stderr
    assert "torch.jit.script` is deprecated" not in done.stderr
