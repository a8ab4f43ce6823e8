import os
import subprocess
import sys
from pathlib import Path

import pytest

#: What torch 2.14 warns of when fastai and timm call it while they are imported, and another.
WARNED = """
import warnings
warnings.warn("`torch.jit.script` is deprecated.", FutureWarning)
warnings.warn("something else is deprecated.", FutureWarning)
"""


def test_a_user_does_not_see_what_fastai_is_warned_of_but_all_else(tmp_path):
    """The libraries themselves, which may call it no more, are played."""
    for name, text in {
        "torch": "",
        "torchvision": "",
        "fastai": "",
        "fastai.vision": "",
        "timm": WARNED,
    }.items():
        folder = tmp_path.joinpath(*name.split("."))
        folder.mkdir()
        (folder / "__init__.py").write_text(text)
    (tmp_path / "fastai" / "vision" / "all.py").write_text(WARNED)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", "import greenr_luigi.training.libraries"],
        env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr.count("FutureWarning: something else is deprecated.") == 2
    assert "torch.jit.script` is deprecated" not in done.stderr


def run(*lines: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.slow
def test_torchs_compiler_is_loaded_when_it_is_used():
    """It takes a third of the time of all imports, and nobody here asks for it but the export of a new body."""
    said = run(
        "import sys, greenr_luigi.training.libraries, torch",
        "print('torch._dynamo' in sys.modules)",
        "print(torch.compiler.disable(lambda: 'called')(), torch.compiler.disable.__module__)",
        "from torchvision.ops import roi_align",
        "print(sys.modules[roi_align.__module__].is_compile_supported('cpu'))",
        "print('torch._dynamo' in sys.modules)",
        "print(hasattr(sys.modules['torch._dynamo.utils'], 'counters'))",
    )
    assert said == ["False", "called", "torch.compiler", "True", "True", "True"]


@pytest.mark.slow
def test_a_library_that_wants_more_of_the_compiler_gets_it():
    said = run(
        "from greenr_luigi.training import libraries",
        "with libraries._compiler_left_unloaded():",
        "    from torch._dynamo.utils import counters",
        "import torch._dynamo.utils as real",
        "print(real.counters is counters)",
    )
    assert said == ["True"]
