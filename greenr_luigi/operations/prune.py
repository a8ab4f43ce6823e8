"""Removes outputs that nobody needs any more."""

from __future__ import annotations

import collections
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import files
from greenr_luigi import kept as kept_by_content
from greenr_luigi.dataset import decisions
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.outputs import Output, find_outputs, of_role
from greenr_luigi.operations.stages import load_stages
from greenr_luigi.operations.usage import output_usage, served_releases, size
from greenr_luigi.prediction import journal
from greenr_luigi.serving import releases, removal
from greenr_luigi.sources import archive, collected, registry
from greenr_luigi.staleness import data_root, output_folder, traces


@dataclass(frozen=True)
class Removal:
    """What goes together, in that order. `what`: the title of a stage, "release", a kind of what is kept by
    content (kept.KINDS), "bodies", "archive", "leftover" or "lock"."""

    what: str
    bytes: int
    paths: tuple[Path, ...]


def prune(root: Path, keep: int, dry_run: bool = False, module: str = "tasks") -> list[Removal]:
    """Remove outputs and releases that are not live, but for the newest `keep` of each stage, and what killed runs
    left. The release that a rollback would bring back stays, too, and so does the newest collection of each class from
    the web. Nothing else under the root is touched: what ever came from the web lies in a folder that no stage writes,
    and outputs in a folder that bears the name of no stage of the module are another module's, or a person's copies.

    Waits for runs that are under way: only when they have ended is it known what is live. Returns what went. Raises
    GreenrError for a folder that no run has marked as a data root."""
    if keep < 0:
        raise GreenrError(f"--keep {keep}: expected 0 or more outputs a stage")
    if words := data_root.why_not_ours(root):
        raise GreenrError(words)
    with data_root.held_alone(root, print):
        outputs, stage_folders = find_outputs(root, module), _stage_folders(root, module)
        removals = [
            *_superfluous_outputs(root, outputs, stage_folders, keep),
            *_superfluous_releases(root, keep),
            *(
                Removal(path.parent.name, size(path), (path,))
                for path in kept_by_content.superfluous(root, max(keep, 1))
            ),
            *(Removal("archive", size(path), (path,)) for path in archive.superfluous(root)),
            *_left_by_killed_runs(root, stage_folders),
        ]
        ids = _ids(root, outputs, removals)
        going = {path for removal in removals for path in removal.paths}
        forgotten = {
            path: size for path, size in kept_by_content.of_nothing(root, ids).items() if path not in going
        }
        removals += [Removal(path.parent.name, size, ()) for path, size in forgotten.items()]
        if not dry_run:
            for path in forgotten:
                kept_by_content.forget(path, ids)
            _keep_from_web(root, outputs)
            for removal in removals:
                for path in removal.paths:
                    _remove(path)
    return removals


def _keep_from_web(root: Path, outputs: list[Output]) -> None:
    """Those of a version that had no store may hold what the web has no more."""
    from greenr_luigi.sources import opened_store

    earlier = collections.defaultdict[str, dict[Path, str]](dict)
    for output in of_role(outputs, "pictures"):
        parameters = output.stamp.parameters
        earlier[parameters.get("label", "")][output.folder] = parameters.get("license", "")
    for label, folders in earlier.items():
        opened_store.take_in(root, label, folders, lambda who: print(f"waits for a run that collects: {who}"))


def _superfluous_outputs(
    root: Path, outputs: list[Output], stage_folders: list[Path], keep: int
) -> Iterator[Removal]:
    at_hand = [name for name in registry.SOURCES if registry.find(name).local]
    kept, staying = collections.Counter[str](), list[Output]()
    rows = [*zip(outputs, output_usage(root, outputs), strict=True)]
    # Whether a part of a class is needed, the collections say that were made from it.
    for output, row in sorted(rows, key=lambda each: each[0].role == "shard"):
        folder = output_folder.folder_of(output.folder)
        # A person's copy, as of `cp -rL`, stays, and takes the place of none that is kept.
        if output.folder.parent not in stage_folders or folder is None:
            continue
        kept[row["stage"]] += 1
        from_web = output.role == "pictures" and output.stamp.parameters.get("source") not in at_hand
        if output.role == "shard":
            stays = row["live"] or _is_needed(output, staying, outputs)
        else:
            stays = row["live"] or kept[row["stage"]] <= (max(keep, 1) if from_web else keep)
        if stays:
            staying.append(output)
            continue
        if _holds_what_is_not_ours(output.folder, output.stamp.files):
            continue
        lock = output_folder.lock_of(output.folder)
        yield Removal(row["stage"], row["bytes"], (output.folder, folder, *([lock] if lock else [])))


def _is_needed(shard: Output, staying: Sequence[Output], outputs: Sequence[Output]) -> bool:
    """Whether a collection that stays was made from this part of the class, or none has been made since."""
    label = shard.stamp.parameters.get("label")
    of_class = [one for one in of_role(outputs, "pictures") if one.stamp.parameters.get("label") == label]
    wanted = (one.stamp.inputs.get(shard.stamp.title) for one in of_class if one in staying)
    return any(recorded and shard.stamp.was_input(recorded) for recorded in wanted) or not any(
        one.stamp.order > shard.stamp.order for one in of_class
    )


def _holds_what_is_not_ours(folder: Path, ours: Collection[str]) -> bool:
    """Says so, too. `ours`: what its stage has noted of it; nothing is no note."""
    foreign = next((name for name, _ in traces.walk(folder) if ours and name not in ours), None)
    if foreign:
        print(
            f"kept: {folder} holds {foreign}, which no stage wrote there: move it elsewhere, and prune again"
        )
    return foreign is not None


def _superfluous_releases(root: Path, keep: int) -> Iterator[Removal]:
    store = root / "releases"
    for digest in removal.superfluous(store, keep, served_releases(root)):
        listed = releases.read_note(store, digest).files
        if not _holds_what_is_not_ours(store / digest, {*listed, "release.json"}):
            yield Removal("release", size(store / digest), (store / digest,))


def _stage_folders(root: Path, module: str) -> list[Path]:
    """Those of the module's stages. What a link leads to is somebody else's."""
    folders = {root / stage.get_task_family() for stage in load_stages(module)}
    return sorted(path for path in folders if path.is_dir() and not path.is_symlink())


def _left_by_killed_runs(root: Path, stage_folders: list[Path]) -> Iterator[Removal]:
    from greenr_luigi.sources import fetched

    left = [*removal.leftovers(root / "releases"), *journal.left(root), *fetched.leftovers(root)]
    for folder in stage_folders:
        for name in output_folder.names(folder):
            left += output_folder.leftovers(folder / name)
            lock = output_folder.lock_of(folder / name)
            if lock and not (folder / name).is_symlink():
                yield Removal("lock", size(lock), (lock,))
    for path in left:
        yield Removal("leftover", size(path), (path,))


def _ids(root: Path, outputs: list[Output], removals: list[Removal]) -> set[str]:
    """Of the pictures that an output will still hold, or that a person or the web gave. Whatever is a picture's, its
    file is called so."""
    going = {path for removal in removals for path in removal.paths}
    staying = [output for output in outputs if output.folder not in going]
    names = {name for output in staying for name in output.stamp.files}
    given = [path for folder in (collected.FOLDER, decisions.ADDED) for path in (root / folder).glob("*/*")]
    return {Path(name).stem for name in names} | {path.stem for path in given}


def _remove(path: Path) -> None:
    # Of a folder, the system names only what in it cannot go.
    with files.named(path):
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif releases.DIGEST.fullmatch(path.name):
            removal.remove(path.parent, path.name)
        else:
            shutil.rmtree(path)
