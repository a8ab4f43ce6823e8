"""What goes and what stays, told by stamps alone; test_graph.py prunes a whole data root."""

import errno
import functools
import json
import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenr_luigi import kept as kept_by_content
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.prune import _remove, prune
from greenr_luigi.operations.usage import usage
from greenr_luigi.pictures import door, thumbnails
from greenr_luigi.serving import publishing, releases
from greenr_luigi.staleness import data_root
from tests import toys
from tests.serving.made import export
from tests.sources.conftest import picture
from tests.stamped import finish, made_from
from tests.toys import build, prepare


def names(links):
    return {f"{link.parent.name}/{link.name}" for link in links}


def left(root):
    return names(link for link in root.glob("*/*") if link.is_symlink() and link.name != "current")


def outputs(removals):
    """The links of the outputs that went."""
    return names(removal.paths[0] for removal in removals if removal.paths[0].parent.name != "releases")


def test_the_last_pictures_that_the_web_gave_stay(tmp_path):
    """Of each class; what lies in a folder or is drawn can be had again."""
    sources = ("bing", "urls", "folder", "sample")
    links = {
        source: [
            finish(tmp_path, f"DownloadImages({source})", key + number, "x-", parameters={"source": source})
            for key in (10, 20)
        ]
        for number, source in enumerate(sources)
    }
    web = {links["bing"][1], links["urls"][1]}
    gone = {link for pair in links.values() for link in pair} - web
    assert outputs(prune(tmp_path, 0)) == names(gone)
    assert left(tmp_path) == names(web)


def test_parts_of_a_class_stay_while_a_collection_that_stays_was_made_from_them(tmp_path):
    def part(title, number, inputs=()):
        return finish(tmp_path, title, number, "grass-", parameters={"label": "grass"}, inputs=dict(inputs))

    old = [part(f"PictureShard(grass {n} of 2)", n) for n in (1, 2)]
    gone = part("DownloadImages(grass)", 3, {**made_from(old[0]), **made_from(old[1])})
    new = [part(f"PictureShard(grass {n} of 4)", 10 + n) for n in range(1, 5)]
    one = part(
        "DownloadImages(grass)", 20, {name: row for link in new for name, row in made_from(link).items()}
    )
    under_way = part("PictureShard(grass 1 of 8)", 30)
    assert outputs(prune(tmp_path, 2)) == set()
    assert outputs(prune(tmp_path, 1)) == names([*old, gone])
    assert left(tmp_path) == names([*new, one, under_way])


def test_the_features_that_were_used_last_stay(tmp_path):
    data_root.mark(tmp_path)
    folder, used = tmp_path / kept_by_content.FEATURES, [digit * 16 for digit in "abcdef0"]
    folder.mkdir()
    for number, name in enumerate([*used, "1" * 16, "notes"]):
        (folder / f"{name}.sqlite").write_bytes(b"1234")
        os.utime(folder / f"{name}.sqlite", (10**9 - number, 10**9 - number))
    removals = prune(tmp_path, 0)
    assert [(one.what, one.bytes, one.paths[0].stem) for one in removals] == [("features", 4, "1" * 16)]
    assert [(row["stage"], row["bytes"], row["live"]) for row in usage(tmp_path)] == [("features", 32, False)]
    assert sorted(path.stem for path in folder.iterdir()) == sorted([*used, "notes"])


def test_what_a_killed_run_left_of_a_body_goes(tmp_path):
    data_root.mark(tmp_path)
    name = f"{'a' * 16}-{'b' * 16}.onnx"
    kept, left, theirs = (
        tmp_path / kept_by_content.BODIES / one for one in (name, f".{name}.{'c' * 32}", f".notes.{'c' * 32}")
    )
    kept.parent.mkdir()
    for path in (kept, left, theirs):
        path.write_bytes(b"1234")
    assert [(one.what, one.bytes, one.paths) for one in prune(tmp_path, 0)] == [("bodies", 4, (left,))]
    assert sorted(kept.parent.iterdir()) == sorted((kept, theirs))


