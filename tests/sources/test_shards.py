"""A large class is checked in parts, and comes out as if it had been checked at once."""

from __future__ import annotations

import os
from pathlib import Path

import luigi
import pytest

from greenr_luigi import cli
from greenr_luigi.operations.status import status
from greenr_luigi.sources import checking, folder
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.source import Request, SourceError
from greenr_luigi.staleness import examination, listing, traces
from greenr_luigi.staleness.stage import forget
from tasks import DownloadImages, PictureShard
from tests.noted import noted
from tests.sources.conftest import picture

#: Of folders that hold one another, and names that are a file here and a folder there, or no text.
NAMES = [
    "b/1.jpg",
    "b.jpg",
    "a",
    "c/d/1.jpg",
    "c/d.jpg",
    "c-d/1.jpg",
    os.fsdecode(b"\xff.jpg"),
    "new\nline.jpg",
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a class of 36 files: pictures, some of them twice and thrice, and what is none."""
    top = tmp_path / "pictures" / "grass"
    for number, name in enumerate([*NAMES, *(f"{number}.jpg" for number in range(20))]):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(picture(number))
    for number in range(4):
        (top / f"twice-{number}.jpg").write_bytes(picture(number + 5))
        (top / f"0-{number}.jpg").write_bytes([b"no picture", picture(number, 16), picture(9), b""][number])
    return top.parent


def download(root: Path, pictures: Path, shard_size: int = 5, **options: object) -> DownloadImages:
    parameters = {"source": "folder", "folder": pictures, "limit": 0, "license": "", "refresh_days": 30}
    forget()
    # As a run of its own, which knows nothing of those before it.
    DownloadImages.clear_instance_cache()
    return DownloadImages(root=root, label="grass", shard_size=shard_size, **parameters | options)


def made(task: DownloadImages) -> traces.Snapshot:
    assert luigi.build([task], local_scheduler=True, log_level="WARNING")
    return {name: file._replace(mtime_ns=0) for name, file in traces.snapshot(task.output_folder).items()}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 20, 35])
def test_the_same_bytes_in_parts_as_at_once(tmp_path: Path, pictures: Path, limit: int) -> None:
    whole = download(tmp_path / "one", pictures, 1000, limit=limit)
    assert whole.requires() == []
    at_once = made(whole)
    parts = download(tmp_path / "many", pictures, limit=limit)
    assert len(parts.requires()) == 8
    assert made(parts) == at_once and len(at_once) > 15
    assert b"duplicate" in (parts.output_folder / "rejected.jsonl").read_bytes()


def test_a_limit_of_few_has_few_checked(tmp_path: Path, pictures: Path) -> None:
    assert download(tmp_path, pictures, limit=17).requires() == []


@pytest.mark.slow
def test_what_comes_goes_or_changes_concerns_one_part(tmp_path: Path, pictures: Path, ran: list[str]) -> None:
    made(download(tmp_path, pictures))
    ran.clear()
    task = download(tmp_path, pictures)
    assert made(task) and not ran
    top = pictures / "grass"
    for change in (
        lambda: (top / "more.jpg").write_bytes(picture(99)),
        (top / "more.jpg").unlink,
        lambda: (top / "3.jpg").write_bytes(picture(98)),
    ):
        change()
        made(task := download(tmp_path, pictures))
        assert (
            len(ran) == 2 and ran[0].startswith("PictureShard(grass ") and ran[1] == "DownloadImages(grass)"
        )
        assert download(tmp_path, pictures).stale_because() is None
        ran.clear()
    assert made(task) == made(download(tmp_path / "again", pictures, 1000))


@pytest.mark.slow
def test_asked_for_by_name_all_of_it_is_checked_again(tmp_path: Path, pictures: Path, ran: list[str]) -> None:
    made(download(tmp_path, pictures))
    ran.clear()
    made(download(tmp_path, pictures, force=("DownloadImages",)))
    assert len(ran) == 9


@pytest.mark.slow
def test_a_class_that_grows_large_and_small_again(tmp_path: Path, pictures: Path) -> None:
    small = made(download(tmp_path, pictures, 1000))
    task = download(tmp_path, pictures)
    assert "PictureShard(grass 1 of 8)" in str(task.stale_because())
    assert made(task) == small
    task = download(tmp_path, pictures, 1000)
    assert "is no longer required" in str(task.stale_because())
    assert made(task) == small


@pytest.mark.slow
def test_a_picture_that_was_damaged_meanwhile_is_read_again(tmp_path: Path, pictures: Path) -> None:
    task = download(tmp_path, pictures)
    assert luigi.build(task.requires(), local_scheduler=True, log_level="WARNING")
    for shard in task.requires():
        first, *others = sorted((shard.output_folder / checking.PICTURES).iterdir())
        first.write_bytes(b"damaged")
        for other in others[:1]:
            other.unlink()
    assert made(task) == made(download(tmp_path / "one", pictures, 1000))


@pytest.mark.slow
def test_a_damaged_part_is_made_again(tmp_path: Path, pictures: Path, ran: list[str]) -> None:
    made(task := download(tmp_path, pictures))
    file = task.requires()[0].output_folder / checking.CHECKED
    file.write_text("{}\n" + file.read_text()[3:])
    ran.clear()
    made(download(tmp_path, pictures))
    assert ran == ["PictureShard(grass 1 of 8)"]


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"name": "a"}', '{"name": "a", "picture": {"file": "../a"}}', '{"refusal": 1}']
)
def test_a_part_that_cannot_be_read_says_what_to_do(tmp_path: Path, line: str) -> None:
    (tmp_path / checking.CHECKED).write_text(f"{line}\n")
    with pytest.raises(SourceError, match=f"is damaged: remove {tmp_path}, and run again"):
        [*checking.of_parts(folder.SOURCE, [tmp_path], Request("grass", "grass", folder=tmp_path))]


@pytest.mark.slow
def test_a_folder_is_listed_once_for_all_its_parts(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "QUICK", -1)
    monkeypatch.setattr(listing, "SETTLED_NS", -1_000_000_000)
    monkeypatch.setattr(listing, "_listings", {})
    made(download(tmp_path, pictures))
    listed = noted(monkeypatch, listing, "names")
    task = download(tmp_path, pictures)
    assert task.stale_because() is None and not any(shard.stale_because() for shard in task.requires())
    assert pictures / "grass" not in listed
    (pictures / "grass" / "c" / "more.jpg").write_bytes(picture(99))
    forget()
    assert task.stale_because() is not None
    assert listed.count(pictures / "grass") == 1


def test_the_order_is_that_of_the_folder(pictures: Path) -> None:
    top = pictures / "grass"
    listed = [*FileSet(top, "grass").names()]
    in_folders = ["b/1.jpg", "c/d.jpg", "c/d/1.jpg", "c-d/1.jpg"]
    assert listed == sorted({*listed}.difference(in_folders)) + in_folders


@pytest.mark.slow
def test_status_and_history_tell_of_all_parts_together(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    options = ["--root", str(root), "status", "DownloadImages", "--label=grass", "--source=folder"]
    options += [f"--folder={pictures}", "--shard-size=5"]

    def told(*argv: str) -> list[str]:
        DownloadImages.clear_instance_cache()
        forget()
        assert cli.main([*argv]) == 0
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    made(download(root, pictures))
    assert told(*options) == ["PictureShard(grass)    complete  8 parts", "DownloadImages(grass)  complete"]
    (pictures / "grass" / "more.jpg").write_bytes(picture(99))
    lines = told(*options)
    assert lines[0] == "PictureShard(grass)    complete  7 parts"
    assert lines[1] == "PictureShard(grass)    stale     1 part; folder grass file more.jpg was added"
    assert len(lines) == 3
    assert len(told("--root", str(root), "history")) == 3
    assert len(told("--root", str(root), "usage")) == 4  # What its checks found is kept, too.


@pytest.mark.slow
def test_status_examines_each_part_once(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined = noted(monkeypatch, examination, "examine")
    options = ["--label=grass", "--source=folder", f"--folder={pictures}", "--shard-size=5"]
    made(download(tmp_path / "data", pictures))
    DownloadImages.clear_instance_cache()
    forget()
    examined.clear()
    assert {line["state"] for line in status("DownloadImages", options, tmp_path / "data")} == {"complete"}
    assert len(examined) == 9


def test_a_part_says_which_it_is(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "root").mkdir()
    last: PictureShard = download(tmp_path / "root", pictures).requires()[-1]
    assert last.title == "PictureShard(grass 8 of 8)" and last.output_folder.name.startswith("grass-")
