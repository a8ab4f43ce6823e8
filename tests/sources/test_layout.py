"""How a person's folder tells the classes, and says so where it does not."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import luigi
import pytest

from greenr_luigi.errors import SettingError
from greenr_luigi.operations.status import build
from greenr_luigi.pictures.manifest import MANIFEST, PictureRow, read_jsonl
from greenr_luigi.sources import layout, registry
from greenr_luigi.sources.source import Candidate, Request, SourceError
from greenr_luigi.stage import PipelineStage
from greenr_luigi.staleness import traces
from greenr_luigi.staleness.requirements import run_order
from tests.sources.conftest import picture

NFC, NFD = (unicodedata.normalize(form, "Löwenzahn") for form in ("NFC", "NFD"))
#: What lies beside, and is of no class.
BESIDE = (
    *("Thumbs.db", "desktop.ini", ".DS_Store", "._1.jpg", "README.md", "LICENSE", "__MACOSX/a/1.jpg"),
    ".ipynb_checkpoints/1.jpg",
)


def tree(folder: Path, *names: str) -> Path:
    """A folder with these files, of which those that end in a slash are folders."""
    for name in names:
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    return folder


def listed(folder: Path, label: str) -> list[Candidate]:
    return [*registry.find("folder").candidates(Request(label, label, folder=folder))]


def told(folder: Path, label: str) -> dict[str, str | None]:
    """By its path below the folder, the side of each file of a label."""
    return {candidate.file_url: candidate.side for candidate in listed(folder, label)}


def graph(folder: Path, root: Path, *options: str) -> list[PipelineStage]:
    return run_order(build("SplitDataset", ["--folder", str(folder), *options], root))  # type: ignore[return-value]


def test_a_folder_alone_is_enough_and_saying_more_gives_the_same_outputs(tmp_path: Path) -> None:
    mine = tree(
        tmp_path / "mine", "grass/1.jpg", f"{NFD}/1.jpg", *BESIDE, *(f"grass/{name}" for name in BESIDE)
    )
    short, full = (
        graph(mine, tmp_path / "data", *options)
        for options in ((), ("--source=folder", f"--classes=grass,{NFC}"))
    )
    assert [stage.title for stage in short] == [
        f"DownloadImages({NFC})",
        "DownloadImages(grass)",
        "SplitDataset",
    ]
    assert [stage.task_id for stage in short] == [stage.task_id for stage in full]
    assert [stage.output_folder for stage in short] == [stage.output_folder for stage in full]
    assert told(mine, "grass") == {"grass/1.jpg": None}
    words = f"2 classes by sub-folders: grass 1, {NFC} 1; {2 * len(BESIDE)} files passed over"
    assert layout.understood({label: layout.of(mine).told(label) for label in ("grass", NFC)}) == words


def test_without_a_folder_all_is_as_before(tmp_path: Path) -> None:
    short, full = (
        build("SplitDataset", options, tmp_path)
        for options in ([], ["--source=openverse,commons,bing", "--classes=dandelion,grass"])
    )
    assert short.task_id == full.task_id
    with pytest.raises(SettingError, match=f"--folder {tmp_path}/gone does not exist"):
        build("SplitDataset", ["--folder", f"{tmp_path}/gone"], tmp_path)


def test_lists_are_told_from_pictures(tmp_path: Path) -> None:
    lists = tree(tmp_path / "lists", "README.txt", "notes.txt", "c.md")
    for name in ("grass.TXT", f"{NFD}.csv", ".hidden.txt"):
        (lists / name).write_text("https://pictures.example/1.jpg\n", encoding="utf-16")
    (tmp_path / "all.csv").write_text(
        "url,label\nhttps://pictures.example/1.jpg,b\nhttps://pictures.example/1.jpg,a\n"
    )
    for folder, labels in ((lists, {"grass", NFC}), (tmp_path / "all.csv", {"a", "b"})):
        *downloads, _ = graph(folder, tmp_path)
        assert {(task.source, task.label) for task in downloads} == {("urls", label) for label in labels}
    tree(lists, "grass/1.jpg", "moss/1.jpg")
    assert {task.source for task in graph(lists, tmp_path)} == {"folder"}


@pytest.mark.parametrize(
    ("sides", "below"),
    [
        (("train", "valid", "test"), ""),
        (("Training", "VAL", "testing"), ""),
        (("train", "validation", "test"), "flowers/"),
        (("train/train", "val/val", "test/test"), "archive/flowers/"),
    ],
)
def test_given_sides_are_kept(tmp_path: Path, sides: tuple[str, ...], below: str) -> None:
    mine = tree(
        tmp_path,
        *BESIDE,
        *(f"{below}{side}/{label}/{side[:2]}.JPG" for side in sides for label in ("moss", "test")),
    )
    assert layout.classes(mine) == ["moss", "test"]
    for label in ("moss", "test"):
        names = [f"{below}{side}/{label}/{side[:2]}.JPG" for side in sides]
        assert told(mine, label) == dict(zip(names, ("train", "valid", "test"), strict=True))


def test_what_comes_to_a_class_concerns_no_other(tmp_path: Path) -> None:
    mine = tree(
        tmp_path / "mine", *(f"{side}/{label}/1.jpg" for side in ("train", "test") for label in ("a", "b"))
    )
    downloads = graph(mine, tmp_path)[:2]
    before = {
        task: {name: traces.snapshot(path) for name, path in task.reads().items()} for task in downloads
    }
    tree(mine, "test/b/2.jpg")
    changed = [
        task.label
        for task in downloads
        for name, path in task.reads().items()
        if traces.files_changed(name, before[task][name], path)
    ]
    assert changed == ["b"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/1.jpg", "b/1.jpg", "1.jpg", "2.PNG"], r"pictures \(1.jpg, 2.PNG\) beside the sub-folders a, b"),
        (["1.jpg", "2.jpg"], "2 pictures such as 1.jpg and no sub-folder, so that no class is told"),
        ([], "there is neither a sub-folder nor a picture"),
        (["notes.txt", ".a/1.jpg"], "there is neither a sub-folder nor a picture"),
        (["a/1.jpg"], "one class only, a: expected a sub-folder of pictures for each of two or more"),
        (["x/a/1.jpg", "x/a/b/1.jpg"], "one class only, a"),
        (["train/a/1.jpg", "test/a/1.jpg"], "one class only, a"),
        (["train/a/1.jpg", "test/a/1.jpg", "a/1.jpg"], "train, test beside a: the sides of a split, or classes"),
        (["a/1.jpg", "b/1.jpg", "test/1.jpg"], "test beside a, b: .*--classes a,b,test"),
        (["train/1.jpg", "test/1.jpg"], "train and test hold no sub-folder, so that no class is told"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg"], "test lacks b, which train has.*--classes a,b"),
        (["train/a/1.jpg", "test/a/1.jpg", "test/b/1.jpg"], "train lacks b, which test has"),
        (["train/a/1.jpg", "train/b/1.jpg", "train/1.jpg"], r"in train pictures \(1.jpg\) beside the sub-folders a, b"),
        (["a/1.jpg", "b/1.jpg", "c/", "d/README.md", "e/x/y/"], "c, d, e hold no file"),
        (["Moss/1.jpg", "moss/1.jpg", "a/1.jpg"], "Moss and moss: one class or two"),
        (["a/1.jpg", "b\nc/1.jpg"], "holds a control character"),
    ],
)  # fmt: skip
def test_doubt_is_an_error_that_names_what_may_be_meant(tmp_path: Path, names: list[str], words: str) -> None:
    mine = tree(tmp_path / "mine", "README.txt", *names)
    with pytest.raises(SettingError, match=f"^--folder {mine}: .*{words}"):
        graph(mine, tmp_path)


def test_naming_the_classes_settles_it(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", "1.jpg", "a/1.jpg", "test/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "d/")
    for labels in ("a,test", "b,c", "test,train"):
        assert [task.label for task in graph(mine, tmp_path, f"--classes={labels}")[:2]] == labels.split(",")
    assert told(mine, "test") == {"test/1.jpg": None}
    assert told(mine, "b") == {"train/b/1.jpg": "train"}
    with pytest.raises(SourceError, match="no sub-folder 'tset': did you mean test"):
        listed(mine, "tset")


def test_one_folder_in_another_may_be_a_class_after_all(tmp_path: Path) -> None:
    mine = tree(tmp_path, "moss/2024/1.jpg", "moss/2025/1.jpg")
    assert layout.classes(mine) == ["2024", "2025"]
    assert len(told(mine, "moss")) == 2 and told(mine, "2024") == {"moss/2024/1.jpg": None}


def test_what_programs_keep_beside_the_classes_is_none(tmp_path: Path) -> None:
    names = (
        "a/1.jpg",
        "b/1.txt",
        "b/1.jpg",
        "raw/1.CR2",
        "sha/0a1b",
        "models/stage-1.pth",
        "annotations/x/1.XML",
    )
    mine = tree(tmp_path / "mine", *names)
    assert layout.classes(mine) == ["a", "b", "raw", "sha"]
    assert layout.of(mine).told("a")["beside"] == 2
    # Who names one is told of its files.
    assert [*told(mine, "models")] == ["models/stage-1.pth"]
    with pytest.raises(SourceError, match="one class only, logs"):
        layout.classes(tree(tmp_path / "logs", "logs/1.log"))


def test_accents_composed_in_two_ways_are_one_class(tmp_path: Path) -> None:
    mine = tree(tmp_path, f"train/{NFD}/1.jpg", "train/a/1.jpg", f"test/{NFC}/1.jpg", "test/a/1.jpg")
    assert layout.classes(mine) == [NFC, "a"]
    assert [*told(mine, NFD).values()] == [*told(mine, NFC).values()] == ["train", "test"]


def test_pictures_may_be_called_as_texts_are(tmp_path: Path) -> None:
    names = ["a/readme.jpg", "a/notice-board.png", "a/license 3", "a/notes.txt", "a/credits.webp", "b/1.jpg"]
    mine = tree(tmp_path, *names, "a/README.dataset.txt", "a/Licence", "a/labels.CSV", "a/READ ME.md")
    assert sorted(told(mine, "a")) == sorted(names[:-1])


@pytest.mark.slow
def test_the_folder_goes_through_the_graph(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for number in range(24):
        side, label = ("train", "val", "test")[number // 2 % 3], ("moss", "grass")[number % 2]
        (path := mine / "flowers" / side / label / f"{number}.jpg").parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    tree(mine, *BESIDE, "flowers/train/grass/Thumbs.db")
    root = tmp_path / "data"
    (*_, task) = graph(mine, root)
    assert luigi.build([task], local_scheduler=True, log_level="WARNING")
    rows = [
        row
        for download in task.requires()
        for row in read_jsonl(download.output_folder / MANIFEST, PictureRow)
    ]
    assert len(rows) == 24
    assert all(row.given_side == Path(row.file_url or "").parts[1].replace("val", "valid") for row in rows)
    assert task.stamp().summary["folder"] == (
        "2 classes by sub-folders of train, val, test in flowers: grass 12, moss 12; "
        f"{len(BESIDE) + 1} files passed over"
    )
