"""Rollout: pointed at atomically, tried, rolled back."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from greenr_luigi.deployment import deploy
from greenr_luigi.serving import history, publishing, releases, removal, rollout
from tests.serving.made import export, three


def test_point_and_roll_back_along_the_history(tmp_path: Path) -> None:
    store = tmp_path / "s"
    assert rollout.current(store) is None and rollout.previous(store) is None
    a, b, c = (publishing.publish(store, export(tmp_path / "e", text).iterdir()) for text in "abc")
    for digest in (a, b, c, c):
        rollout.point(store, digest)
        assert rollout.current(store) == digest
    assert not (store / "current").readlink().is_absolute()
    assert rollout.rollback(store) == b
    assert rollout.rollback(store) == a == rollout.current(store)
    with pytest.raises(releases.ReleaseError, match="nothing to roll back to"):
        rollout.rollback(store)
    rollout.point(store, c)
    assert rollout.rollback(store) == a
    with (store / "history.jsonl").open("a") as log:
        log.write('{"digest": "half')
    assert rollout.previous(store) is None


class Interrupted(BaseException):
    """Like Ctrl-C, which would end the tests."""


@pytest.mark.parametrize("end", [OSError, releases.ReleaseError, Interrupted])
def test_a_trial_that_does_not_end_well_leaves_all_as_it_was(
    tmp_path: Path, end: type[BaseException]
) -> None:
    store = tmp_path / "s"
    a, b, c = three(store)
    known = (store / "history.jsonl").read_bytes()
    with pytest.raises(end), rollout.trial(store, a, before=c):
        assert rollout.current(store) == a
        raise end
    assert rollout.current(store) == c and (store / "history.jsonl").read_bytes() == known
    with pytest.raises(end), rollout.trial(store, a, before=c):
        rollout.point(store, b)
        raise end
    assert rollout.current(store) == b, "only from what it pointed to itself"
    with rollout.trial(store, a, before=b):
        pass
    assert rollout.current(store) == a == rollout.last_good(store) and rollout.previous(store) == b


def test_the_first_trial_leaves_no_current_release(tmp_path: Path) -> None:
    store = tmp_path / "s"
    first = publishing.publish(store, export(tmp_path / "e").iterdir())
    with pytest.raises(OSError, match="no server"), rollout.trial(store, first, before=None):
        raise OSError("no server")
    assert rollout.current(store) is None and rollout.last_good(store) is None
    assert releases.releases(store) == [first]


def test_the_last_good_release_is_the_newest_that_has_served_and_is_sound(tmp_path: Path) -> None:
    store = tmp_path / "s"
    a, b, c = three(store)
    assert rollout.last_good(store) == c
    untried = publishing.publish(store, export(tmp_path / "e", "untried").iterdir())
    (store / "current").unlink()
    (store / "current").symlink_to(untried)  # As a deployment leaves it that is killed.
    assert rollout.last_good(store) == c
    (store / c / "model.json").write_text("{")
    assert rollout.last_good(store) == b
    shutil.rmtree(store / b)
    assert rollout.last_good(store) == a
    (store / "history.jsonl").unlink()
    assert rollout.last_good(store) == untried


def test_a_rollback_passes_over_what_is_damaged(tmp_path: Path) -> None:
    store = tmp_path / "s"
    a, b, _ = three(store)
    (store / b / "model.onnx").write_text("B")
    assert rollout.rollback(store) == a == rollout.current(store)


def test_a_rollback_without_the_link_leaves_the_release_that_was_the_last_to_serve(tmp_path: Path) -> None:
    store = tmp_path / "s"
    _, b, _ = three(store)
    (store / "current").unlink()
    assert rollout.rollback(store) == b == rollout.current(store)


def test_nothing_to_roll_back_to(tmp_path: Path) -> None:
    with pytest.raises(releases.ReleaseError, match=r"no sound release in .* has served before one;"):
        rollout.rollback(tmp_path)
    only = publishing.publish(tmp_path / "s", export(tmp_path / "e").iterdir())
    rollout.point(tmp_path / "s", only)
    with pytest.raises(releases.ReleaseError, match=f"has served before {only}; deploy another one"):
        rollout.rollback(tmp_path / "s")


def test_where_nothing_tells_what_served_a_person_chooses(tmp_path: Path) -> None:
    store = tmp_path / "s"
    a, b, c = three(store)
    (store / b / "model.onnx").write_text("B")
    for name in ("current", "history.jsonl"):
        (store / name).unlink()
    assert rollout.last_good(store) is None
    for ask in (lambda: rollout.rollback(store), lambda: deploy.point_to_last_good(store)):
        with pytest.raises(releases.ReleaseError, match="choose one with `greenr rollback RELEASE`") as told:
            ask()
        assert all(digest in str(told.value) for digest in (a, c)) and b not in str(told.value)
    with pytest.raises(releases.ReleaseError, match=r"model\.onnx is not the file"):
        rollout.rollback(store, to=b)
    with pytest.raises(releases.ReleaseError, match="no release 0000000000000000 in"):
        rollout.rollback(store, to="0" * 16)
    assert rollout.current(store) is None
    assert rollout.rollback(store, to=a) == a == rollout.current(store) == rollout.last_good(store)
    assert rollout.rollback(store, to=c) == c == rollout.last_good(store) and not rollout.rolled_back(
        store, c
    )


def test_another_report_on_a_model_that_was_rolled_back_brings_it_not_back(tmp_path: Path) -> None:
    store = tmp_path / "s"
    _, b, c = three(store)
    rollout.rollback(store)
    files = [store / c / name for name in ("model.onnx", "model.json")]
    (tmp_path / "report.html").write_text("one more refused file")
    again = publishing.publish(store, [*files, tmp_path / "report.html"])
    assert again != c and rollout.rolled_back(store, again) and not rollout.rolled_back(store, b)
    rollout.point(store, publishing.publish(store, export(tmp_path / "e", "d").iterdir()))
    assert not rollout.rolled_back(store, again), "another model has come since"


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
        rollout.rollback(store)
    assert rollout.current(store) == c == rollout.last_good(store), "nothing has happened"
    with monkeypatch.context() as patch, pytest.raises(end):
        patch.setattr(Path, "symlink_to", full)
        rollout.rollback(store)
    assert rollout.last_good(store) == b, "what the next start points to"
    assert rollout.rollback(store) == b == rollout.current(store), "a retry goes no further back"
    assert rollout.rolled_back(store, c) and rollout.previous(store) != c


def test_a_copy_that_followed_links_can_be_pointed_again(tmp_path: Path) -> None:
    a, _, c = three(tmp_path / "s")
    copy = Path(shutil.copytree(tmp_path / "s", tmp_path / "copy"))
    assert rollout.current(copy) is None and rollout.last_good(copy) == c
    rollout.point(copy, c)
    assert rollout.current(copy) == c and rollout.rollback(copy) != c
    assert [path.name[:13] for path in removal.leftovers(copy)] == [".old-current-"]
    (copy / "current").unlink()
    (copy / "current").mkdir()
    with pytest.raises(releases.ReleaseError, match="is a folder, and no release"):
        rollout.point(copy, a)


def test_readers_never_see_no_current_while_it_is_replaced(tmp_path: Path) -> None:
    store = tmp_path / "s"
    pair = [publishing.publish(store, export(tmp_path / "e", text).iterdir()) for text in "ab"]
    rollout.point(store, pair[0])
    done = threading.Event()
    seen: list[str | None] = []

    def read() -> None:
        while not done.is_set():
            seen.append(rollout.current(store))

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(40):
        rollout.point(store, pair[(n + 1) % 2])
    done.set()
    reader.join()
    assert set(seen) <= set(pair) and seen
