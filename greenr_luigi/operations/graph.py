"""The graph as it lies on disk: each stage's state and cause, what the outputs take, and which may go."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from greenr_luigi.serving import processes, releases
from greenr_luigi.staleness import stage, traces
from greenr_luigi.staleness.output_folder import lock, sweep

#: What `usage` calls a release among the stages.
RELEASE = "release"


def default_root() -> Path:
    """The data root that luigi.cfg names."""
    import luigi.configuration

    import tasks  # noqa: F401  its import lays the defaults under Luigi's configuration

    return stage.FolderParameter().normalize(luigi.configuration.get_config().get("DeployApp", "root"))


def build(name: str, options: Sequence[str], root: Path) -> stage.Stage:
    """The stage that `luigi --module tasks NAME OPTIONS` would run."""
    from luigi.cmdline_parser import CmdlineParser

    import tasks
    from greenr_luigi import settings

    if name not in tasks.__all__:
        raise ValueError(f"{name} is no stage{settings.nearest(name, tasks.__all__)}")
    argv = ["--module", "tasks", name, "--root", str(root), *options]
    settings.check_command_line(tasks.STAGES, argv)
    with CmdlineParser.global_instance(argv) as parser:
        task: stage.Stage = parser.get_task_obj()
        return task


def walk(task: stage.Stage, seen: set[str] | None = None) -> Iterator[stage.Stage]:
    """The stage and all below it, in the order in which they would run, each once."""
    seen = set() if seen is None else seen
    if task.task_id not in seen:
        seen.add(task.task_id)
        for below in task.inputs().values():
            yield from walk(below, seen)
        yield task


def status(name: str, options: Sequence[str], root: Path) -> list[dict[str, Any]]:
    """Rows of stage, state, cause and place, in the order in which they would run. Runs nothing, reads no picture."""
    return [
        {
            "stage": task.title,
            "state": "complete" if cause is None else "stale",
            "cause": cause,
            "place": str(task.output_folder),
        }
        for task in walk(build(name, options, root))
        for cause in [task.stale_because()]
    ]


def usage(root: Path) -> list[dict[str, Any]]:
    """Rows of every output and release under the root: stage ("release" for those), place, bytes, when it was
    finished, and whether it is live: in use by the deployment that serves now."""
    rows = [*(row for row, _ in _outputs(root)), *_releases(root)]
    return sorted(rows, key=lambda row: str(row["finished"]), reverse=True)


def _releases(root: Path) -> Iterator[dict[str, Any]]:
    store = root / "releases"
    serving = {releases.current(store), *served(root)}
    for digest in releases.releases(store):
        folder = store / digest
        yield {
            "stage": RELEASE,
            "place": str(folder.relative_to(root)),
            "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            "finished": _when(folder.stat().st_mtime),
            "live": digest in serving,
        }


def served(root: Path) -> set[str]:
    """The releases that the workers of the running server have in memory."""
    run_dir = root / "server"
    states = processes.living_workers(run_dir, processes.master_pid(run_dir))
    return {state.digest for state in states if state.digest}


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).isoformat(" ", "minutes")


def _stamps(root: Path) -> dict[Path, dict[str, Any]]:
    """Every finished output under the root with its stamp, the newest first."""
    found: dict[Path, dict[str, Any]] = {}
    for place in sorted(root.glob("*/*")):
        if place.is_symlink():
            # One that is torn or just being replaced: the stage itself says so when it is asked.
            with contextlib.suppress(ValueError, FileNotFoundError):
                found[place] = traces.read_stamp(place / stage.STAMP)
    return dict(sorted(found.items(), key=lambda item: -float(item[1]["finished"])))


def _outputs(root: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """A row for each finished output, the newest first, and its stamp."""
    stamps = _stamps(root)
    live = _live(root, stamps)
    return [
        (
            {
                "stage": stamp["title"],
                "place": str(place.relative_to(root)),
                "bytes": sum(size for size, _, _ in stamp["files"].values()),
                "finished": _when(stamp["finished"]),
                "live": place in live,
            },
            stamp,
        )
        for place, stamp in stamps.items()
    ]


def _live(root: Path, stamps: dict[Path, dict[str, Any]]) -> set[Path]:
    """Outputs that the serving release was made from, followed from stamp to stamp by their digests."""
    current = root / "releases" / "current"
    serving = current.resolve().name if current.exists() else None
    live: set[Path] = set()
    todo = [
        place
        for place, stamp in stamps.items()
        if stamp["title"] == "DeployApp"
        and json.loads((place / "deployment.json").read_text())["release"] == serving
    ]
    while todo:
        place = todo.pop()
        live.add(place)
        wanted = {(name, record["digest"]) for name, record in stamps[place]["inputs"].items()}
        todo += [p for p, s in stamps.items() if (s["title"], s["digest"]) in wanted and p not in live]
    return live


def judged(root: Path) -> tuple[Path, Path] | None:
    """The newest EvaluateModel output and the SplitDataset output that it judged; None before the first."""
    stamps = _stamps(root)
    for place, stamp in stamps.items():
        if stamp["title"] == "EvaluateModel":
            digest = stamp["inputs"]["SplitDataset"]["digest"]
            for dataset, made in stamps.items():
                if (made["title"], made["digest"]) == ("SplitDataset", digest):
                    return dataset, place
    return None


def again(root: Path) -> str:
    """The line that runs the graph of the newest deployment under the root once more: what its parameters differ in
    from the configured ones. Those that shape no output (--floor, --margin, --refresh-days, --tracking) are not
    recorded, so the line leaves them as they are configured."""
    import tasks
    from greenr_luigi import settings

    deployed = (stamp for stamp in _stamps(root).values() if stamp["title"] == "DeployApp")
    parameters: dict[str, str] = next(deployed, {}).get("parameters", {})
    configured = settings.configured(tasks.STAGES[-1])
    elsewhere = {} if root.absolute() == default_root() else {"root": str(root)}
    differing = {name: value for name, value in parameters.items() if value != configured.get(name)}
    return stage.command_line("tasks", "DeployApp", elsewhere | differing)


def prune(root: Path, keep: int, dry_run: bool = False) -> list[dict[str, Any]]:
    """Remove outputs and releases that are not live, but for the newest `keep` of each stage, and what killed runs
    left. The release that a rollback would bring back stays, too, and so do the newest pictures of each class that a
    search or a list of addresses found: the web may have no more of them. What a person gave lies elsewhere, in
    folders that no stage writes, and is not touched. Returns the rows of what went."""
    from greenr_luigi.sources import registry

    if keep < 0:
        raise ValueError(f"--keep {keep}: expected 0 or more outputs a stage")

    def waits(holder: str) -> None:
        print(f"waits for another run: {holder}")

    if not dry_run:
        for path in sorted(root.glob("*/*.lock")):
            place = path.with_suffix("")
            with lock(place, fcntl.LOCK_EX, waits):
                sweep(place)
    kept: dict[str, int] = {}
    gone = []
    before = {row["place"]: row for row in _releases(root)}
    at_hand = {name for name in registry.SOURCES if registry.find(name).keeps == "none"}
    for row, stamp in _outputs(root):
        kept[row["stage"]] = kept.get(row["stage"], 0) + 1
        found = row["stage"].startswith("DownloadImages") and stamp["parameters"]["source"] not in at_hand
        if row["live"] or kept[row["stage"]] <= (max(keep, 1) if found else keep):
            continue
        gone.append(row)
        if not dry_run:
            place = root / row["place"]
            with lock(place, fcntl.LOCK_EX, waits):
                folder = place.resolve()
                place.unlink()
                shutil.rmtree(folder)
    for digest in releases.prune(root / "releases", keep, served(root), dry_run):
        gone.append(before[f"releases/{digest}"])
    return gone
