"""Deployment: a release published, pointed to and served; if it cannot be served, the one before serves on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from greenr_luigi import releases, server
from greenr_luigi.releases import ReleaseError
from greenr_luigi.server import ServerError

#: Seconds for every worker to answer with a new release.
PATIENCE = 60.0


def deploy(
    root: Path, folders: Sequence[Path], host: str, port: int, *, workers: int, root_path: str,
    on_progress: Callable[[float, str], None],
) -> str:  # fmt: skip
    """Publish the files of `folders` as a release, let `current` point to it and wait until every worker of the
    server, started if there is none, answers with it. Returns the release's digest.

    Raises ServerError or ReleaseError; then `current` points again to the release that served before.
    """
    store = root / "releases"
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    on_progress(0.1, "publishes the release")
    digest = releases.publish(store, files)
    before = releases.current(store)
    releases.point(store, digest)
    on_progress(0.5, f"waits until every worker serves release {digest}")
    try:
        server.ensure(store, root / "server", host, port, workers or None, digest, PATIENCE, root_path)
    except (ServerError, ReleaseError):
        if before is not None and before != digest:
            releases.point(store, before, why="rollback")
        raise
    on_progress(1.0, f"release {digest} is live")
    return digest


def astray(root: Path, host: str, port: int, digest: str) -> str | None:
    """Why the deployment of a release no longer stands, in words; None if our server answers with it."""
    pointed = releases.current(root / "releases")
    if pointed != digest:
        return f"the release store points to {pointed or 'nothing'}, not to {digest}"
    served = server.serving(root / "server", host, port)
    if served is None:
        return f"no server of ours answers on {host}:{port}"
    return None if served == digest else f"the server serves {served}, not {digest}"
