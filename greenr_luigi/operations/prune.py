"""Removes outputs that nobody needs any more."""

from __future__ import annotations

import collections
import fcntl
import shutil
from pathlib import Path

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.outputs import find_outputs
from greenr_luigi.operations.usage import Usage, output_usage, release_usage, served_releases
from greenr_luigi.serving import releases
from greenr_luigi.sources import registry
from greenr_luigi.staleness.output_folder import lock, remove_leftovers


def prune(root: Path, keep: int, dry_run: bool = False, module: str = "tasks") -> list[Usage]:
    """Remove outputs and releases that are not live, but for the newest `keep` of each stage, and what killed runs
    left. The release that a rollback would bring back stays, too, and so do the newest pictures of each class that a
    search or a list of addresses found: the web may have no more of them. What a person gave lies elsewhere, in
    folders that no stage writes, and is not touched. Returns the rows of what went."""
    if keep < 0:
        raise GreenrError(f"--keep {keep}: expected 0 or more outputs a stage")
    if not dry_run:
        for path in sorted(root.glob("*/*.lock")):
            link = path.with_suffix("")
            with lock(link, fcntl.LOCK_EX, print):
                remove_leftovers(link)
    outputs, releases_before = find_outputs(root, module), release_usage(root)
    at_hand = [name for name in registry.SOURCES if registry.find(name).keeps == "none"]
    kept = collections.Counter[str]()
    removed = []
    for output, row in zip(outputs, output_usage(root, outputs), strict=True):
        kept[row["stage"]] += 1
        from_web = output.role == "pictures" and output.stamp.parameters.get("source") not in at_hand
        if row["live"] or kept[row["stage"]] <= (max(keep, 1) if from_web else keep):
            continue
        removed.append(row)
        if not dry_run:
            with lock(output.folder, fcntl.LOCK_EX, print):
                folder = output.folder.resolve()
                output.folder.unlink()
                shutil.rmtree(folder)
    digests = releases.prune(root / "releases", keep, served_releases(root), dry_run)
    return removed + [releases_before[digest] for digest in digests]
