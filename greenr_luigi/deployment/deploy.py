"""Deployment: a model let through the gate, published, pointed to and served. When any of it fails, the release that
served before serves on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.errors import GreenrError
from greenr_luigi.serving import history, releases, server
from greenr_luigi.serving.releases import ReleaseError
from greenr_luigi.serving.sockets import ServerError

#: Seconds for every worker to answer with a new release.
PATIENCE = 60.0


@dataclass(frozen=True)
class Deployment:
    """deployment.json: the digest of the release that serves, and the address of its page, with a slash at the end."""

    release: str
    address: str


class Refused(GreenrError):
    """A model that the gate does not let through; the message says why and what to do."""


def deploy(
    root: Path, dataset: Path, model: Path, evaluation: Path, exported: Path, out: Path, *, host: str, port: int,
    workers: int, root_path: str, floor: float, margin: float, force: bool, on_progress: Callable[[float, str], None],
) -> str:  # fmt: skip
    """Judge the model against the release that serves, publish the files of `evaluation` and `exported` as a release,
    let `current` point to it and wait until every worker of the server, started if there is none, answers with it.
    Writes deployment.json, verdict.json and report.html into `out`; returns the release's digest: of the one that
    serves, where a person has rolled this one back and does not `force` it.

    `floor`, `margin` and `force` are gate.judge's. Raises Refused, ServerError or ReleaseError; then `current` points
    to the release that served before.
    """
    from greenr_luigi.deployment import gallery

    store = root / "releases"
    before = releases.current(store)
    on_progress(0.1, "compares with the release that serves")
    examine(root, dataset, model, evaluation, exported, out, floor, margin, force)
    gallery.write_gallery(dataset, out)
    shown = [out / "sources.json", out / "pictures"]
    digest = releases.publish(store, [*sorted(evaluation.iterdir()), *sorted(exported.iterdir()), *shown])
    if before is not None and not force and history.rolled_back(store, digest):
        on_progress(0.5, f"release {digest} was rolled back, and no other model has come since")
        digest = before
    releases.point(store, digest)
    on_progress(0.5, f"waits until every worker serves release {digest}")
    try:
        service = server.Service(store, root / "server", host, port, workers, root_path)
        served = server.ensure(service, digest, PATIENCE)
    except (ServerError, ReleaseError):
        if before is not None and before != digest:
            releases.point(store, before, why="failed")
        raise
    contracts.write(out / "deployment.json", Deployment(digest, served.url))
    on_progress(1.0, f"release {digest} is live")
    return digest


def examine(
    root: Path, dataset: Path, model: Path, evaluation: Path, exported: Path, out: Path, floor: float, margin: float,
    force: bool,
) -> None:  # fmt: skip
    """Write the gate's verdict, and the report with it, into `out`. A refused model's are kept in `root/refused`,
    and Refused is raised."""
    from greenr_luigi.deployment import gate
    from greenr_luigi.evaluation import report

    current = root / "releases" / "current"
    serving = current.resolve() if (current / "model.onnx").exists() else None
    verdict = gate.judge(exported, serving, dataset, gate.Limits(floor, margin, force))
    contracts.write(out / "verdict.json", verdict)
    report.write(out / "report.html", dataset, model, evaluation, verdict=verdict)
    if not verdict.accepted:
        refused = root / "refused"
        refused.mkdir(exist_ok=True)
        for path in out.iterdir():
            shutil.copy(path, refused)
        raise Refused(
            f"the new model is not released, {'the one before serves on' if serving else 'and none serves'}: "
            f"{verdict.reason} "
            f"See {refused / 'report.html'}; `--force DeployApp` releases it all the same"
        )


def astray(root: Path, host: str, port: int, place: Path) -> str | None:
    """Why the deployment noted in a DeployApp folder no longer stands, in words; None if our server answers with it."""
    digest = contracts.read(place / "deployment.json", Deployment).release
    pointed = releases.current(root / "releases")
    if pointed != digest:
        if pointed is None or not history.rolled_back(root / "releases", digest):
            return f"the release store points to {pointed or 'nothing'}, not to {digest}"
        digest = pointed  # A person's decision, which no rerun takes back.
    release = root / "releases" / digest
    try:
        note = releases.read_note(root / "releases", digest)
    except ReleaseError as error:
        return str(error)
    for name, file in note.files.items():
        if not (release / name).exists() or (release / name).stat().st_size != file.size:
            return f"file {name} of release {digest} is missing or was cut short"
    served = server.served_release(root / "server", host, port)
    if served is None:
        return f"no server of ours answers on {host}:{port}"
    return None if served == digest else f"the server serves {served}, not {digest}"