def test_what_serves_is_live_with_all_that_it_was_made_from(tmp_path):
    release = "0123456789abcdef"
    (tmp_path / "releases" / release).mkdir(parents=True)
    (tmp_path / "releases" / "current").symlink_to(release)
    split = finish(tmp_path, "SplitDataset", 1)
    # Of a stage that `tasks` knows nothing of.
    augmented = finish(tmp_path, "AugmentDataset", 2, inputs=made_from(split))
    model = finish(tmp_path, "TrainModel", 3, inputs=made_from(augmented))
    deployment = finish(tmp_path, "DeployApp", 4, inputs=made_from(model))
    (deployment / "deployment.json").write_text(json.dumps({"release": release, "address": "http://x/"}))
    taken = finish(tmp_path, "SplitDataset", 5, digest="SplitDataset 1")  # The same, under other parameters.
    live = [split, taken, augmented, model, deployment]
    newer = [finish(tmp_path, title, 9) for title in ("SplitDataset", "AugmentDataset", "TrainModel")]
    refused = finish(tmp_path, "DeployApp", 8)
    (refused / "deployment.json").write_text(json.dumps({"release": "f" * 16, "address": "http://x/"}))
    assert {row["place"] for row in usage(tmp_path) if row["live"]} == names(live)
    gone = [link for link in [*newer, refused] if link.parent.name != "AugmentDataset"]
    assert outputs(prune(tmp_path, 0, dry_run=True)) == names(gone)
    assert left(tmp_path) == names([*live, *newer, refused])
    prune(tmp_path, 0)
    assert left(tmp_path) == names([*live, *newer]) - names(gone)


@pytest.mark.parametrize("name", ["backup-of-pictures", "A-backup", "MyDownload"])
def test_outputs_in_a_folder_of_no_stage_are_a_persons_or_another_modules(tmp_path, name):
    """They stay, with what lies beside them, and count for none that is kept."""
    links = [finish(tmp_path, "DownloadImages(grass)", number, "grass-") for number in (1, 2)]
    (tmp_path / "DownloadImages" / f".grass-{0:012}.76543210").mkdir()
    shutil.copytree(tmp_path / "DownloadImages", tmp_path / name, symlinks=True)
    before = everything(tmp_path / name)
    went = prune(tmp_path, 1)
    assert outputs(went) == names([links[0], tmp_path / "DownloadImages" / f".grass-{0:012}.76543210"])
    assert everything(tmp_path / name) == before and links[1].exists()


def test_copies_that_a_person_made_stay_and_take_the_place_of_none_that_is_kept(tmp_path):
    links = [finish(tmp_path, "TrainModel", number) for number in (1, 2)]
    store = tmp_path / "releases"
    made = [publishing.publish(store, export(tmp_path / "exported", text).iterdir()) for text in "abc"]
    copies = [tmp_path / "TrainModel" / f"{9:012}", tmp_path / "TrainModel" / "mine", store / DIGEST]
    for copy, of in zip(copies, (links[1], links[1], store / made[2]), strict=True):
        shutil.copytree(of, copy)
    (tmp_path / "TrainModel" / f"{8:012}").symlink_to(links[1].readlink())
    before = everything(*copies)
    prune(tmp_path, 1)
    assert everything(*copies) == before
    assert (links[1].exists(), links[0].exists()) == (True, False)
    # Of the same time: which of the two stands first is the file system's.
    assert {*releases.releases(store)[-2:]} == {made[2], DIGEST}
    assert not {*made[:2]} & {*releases.releases(store)}


