"""What the outputs and releases under a data root take on disk."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict

from greenr_luigi import kept
from greenr_luigi.operations.outputs import Output, find_outputs, live_outputs
from greenr_luigi.serving import processes, releases, rollout
from greenr_luigi.staleness import traces

CACHES = (*kept.KINDS, kept.BODIES)


class Usage(TypedDict):
    """`stage`: its title, "release", "kept from the web", or a name of CACHES; `place`: relative to the root;
    `finished`: when, in local time; `live`: whether what serves now was made from it."""

    stage: str
    place: str
    bytes: int
    finished: str
    live: bool


def usage(root: Path, module: str = "tasks") -> list[Usage]:
    """The usage of every output and release under a root, the newest first."""
    rows = [
        *output_usage(root, find_outputs(root, module)),
        *store_usage(root),
        *release_usage(root),
        *cache_usage(root),
    ]
    return sorted(rows, key=lambda row: row["finished"], reverse=True)


def room(root: Path, rows: Iterable[Usage]) -> int:
    """The bytes that these take together: a file that several of them link to counts once."""
    found = (status for row in rows for _, status in traces.walk(root / row["place"]))
    return sum({(status.st_dev, status.st_ino): status.st_size for status in found}.values())


def output_usage(root: Path, outputs: list[Output]) -> list[Usage]:
    live = live_outputs(root, outputs)
    return [
        {
            "stage": output.stamp.title,
            "place": str(output.folder.relative_to(root)),
            "bytes": sum(file.size for file in output.stamp.files.values()),
            "finished": _local_time(output.stamp.finished),
            "live": output in live,
        }
        for output in outputs
    ]


def store_usage(root: Path) -> list[Usage]:
    """What came from the web, by class. Outputs link to it, and so take no room of their own."""
    from greenr_luigi.sources import collected, store

    return [
        {
            "stage": "kept from the web",
            "place": str(folder.relative_to(root)),
            "bytes": size,
            "finished": _local_time((folder / collected.ORIGINS).stat().st_mtime),
            "live": False,
        }
        for folder, size in store.sizes(root).items()
    ]


def release_usage(root: Path) -> list[Usage]:
    store = root / "releases"
    serving = {rollout.current(store), *served_releases(root)}
    return [
        {
            "stage": "release",
            "place": f"releases/{digest}",
            "bytes": size(store / digest),
            "finished": _local_time((store / digest).stat().st_mtime),
            "live": digest in serving,
        }
        for digest in releases.releases(store)
    ]


def cache_usage(root: Path) -> Iterator[Usage]:
    """What only spares time: what is gone of it is made again."""
    for name in CACHES:
        folder = root / name
        if folder.is_dir() and not folder.is_symlink():
            yield {
                "stage": name,
                "place": name,
                "bytes": size(folder),
                "finished": _local_time(folder.stat().st_mtime),
                "live": False,
            }


def size(path: Path) -> int:
    """The bytes of a file, or of all files in a folder; what lies behind links does not count."""
    files = [path, *path.rglob("*")]
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def served_releases(root: Path) -> set[str]:
    """The releases that the workers of running servers have in memory."""
    running = processes.servers(root / "server")
    return {state.digest for one in running for state in one.workers if state.digest}


def _local_time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).isoformat(" ", "minutes")
