"""A run with nothing to do costs each further class the same, however many there are."""

from __future__ import annotations

import cProfile
import io
import pstats
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from luigi.task_register import Register

import tasks
from greenr_luigi.operations.status import build
from greenr_luigi.sources import layout
from greenr_luigi.staleness import listing, numbers, stage, stamp
from greenr_luigi.staleness.stamp import Stamp
from tests.sources.test_layout import tree
from tests.stamped import finish


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """What is called, so that nothing is known of what was asked before."""
    # A folder that was made a moment ago is not remembered.
    monkeypatch.setattr(listing, "SETTLED_NS", -1_000_000_000)

    def forget() -> None:
        Register.clear_instance_cache()
        layout._kept.cache_clear()
        stamp._parsed.cache_clear()
        stage.forget()

    yield forget
    forget()


def calls(function: Callable[[], object]) -> int:
    """Of Python and C, those of the system among them."""
    profile = cProfile.Profile()
    profile.runcall(function)
    return int(pstats.Stats(profile, stream=io.StringIO()).total_calls)  # type: ignore[attr-defined]


def growth(cost: Callable[[int], int], step: int) -> float:
    """How much more each of the third so many classes costs than each of the second, as a share."""
    first, second, third = (cost(count * step) for count in (1, 2, 3))
    return (third - second) / (second - first) - 1


def named(count: int, *files: str) -> list[str]:
    return [name.format(f"c{number:03}") for number in range(count) for name in files]


def by_folders(mine: Path, count: int) -> list[str]:
    tree(mine, *named(count, "{}/1.jpg"))
    return []


def by_sides(mine: Path, count: int) -> list[str]:
    tree(mine, *named(count, "train/{}/1.jpg", "test/{}/1.jpg"))
    return []


def inside_others(mine: Path, count: int) -> list[str]:
    tree(mine, *named(count, "front/{}/1.jpg", "back/{}/1.jpg"))
    return [f"--classes={','.join(named(count, '{}'))}"]


def by_pattern(mine: Path, count: int) -> list[str]:
    tree(mine, *named(count, "{}_1.jpg"))
    return ["--label-pattern=(.+)_"]


def by_table(mine: Path, count: int) -> list[str]:
    tree(mine, *named(count, "{}/1.jpg", "{}/2.jpg"))
    (mine / "labels.csv").write_text(
        "\n".join(["file,label", *named(count, "{0}/1.jpg,{0} a", "{0}/2.jpg,{0} a")])
    )
    return []


def by_lists(mine: Path, count: int) -> list[str]:
    for name in named(count, "{}.TXT"):
        tree(mine, name)
        (mine / name).write_text("http://127.0.0.1:9/1.jpg")
    return []


LAYOUTS = [by_folders, by_sides, inside_others, by_pattern, by_table, by_lists]


@pytest.mark.parametrize("made", LAYOUTS)
def test_what_classes_read_is_found_in_time_linear_in_them(
    tmp_path: Path, as_in_a_new_process: Callable[[], None], made: Callable[[Path, int], list[str]]
) -> None:
    def cost(count: int) -> int:
        mine = tmp_path / str(count)
        options = made(mine, count)

        def ask() -> None:
            split = build("SplitDataset", [f"--folder={mine}", *options], tmp_path / "data")
            with stage.one_question():
                assert len([task.all_reads() for task in split.requires()]) == count

        as_in_a_new_process()
        ask()
        as_in_a_new_process()
        return calls(ask)

    assert growth(cost, 10) < 0.02


@pytest.mark.slow
def test_a_class_reads_no_stamp_of_another(
    tmp_path: Path, as_in_a_new_process: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.DownloadImages, "work", lambda self, out: (out / "made").touch())
    split = build("SplitDataset", [f"--folder={tree(tmp_path / 'mine', *named(4, '{}/1.jpg'))}"], tmp_path)
    examined, read = list[str](), Stamp.read
    monkeypatch.setattr(Stamp, "read", lambda folder: (examined.append(folder.name), read(folder))[1])
    for task in split.requires():
        examined.clear()
        task.run()
        assert task.complete()
        assert examined and all(name.startswith(f"{task.label}-") for name in examined), examined


@pytest.mark.slow
def test_a_class_is_made_at_little_more_cost_beside_many_others(
    tmp_path: Path, as_in_a_new_process: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.DownloadImages, "work", lambda self, out: (out / "made").touch())
    root = tmp_path / "data"
    split = build("SplitDataset", [f"--folder={tree(tmp_path / 'mine', *named(3, '{}/1.jpg'))}"], root)
    first, second, third = split.requires()
    first.run()
    alone = calls(second.run)
    for number in range(100):
        finish(root, "DownloadImages", number, "other-")
    # Their stamps are read once a process.
    numbers.following(root)
    assert calls(third.run) - alone < 50 * 100


@pytest.mark.slow
@pytest.mark.parametrize("made", [by_folders, by_table, by_lists])
def test_a_run_with_nothing_to_do_is_linear_in_classes(
    tmp_path: Path,
    as_in_a_new_process: Callable[[], None],
    made: Callable[[Path, int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(self: Any, out: Path) -> None:
        (out / "made").touch()

    for kind in (tasks.DownloadImages, tasks.SplitDataset):
        monkeypatch.setattr(kind, "work", work)

    def cost(count: int) -> int:
        mine = tmp_path / str(count)
        options = [f"--folder={mine}", *made(mine, count)]
        split = build("SplitDataset", options, tmp_path / f"data{count}")
        for task in (*split.requires(), split):
            task.run()

        def ask() -> None:
            assert build("SplitDataset", options, tmp_path / f"data{count}").complete()

        as_in_a_new_process()
        ask()
        as_in_a_new_process()
        return calls(ask)

    assert growth(cost, 6) < 0.02
