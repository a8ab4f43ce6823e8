"""Releases: published whole, pointed at atomically, rolled back, pruned, and refused when damaged."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from greenr_luigi.deployment import deploy
from greenr_luigi.serving import history, releases
from tests import tiny_release


def export(folder: Path, text: str = "weights", **more: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files = {"model.onnx": text, "model.json": "{}", "stamp.json": os.urandom(4).hex(), **more}
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def test_publish_is_idempotent_and_leaves_the_stamp_out(tmp_path: Path) -> None:
    store = tmp_path / "a store"
    first = releases.publish(store, export(tmp_path / "e").iterdir())
    again = releases.publish(store, export(tmp_path / "e").iterdir())
    assert first == again and releases.DIGEST.fullmatch(first)
    assert sorted(p.name for p in (store / first).iterdir()) == ["model.json", "model.onnx", "release.json"]
    assert releases.releases(store) == [first]
    assert [p.name for p in store.iterdir()] == [first]


def test_folders_travel_and_change_the_digest(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.json"
    metrics.write_text("{}")
    pictures = export(tmp_path / "pictures")
    plain = releases.publish(tmp_path / "s", export(tmp_path / "e").iterdir())
    rich = releases.publish(tmp_path / "s", [*export(tmp_path / "e").iterdir(), metrics, pictures])
    assert plain != rich
    assert set(releases.verify(tmp_path / "s", rich).files) >= {"metrics.json", "pictures/model.onnx"}
    listed = [tmp_path / "e" / "model.onnx", tmp_path / "e" / "model.json"]
    assert releases.publish(tmp_path / "s", listed) == plain


@pytest.mark.parametrize("name", ["model.onnx", "model.json"])
def test_a_release_without_its_model_is_refused(tmp_path: Path, name: str) -> None:
    folder = export(tmp_path / "e")
    (folder / name).unlink()
    with pytest.raises(releases.ReleaseError, match=f"no {name}.*export the model again"):
        releases.publish(tmp_path / "s", folder.iterdir())
    assert list((tmp_path / "s").glob("*")) == []


def test_missing_extra_and_two_files_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(releases.ReleaseError, match="neither a file nor a folder"):
        releases.publish(tmp_path / "s", [*export(tmp_path / "e").iterdir(), tmp_path / "nothing.html"])
    with pytest.raises(releases.ReleaseError, match=r"two files for 'model\.json'"):
        releases.publish(
            tmp_path / "s", [*export(tmp_path / "e").iterdir(), export(tmp_path / "f") / "model.json"]
        )


def test_nothing_from_elsewhere_gets_into_a_release(tmp_path: Path) -> None:
    """Neither by a link nor by a name in release.json."""
    store, pictures = tmp_path / "releases", tmp_path / "pictures"
    digest = releases.publish(store, tiny_release.export(tmp_path / "export").iterdir())
    pictures.mkdir()
    (tmp_path / "secret").write_text("mine")
    (pictures / "a.jpg").symlink_to(tmp_path / "secret")
    with pytest.raises(releases.ReleaseError, match="is a link, and may lead anywhere"):
        releases.publish(store, [*(tmp_path / "export").iterdir(), pictures])
    note = json.loads((store / digest / "release.json").read_text())
    note["files"]["../../secret"] = {"sha256": "0" * 64, "size": 4}
    (store / digest / "release.json").write_text(json.dumps(note))
    with pytest.raises(releases.ReleaseError, match="cannot be read as ReleaseNote"):
        releases.verify(store, digest)


def test_point_and_roll_back_along_the_history(tmp_path: Path) -> None:
    store = tmp_path / "s"
    assert releases.current(store) is None and releases.previous(store) is None
    a, b, c = (releases.publish(store, export(tmp_path / "e", text).iterdir()) for text in "abc")
    for digest in (a, b, c, c):
        releases.point(store, digest)
        assert releases.current(store) == digest
    assert not (store / "current").readlink().is_absolute()
    assert releases.rollback(store) == b
    assert releases.rollback(store) == a == releases.current(store)
    with pytest.raises(releases.ReleaseError, match="nothing to roll back to"):
        releases.rollback(store)
    releases.point(store, c)
    assert releases.rollback(store) == a
    with (store / "history.jsonl").open("a") as log:
        log.write('{"digest": "half')
    assert releases.previous(store) is None


def three(store: Path) -> list[str]:
    """Three releases that have served one after the other."""
    digests = [releases.publish(store, export(store.parent / "e", text).iterdir()) for text in "abc"]
    for digest in digests:
        releases.point(store, digest)
    return digests


class Interrupted(BaseException):
    """Like Ctrl-C, which would end the tests."""


@pytest.mark.parametrize("end", [OSError, releases.ReleaseError, Interrupted])
def test_a_trial_that_does_not_end_well_leaves_all_as_it_was(
    tmp_path: Path, end: type[BaseException]
) -> None:
    store = tmp_path / "s"
    a, b, c = three(store)
    known = (store / "history.jsonl").read_bytes()
    with pytest.raises(end), releases.trial(store, a, before=c):
        assert releases.current(store) == a
        raise end
    assert releases.current(store) == c and (store / "history.jsonl").read_bytes() == known
    with pytest.raises(end), releases.trial(store, a, before=c):
        releases.point(store, b)
        raise end
    assert releases.current(store) == b, "only from what it pointed to itself"
    with releases.trial(store, a, before=b):
        pass
    assert releases.current(store) == a == releases.last_good(store) and releases.previous(store) == b


def test_the_first_trial_leaves_no_current_release(tmp_path: Path) -> None:
    store = tmp_path / "s"
    first = releases.publish(store, export(tmp_path / "e").iterdir())
    with pytest.raises(OSError, match="no server"), releases.trial(store, first, before=None):
        raise OSError("no server")
    assert releases.current(store) is None and releases.last_good(store) is None
    assert releases.releases(store) == [first]


def test_the_last_good_release_is_the_newest_that_has_served_and_is_sound(tmp_path: Path) -> None:
    store = tmp_path / "s"
    a, b, c = three(store)
    assert releases.last_good(store) == c
    untried = releases.publish(store, export(tmp_path / "e", "untried").iterdir())
    (store / "current").unlink()
    (store / "current").symlink_to(untried)  # As a deployment leaves it that is killed.
    assert releases.last_good(store) == c
    (store / c / "model.json").write_text("{")
    assert releases.last_good(store) == b
    shutil.rmtree(store / b)
    assert releases.last_good(store) == a
    (store / "history.jsonl").unlink()
    assert releases.last_good(store) == untried


def test_a_rollback_passes_over_what_is_damaged(tmp_path: Path) -> None:
    store = tmp_path / "s"
    a, b, _ = three(store)
    (store / b / "model.onnx").write_text("B")
    assert releases.rollback(store) == a == releases.current(store)


def test_a_rollback_without_the_link_leaves_the_release_that_was_the_last_to_serve(tmp_path: Path) -> None:
    store = tmp_path / "s"
    _, b, _ = three(store)
    (store / "current").unlink()
    assert releases.rollback(store) == b == releases.current(store)


def test_nothing_to_roll_back_to(tmp_path: Path) -> None:
    with pytest.raises(releases.ReleaseError, match=r"no sound release in .* has served before one;"):
        releases.rollback(tmp_path)
    only = releases.publish(tmp_path / "s", export(tmp_path / "e").iterdir())
    releases.point(tmp_path / "s", only)
    with pytest.raises(releases.ReleaseError, match=f"has served before {only}; deploy another one"):
        releases.rollback(tmp_path / "s")


def test_where_nothing_tells_what_served_a_person_chooses(tmp_path: Path) -> None:
    store = tmp_path / "s"
    a, b, c = three(store)
    (store / b / "model.onnx").write_text("B")
    for name in ("current", "history.jsonl"):
        (store / name).unlink()
    assert releases.last_good(store) is None
    for ask in (lambda: releases.rollback(store), lambda: deploy.point_to_last_good(store)):
        with pytest.raises(releases.ReleaseError, match="choose one with `greenr rollback RELEASE`") as told:
            ask()
        assert all(digest in str(told.value) for digest in (a, c)) and b not in str(told.value)
    with pytest.raises(releases.ReleaseError, match=r"model\.onnx is not the file"):
        releases.rollback(store, to=b)
    with pytest.raises(releases.ReleaseError, match="no release 0000000000000000 in"):
        releases.rollback(store, to="0" * 16)
    assert releases.current(store) is None
    assert releases.rollback(store, to=a) == a == releases.current(store) == releases.last_good(store)
    assert releases.rollback(store, to=c) == c == releases.last_good(store) and not releases.rolled_back(
        store, c
    )


def test_another_report_on_a_model_that_was_rolled_back_brings_it_not_back(tmp_path: Path) -> None:
    store = tmp_path / "s"
    _, b, c = three(store)
    releases.rollback(store)
    files = [store / c / name for name in ("model.onnx", "model.json")]
    (tmp_path / "report.html").write_text("one more refused file")
    again = releases.publish(store, [*files, tmp_path / "report.html"])
    assert again != c and releases.rolled_back(store, again) and not releases.rolled_back(store, b)
    releases.point(store, releases.publish(store, export(tmp_path / "e", "d").iterdir()))
    assert not releases.rolled_back(store, again), "another model has come since"


@pytest.mark.parametrize("end", [OSError, Interrupted])
def test_a_rollback_that_is_cut_short_goes_where_the_person_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    store = tmp_path / "s"
    _, b, c = three(store)

    def full(*_: object) -> None:
        raise end

    with monkeypatch.context() as patch, pytest.raises(end):
        patch.setattr(history, "append", full)
        releases.rollback(store)
    assert releases.current(store) == c == releases.last_good(store), "nothing has happened"
    with monkeypatch.context() as patch, pytest.raises(end):
        patch.setattr(Path, "symlink_to", full)
        releases.rollback(store)
    assert releases.last_good(store) == b, "what the next start points to"
    assert releases.rollback(store) == b == releases.current(store), "a retry goes no further back"
    assert releases.rolled_back(store, c) and releases.previous(store) != c


@pytest.mark.parametrize("name", ["", "release.json", "model.onnx", "pictures"])
@pytest.mark.parametrize("what", ["file", "folder", "link to itself", "link to nowhere"])
def test_whatever_lies_in_the_place_of_a_release_it_is_published_anew(
    tmp_path: Path, name: str, what: str
) -> None:
    store, pictures = tmp_path / "s", export(tmp_path / "pictures")
    made = [*export(tmp_path / "e").iterdir(), pictures]
    digest = releases.publish(store, made)
    damaged = store / digest / name
    damaged.rename(tmp_path / "aside")
    if what == "file":
        damaged.write_text("something else")
    elif what == "folder":
        damaged.mkdir()
    else:
        damaged.symlink_to(damaged if what == "link to itself" else tmp_path / "nowhere")
    with pytest.raises(releases.ReleaseError, match="deploy again"):
        releases.verify(store, digest)
    with pytest.raises(releases.ReleaseError, match="deploy again"):
        releases.verify_touched(store, digest)
    assert releases.publish(store, made) == digest and releases.is_sound(store, digest)
    releases.point(store, digest)


def test_a_copy_that_followed_links_can_be_pointed_again(tmp_path: Path) -> None:
    a, _, c = three(tmp_path / "s")
    copy = Path(shutil.copytree(tmp_path / "s", tmp_path / "copy"))
    assert releases.current(copy) is None and releases.last_good(copy) == c
    releases.point(copy, c)
    assert releases.current(copy) == c and releases.rollback(copy) != c
    assert [path.name[:13] for path in releases.leftovers(copy)] == [".old-current-"]
    (copy / "current").unlink()
    (copy / "current").mkdir()
    with pytest.raises(releases.ReleaseError, match="is a folder, and no release"):
        releases.point(copy, a)


def test_what_was_touched_is_looked_at_again(tmp_path: Path) -> None:
    store = tmp_path / "s"
    digest = releases.publish(store, export(tmp_path / "e", "weights").iterdir())
    model = store / digest / "model.onnx"
    releases.verify_touched(store, digest)
    model.touch()
    releases.verify_touched(store, digest)
    before = model.stat()
    model.write_text("weighed")  # As long as before, and as old: what a copy that keeps times brings back.
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns - 10**12))
    with pytest.raises(releases.ReleaseError, match=r"model\.onnx is not the file that was published"):
        releases.verify_touched(store, digest)
    model.unlink()
    with pytest.raises(releases.ReleaseError, match=r"model\.onnx is missing"):
        releases.verify_touched(store, digest)
    (store / digest / "release.json").unlink()
    with pytest.raises(releases.ReleaseError, match="no release"):
        releases.verify_touched(store, digest)


def test_a_damaged_release_is_refused_and_mended_by_publishing_again(tmp_path: Path) -> None:
    store = tmp_path / "s"
    good, other = (
        releases.publish(store, export(tmp_path / "e", text).iterdir()) for text in ("weights", "others")
    )
    releases.point(store, other)
    (store / good / "model.onnx").write_text("weighed")
    with pytest.raises(releases.ReleaseError, match=r"model\.onnx is not the file that was published"):
        releases.point(store, good)
    (store / good / "model.onnx").unlink()
    with pytest.raises(releases.ReleaseError, match=r"model\.onnx is missing"):
        releases.verify(store, good)
    assert releases.current(store) == other
    assert releases.publish(store, export(tmp_path / "e", "weights").iterdir()) == good
    releases.verify(store, good)
    note = json.loads((store / good / "release.json").read_text())
    note["files"]["model.json"]["sha256"] = "0" * 64
    (store / good / "release.json").write_text(json.dumps(note))
    with pytest.raises(releases.ReleaseError, match="its list of files has digest"):
        releases.verify(store, good, ["model.onnx"])
    (store / good / "release.json").write_text("[]")
    with pytest.raises(releases.ReleaseError, match="cannot be read"):
        releases.verify(store, good)
    for wrong in ("../../etc", "", "0" * 16):
        with pytest.raises(releases.ReleaseError):
            releases.point(store, wrong)


def test_prune_keeps_the_current_and_the_one_before(tmp_path: Path) -> None:
    store = tmp_path / "s"
    all_of_them = [releases.publish(store, export(tmp_path / "e", str(n)).iterdir()) for n in range(6)]
    releases.point(store, all_of_them[0])
    releases.point(store, all_of_them[2])
    assert releases.superfluous(store, 1, {all_of_them[4]}) == [all_of_them[n] for n in (1, 3, 5)]
    assert releases.superfluous(store, 1) == [all_of_them[n] for n in (1, 3, 4, 5)]
    for digest in releases.superfluous(store, 0):
        releases.remove(store, digest)
    assert set(releases.releases(store)) == {all_of_them[n] for n in (0, 2)}
    assert releases.rollback(store) == all_of_them[0]


def test_the_newest_release_is_told_by_the_history_and_not_by_a_clock(tmp_path: Path) -> None:
    store = tmp_path / "s"
    a, b, c = three(store)
    untried = [releases.publish(store, export(tmp_path / "e", text).iterdir()) for text in ("d", "e")]
    for seconds, digest in enumerate([*untried, c, b, a], 10**9):
        os.utime(store / digest / "release.json", (seconds, seconds))
    assert releases.releases(store) == [*untried, a, b, c], "what has never served is the first to go"
    assert releases.superfluous(store, 3) == untried
    releases.point(store, a)
    assert releases.releases(store) == [*untried, b, c, a]


def test_what_killed_writers_left_is_known_by_its_name_and_kind(tmp_path: Path) -> None:
    """Names as `publish`, `point` and `remove` give them."""
    store = tmp_path / "s"
    releases.publish(store, export(tmp_path / "e").iterdir())
    left = [
        store / name for name in (".current-7-70", f".old-{'a' * 16}-7", ".damaged-ab_01xyz", ".new-ab_01xyz")
    ]
    left[0].symlink_to("a" * 16)
    for folder in left[1:]:
        folder.mkdir()
    for foreign in (".new-", ".new-mine", ".new-ab_01xyz2", ".current-mine", ".old-1"):
        (store / foreign).mkdir()
    (store / ".current-8-80").mkdir()
    (store / ".new-abcdefgh").write_text("a file")
    (store / ".damaged-abcdefgh").symlink_to(tmp_path)
    assert set(releases.leftovers(store)) == set(left)


def test_readers_never_see_no_current_while_it_is_replaced(tmp_path: Path) -> None:
    store = tmp_path / "s"
    pair = [releases.publish(store, export(tmp_path / "e", text).iterdir()) for text in "ab"]
    releases.point(store, pair[0])
    done = threading.Event()
    seen: list[str | None] = []

    def read() -> None:
        while not done.is_set():
            seen.append(releases.current(store))

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(100):
        releases.point(store, pair[(n + 1) % 2])
    done.set()
    reader.join()
    assert set(seen) <= set(pair) and seen


def test_two_publishers_of_the_same_files(tmp_path: Path) -> None:
    export(tmp_path / "e")
    found: list[str] = []

    def publish() -> None:
        found.append(releases.publish(tmp_path / "s", (tmp_path / "e").iterdir()))

    both = [threading.Thread(target=publish) for _ in range(8)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(found) == 8 and len(set(found)) == 1
    releases.verify(tmp_path / "s", found[0])
    assert [p.name for p in (tmp_path / "s").iterdir()] == found[:1]