def test_what_holds_a_file_of_a_person_stays_and_is_named(tmp_path, capsys):
    root = prepare(tmp_path)
    build(root, times=1)
    build(root, times=2)
    one, other = (toys.Count(root=root, times=times).output_folder for times in (1, 2))
    (one / "notes").mkdir()
    (one / "notes" / "mine.txt").write_text("mine")
    store = root / "releases"
    made = [publishing.publish(store, export(tmp_path / "exported", text).iterdir()) for text in "ab"]
    (store / made[0] / "mine.txt").write_text("mine")
    for dry_run in (True, False):
        prune(root, 0, dry_run, module="tests.toys")
        said = capsys.readouterr().out
        assert f"kept: {one} holds notes/mine.txt, " in said and f"{store / made[0]} holds mine.txt, " in said
    assert (one / "notes" / "mine.txt").exists() and not other.exists()
    assert releases.releases(store) == made[:1]


@pytest.mark.parametrize("ask", [usage, lambda root: prune(root, 0)])
def test_a_missing_deployment_json_is_one_sentence(tmp_path, ask):
    link = finish(tmp_path, "DeployApp", 1)
    with pytest.raises(GreenrError) as error:
        ask(tmp_path)
    assert str(error.value) == f"{link}/deployment.json is missing: run DeployApp again, or remove {link}"
    assert link.exists()


def test_a_folder_that_cannot_be_removed_is_named(tmp_path, monkeypatch):
    """As one that root has left: the system names a file in it, without the folder."""

    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", "stamp.json")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(PermissionError) as refused:
        _remove(tmp_path)
    assert refused.value.filename == str(tmp_path)


