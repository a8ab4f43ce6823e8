import os
import subprocess
import sys
from pathlib import Path

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
