"""kubectl, and where the programs lie that kubernetes.sh brings."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from greenr_luigi.about import PACKAGE

KUBERNETES = PACKAGE.parent / "deploy/kubernetes"
BASE, EXAMPLE = KUBERNETES / "base", KUBERNETES / "overlays/example"
SCRIPT = PACKAGE.parent / "tests/containers/kubernetes.sh"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "greenr-tests"
#: Ours first: that of Debian 12 has a kustomize that is too old.
KUBECTL = shutil.which("kubectl", path=CACHE) or shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(
    KUBECTL is None, reason=f"there is no kubectl: `sh {SCRIPT.relative_to(PACKAGE.parent)} kubectl`"
)


@functools.cache
def text(folder: Path) -> str:
    """What kustomize makes of a folder."""
    done = subprocess.run([str(KUBECTL), "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout
