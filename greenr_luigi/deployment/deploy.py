"""Deployment: a model let through the gate, published, pointed to and served. When any of it fails, the release that
served before serves on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from greenr_luigi import contracts, files, run_history
from greenr_luigi.errors import GreenrError
from greenr_luigi.evaluation.metrics import Metrics
from greenr_luigi.progress import OnProgress
from greenr_luigi.run_history import Event, Outcome
from greenr_luigi.serving import processes, publishing, releases, rollout, server
from greenr_luigi.serving.readiness import Server
from greenr_luigi.serving.releases import ReleaseError
from greenr_luigi.serving.service import Service

if TYPE_CHECKING:
    from greenr_luigi.deployment.gate import Limits
    from greenr_luigi.evaluation.comparison import Verdict

#: Seconds for every worker to answer with a new release.
PATIENCE = 60.0
STAYS_STOPPED = "the page stays stopped, as `greenr stop` left it: `greenr start` starts it"


@dataclass(frozen=True)
class Deployment:
    """deployment.json: the digest of the release that serves, and the address of its page, with a slash at the end.

    `candidate`: the digest of the release that was made; another one serves where a person has rolled that one back.
    None in version 0.2."""

    release: str
    address: str
    candidate: str | None = None


@dataclass(frozen=True)
class Candidate:
    """The output folders that a release is made from."""

    dataset: Path
    model: Path
    evaluation: Path
    export: Path


class Refused(GreenrError):
    """A model that the gate does not let through."""


def deploy(
    candidate: Candidate,
    service: Service,
    limits: Limits,
    out: Path,
    on_progress: OnProgress,
    warnings: Sequence[str] = (),
) -> Deployment:
    """Judge the model against the release that serves, publish the files of its evaluation and export as a release, let
    `current` point to it and wait until every worker of the server, started if there is none, answers with it.

    Writes deployment.json, verdict.json, report.html (with `warnings`) and what the model page shows into `out`. The
    release that serves in the end is another one where a person has rolled this one back and does not force it. From
    the judging to the answer no other deployment takes place in the store.

    Raises Refused, ServerError or ReleaseError. However it fails, `current` points to the release that served before.
    """
    from greenr_luigi.deployment.gallery import write_gallery
    from greenr_luigi.deployment.gate import no_longer_known

    store = service.store
    store.mkdir(parents=True, exist_ok=True)
    with rollout.locked(store, lambda words: on_progress(0, words)):
        before = rollout.last_good(store)
        on_progress(0.1, "compares with the release that serves")
        pass_gate(candidate, store, before, limits, out, warnings)
        shown = write_gallery(candidate.dataset, out, store.parent)
        made = [*candidate.evaluation.iterdir(), *candidate.export.iterdir(), *shown]
        digest = published = publishing.publish(store, made)
        if before is not None and not limits.force and rollout.rolled_back(store, digest):
            on_progress(0.5, f"release {digest} was rolled back, and no other model has come since")
            digest = before
        on_progress(0.5, f"waits until every worker serves release {digest}")
        with rollout.trial(store, digest, before):
            address = server.ensure(service, digest, PATIENCE).url
            deployment = Deployment(digest, address, published)
            contracts.write(out / "deployment.json", deployment)
        gone = no_longer_known(store / digest, store / before if before else None)
    on_progress(1.0, f"release {digest} is live" + (gone and f".{gone}"))
    return deployment


def serve(service: Service, tell: Callable[[str], None]) -> Server:
    """Serve the last good release, as after a reboot: start a server, unless one as described runs already. `tell` gets
    a sentence if this waits for a deployment.

    Raises ReleaseError if nothing has been released, ServerError if it does not come to serve.
    """
    with rollout.locked(service.store, tell):
        return server.ensure(service, point_to_last_good(service.store), PATIENCE)


def serve_on(service: Service, tell: Callable[[str], None]) -> None:
    """After a failure, see that the last good release, if there is one, serves: `current` points to it, and a server of
    ours runs, unless a person has stopped it. A running server is left as it is. `tell` gets what is done, in words.
    Raises as `serve`."""
    store, run_dir = service.store, service.run_dir
    good = rollout.last_good(store)
    if (good is None and not releases.releases(store)) or (
        good == rollout.current(store) and (service.elsewhere or processes.servers(run_dir))
    ):
        return
    with rollout.locked(store, tell):
        digest = point_to_last_good(store)
        if service.elsewhere:
            return  # It follows, and whoever runs it brings it up.
        if server.stays_stopped(run_dir):
            tell(STAYS_STOPPED)
        elif not processes.servers(run_dir):
            tell(f"release {digest} serves again: {server.ensure(service, digest, PATIENCE).url}")


def point_to_last_good(store: Path) -> str:
    digest = rollout.last_good(store)
    if digest is None:
        raise rollout.none_has_served(store)
    rollout.point(store, digest)
    return digest


def pass_gate(
    candidate: Candidate,
    store: Path,
    before: str | None,
    limits: Limits,
    out: Path,
    warnings: Sequence[str] = (),
) -> None:
    """Compare with the release `before`, if there is one. Write the gate's verdict, and the report with it, into `out`.
    Those of a refused model are kept in `refused` beside the store, and Refused is raised."""
    from greenr_luigi.deployment.gate import judge
    from greenr_luigi.evaluation import report

    serving = None if before is None else store / before
    verdict = judge(candidate.export, serving, candidate.dataset, limits, root=store.parent)
    contracts.write(out / "verdict.json", verdict)
    report.write_report(
        out / "report.html",
        candidate.dataset,
        candidate.model,
        candidate.evaluation,
        verdict=verdict,
        warnings=warnings,
        root=store.parent,
        judged=[*run_history.judged(run_history.read(store.parent)), judged_now(candidate, verdict)],
    )
    if not verdict.accepted:
        refused = store.with_name("refused")
        files.refuse_link(refused, *refused.rglob("*"))
        shutil.copytree(out, refused, dirs_exist_ok=True)
        raise Refused(
            f"the new model is not released, {'the one before serves on' if serving else 'and none serves'}: "
            f"{verdict.reason} See {refused / 'report.html'}; `--force DeployApp` releases it all the same"
        )


def judged_now(candidate: Candidate, verdict: Verdict) -> Event:
    """As the run will note it when it ends."""
    metrics = contracts.read(candidate.evaluation / "metrics.json", Metrics)
    pictures = sum(sum(by_label.values()) for by_label in metrics.data.counts.values())
    outcome: Outcome = "deployed" if verdict.accepted else "refused"
    summary = {"accuracy": metrics.accuracy, "pictures": pictures}
    return Event(kind="run", name="", outcome=outcome, seconds=0, summary=summary)


def why_not_serving(service: Service, output_folder: Path) -> str | None:
    """Why the deployment that a DeployApp folder notes does not serve any more; None if our server answers with it, or
    with the release to which a person has rolled it back."""
    store = service.store
    deployment = contracts.read(output_folder / "deployment.json", Deployment)
    digest = deployment.candidate or deployment.release
    current = rollout.current(store)
    if current is not None and rollout.rolled_back(store, current):
        return f"the rollback from release {current} was cut short"
    if current != digest:
        if current is None or not rollout.rolled_back(store, digest):
            return f"the release store points to {current or 'nothing'}, not to {digest}"
        digest = current
    try:
        releases.verify_touched(store, digest)
    except ReleaseError as error:
        return str(error)
    return server.not_as_wanted(service, digest)