def test_fewer_than_none_cannot_be_kept(tmp_path):
    with pytest.raises(GreenrError, match="--keep -1: expected 0 or more"):
        prune(tmp_path, -1)


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        (None, "is no data root, for it has no data-root.json: check the path"),
        ('{"form', "data-root.json is torn, or another program's: move it away"),
        ('{"format": 99}', "has format 99, and this version knows format 1 only"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_folder_that_no_run_has_marked_is_left_alone(tmp_path, marker, words, dry_run):
    finish(tmp_path, "TrainModel", 1)
    (tmp_path / "data-root.json").unlink()
    if marker is not None:
        (tmp_path / "data-root.json").write_text(marker)
    before = everything(tmp_path)
    with pytest.raises(GreenrError, match=words):
        prune(tmp_path, 0, dry_run)
    assert everything(tmp_path) == before


def test_a_root_of_the_version_before_is_adopted_by_a_run(tmp_path):
    root = prepare(tmp_path)
    build(root)
    for name in (data_root.MARKER, data_root.LOCK):
        (root / name).unlink()
    assert build(root) == []
    assert outputs(prune(root, 0, module="tests.toys")) >= {
        f"Final/{toys.Final(root=root).output_folder.name}"
    }


def test_what_a_killed_run_left_behind_a_complete_stage_goes(tmp_path):
    root = prepare(tmp_path)
    build(root)
    output = toys.Merge(root=root).output_folder
    leftover = output.parent / f".{output.name}.0123abcd"
    leftover.mkdir()
    (leftover / "text").write_text("before")
    never_made = output.parent / "0123456789ab.lock"
    never_made.touch()
    assert build(root) == []
    prune(root, 9, dry_run=True, module="tests.toys")
    assert leftover.exists() and never_made.exists()
    assert {removal.paths for removal in prune(root, 9, module="tests.toys")} == {(leftover,), (never_made,)}
    assert not leftover.exists() and not never_made.exists()
    assert build(root) == []


def test_what_is_kept_of_pictures_that_no_output_holds_goes(tmp_path):
    data = {door.sha256(made): made for made in map(picture, range(3))}
    here, gone, added = data
    finish(tmp_path, "DownloadImages", 1, files={f"pictures/{here[:16]}.png": (1, 1, here)})
    (tmp_path / "added" / "grass").mkdir(parents=True)
    (tmp_path / "added" / "grass" / f"{added[:16]}.png").touch()
    cache = thumbnails.Thumbnails(tmp_path)
    for sha256 in data:
        cache.get(sha256, functools.partial(data.get, sha256))
    with kept_by_content.Kept(tmp_path / kept_by_content.CHECKS, "1" * 16, pytest.fail) as checks:
        checks.keep({f"{sha256} 32 1": bytes(100) for sha256 in (here, gone)})
    (used,) = [row for row in usage(tmp_path) if row["stage"] == "thumbnails"]
    assert used["bytes"] > 0
    counted = [(removal.what, removal.paths) for removal in prune(tmp_path, 9, dry_run=True)]
    assert counted == [("checks", ()), ("thumbnails", ())]
    assert [(removal.what, removal.paths) for removal in prune(tmp_path, 9)] == counted
    assert prune(tmp_path, 9) == []
    for sha256 in (here, added):
        cache.get(sha256, lambda: pytest.fail("made again"))
    with pytest.raises(FileNotFoundError):
        cache.get(gone, (tmp_path / "gone").read_bytes)
    folder = tmp_path / kept_by_content.THUMBNAILS
    folder.rename(tmp_path.with_name("elsewhere"))
    folder.symlink_to(tmp_path.with_name("elsewhere"))
    shutil.rmtree(tmp_path / "DownloadImages")
    assert [removal.what for removal in prune(tmp_path, 9)] == ["checks"]


RUN = """
import sys, luigi
from tests import toys
root, times, workers = sys.argv[1], *map(int, sys.argv[2:])
final = toys.Final(root=root, times=times)
assert luigi.build([final], local_scheduler=True, log_level="WARNING", workers=workers)
assert final.stale_because() is None and final.output_folder.exists()
print("was complete")
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_that_a_run_makes_or_has_just_made_is_removed_before_it_ends(tmp_path, workers):
    """With several workers, each stage runs in a process of its own."""
    root = prepare(tmp_path)
    data_root.mark(root)
    removed = 0
    for times in range(4):
        command = [sys.executable, "-c", RUN, str(root), str(times), str(workers)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
            while run.poll() is None:
                removed += len(outputs(prune(root, 0, module="tests.toys")))
            assert run.stdout is not None
            said = run.stdout.read()
        assert said.endswith("was complete\n"), said
    assert removed + len(outputs(prune(root, 0, module="tests.toys"))) == 4 * len(toys.ALL)
    assert left(root) == set()


# Look-alikes: no name is one that the code gives, or it is one and what bears it is of another kind.

KEY, HEX, DIGEST = "0123456789ab", "0123abcd", "0123456789abcdef"
OURS = ("TrainModel", "DownloadImages", "releases")
FOLDERS = (*OURS, *OURS, ".", "added/grass", "web", "server", "TrainModel/mine")
FOREIGN_NAMES = (
    *("yarn.lock", "poetry.lock", "notes.lock", f"{KEY}.lock.bak", f"{KEY}c.lock", f"{KEY.upper()}.lock"),
    *(
        f".{KEY}",
        f".{KEY}.{HEX}0",
        f".{KEY}.{HEX[:-1]}",
        f".{KEY}.{HEX}.bak",
        f"{KEY}.{HEX}",
        f".{KEY}.mine.link",
    ),
    *(
        f".{KEY}.{HEX.upper()}",
        f".{KEY[:-1]}.{HEX}",
        f".{KEY}.{HEX}.links",
        ".lock",
        ".git",
        ".keep",
        ".x.link",
    ),
    *(
        f".old-{DIGEST}",
        f".old-{DIGEST}-",
        f".old-{KEY}-1",
        ".new-",
        ".new-mine",
        ".new-0123ABCD",
        ".current-1",
    ),
    *(f".old-{DIGEST}-x", ".damaged-me", f"{DIGEST}0", DIGEST[:-1], "stamp.json", "release.json", "current~"),
)
KINDS = ("file", "folder", "link to a file", "link to a folder", "link to nothing")
WRONG_KINDS = (
    *((f"{KEY}.lock", kind) for kind in ("file", "folder", "link to a file", "link to nothing")),
    *((f".{KEY}.{HEX}", kind) for kind in ("file", "link to a file", "link to a folder", "link to nothing")),
    *((f".{KEY}.{HEX}.link", kind) for kind in KINDS),
    *((KEY, kind) for kind in KINDS),
    *((f"x-{KEY}", kind) for kind in KINDS),
    *((f".{name}-ab_01xyz", kind) for name in ("new", "damaged") for kind in KINDS if kind != "folder"),
    *((f".old-{DIGEST}-1", kind) for kind in KINDS if kind != "folder"),
    *((".current-1-1", kind) for kind in ("file", "folder")),
    *((DIGEST, kind) for kind in KINDS),
)
LOOKALIKES = st.tuples(
    st.sampled_from(FOLDERS),
    st.one_of(
        st.tuples(st.sampled_from(FOREIGN_NAMES), st.sampled_from(KINDS)), st.sampled_from(WRONG_KINDS)
    ),
)


def plant(root, elsewhere, folder, name, kind):
    """A look-alike with a stamp and a release note in it; returns its path, None if something lies there."""
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() or path.is_symlink():
        return None
    if kind == "file":
        path.write_text("mine\n")
    elif kind == "folder":
        path.mkdir()
        (path / "mine").write_text("mine")
    else:
        path.symlink_to(elsewhere / kind)
    return path


def everything(*folders):
    """What lies in folders: for each path its bytes, or where it leads to."""
    found = {}
    for path in (path for folder in folders for path in [folder, *folder.rglob("*")]):
        if path.name != data_root.LOCK:
            found[path] = path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
    return found


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    planted=st.lists(LOOKALIKES, min_size=20, max_size=60),
    keep=st.integers(0, 2),
    numbers=st.sets(st.integers(1, 3)),
    left_over=st.booleans(),
)
def test_only_what_the_code_made_is_touched(tmp_path_factory, planted, keep, numbers, left_over):
    base = tmp_path_factory.mktemp("tree")
    root, elsewhere = base / "data", base / "elsewhere"
    other = finish(elsewhere, "EvaluateModel", 1)
    (elsewhere / "link to a folder").symlink_to(other.resolve())
    (elsewhere / "link to a file").write_text("")
    data_root.mark(root)
    for number in numbers:
        finish(root, "TrainModel", number)
        finish(root, "DownloadImages(a.b)", number, "a.b-", parameters={"source": "sample"})
        publishing.publish(root / "releases", export(base / "exported", str(number)).iterdir())
    (root / "EvaluateModel").symlink_to(elsewhere / "EvaluateModel")
    if left_over:
        for folder, name in (("TrainModel", f".{KEY}.76543210"), ("releases", ".new-abcd1234")):
            (root / folder / name).mkdir(parents=True)
    foreign = [
        path for folder, (name, kind) in planted if (path := plant(root, elsewhere, folder, name, kind))
    ]
    theirs, before = everything(elsewhere, *foreign), everything(root)

    would_go = prune(root, keep, dry_run=True)
    assert everything(root) == before
    went = prune(root, keep)
    assert went == would_go
    after = everything(root)
    assert everything(elsewhere, *foreign) == theirs
    assert after == {path: content for path, content in before.items() if path in after}
    gone = {path for removal in went for path in removal.paths}
    assert before.keys() - after.keys() == {p for p in before if p in gone or gone & set(p.parents)}
    assert len(left(root) - names(foreign)) == 2 * min(keep, len(numbers)) + 1
    assert bool(gone) >= left_over
    assert prune(root, keep) == []

    finish(root, "TrainModel", int(KEY[:-2]))
    assert everything(elsewhere, *foreign) == theirs
