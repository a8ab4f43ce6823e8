"""How a person's folder tells the classes, and says so where it does not."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path

import luigi
import pytest

from greenr_luigi.dataset.rows import read_note
from greenr_luigi.errors import SettingError
from greenr_luigi.operations.status import build
from greenr_luigi.pictures.manifest import MANIFEST, PictureRow, read_jsonl
from greenr_luigi.sources import layout, registry
from greenr_luigi.sources.source import Candidate, Request, SourceError, Unavailable
from greenr_luigi.sources.understood import understood
from greenr_luigi.stage import PipelineStage
from greenr_luigi.staleness import data_root, traces
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
    assert understood(layout.of(mine), ("grass", NFC)) == words
    many = tree(tmp_path / "many", *(f"c{number:03}/1.jpg" for number in range(100)))
    assert understood(layout.of(many), layout.classes(many)) == (
        "100 classes by sub-folders: c000 1, c001 1, c002 1, c003 1, c004 1, c005 1, c006 1, c007 1 and 92 more"
    )


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
    # What a program made of them before.
    tree(lists, "models/stage-1.pth", "export.pkl", "grass/", "grass/labels.csv")
    assert {task.source for task in graph(lists, tmp_path)} == {"urls"}
    tree(lists, "grass/1.jpg", "moss/1.jpg")
    assert {task.source for task in graph(lists, tmp_path)} == {"folder"}


@pytest.mark.parametrize(
    ("sides", "below"),
    [
        (("train", "valid", "test"), ""),
        (("Training", "VAL", "testing"), ""),
        (("train", "validation", "test"), "flowers/"),
        (("train/train", "val/val", "test/test"), "archive/flowers/"),
        (("Training_Set", "dev", "Test Set"), ""),
        (("trainset", "evaluation", "holdout"), "x/"),
        (("train_images", "val-images", "test1"), ""),
        (("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"), ""),
        (("01 train/images", "02 val/images", "03 test/images"), ""),
        (("flowers_train", "flowers_validation", "flowers_test"), "flowers/"),
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


def test_names_that_have_a_side_in_them_may_be_classes(tmp_path: Path) -> None:
    for number, labels in enumerate(
        (["bullet train", "test tube"], ["cat_train", "dog_train"], ["pretest", "x"])
    ):
        mine = tree(tmp_path / f"{number}", *(f"{label}/1.jpg" for label in labels))
        assert layout.classes(mine) == labels


def test_sides_may_be_in_the_classes(tmp_path: Path) -> None:
    mine = tree(
        tmp_path,
        *(f"{label}/{side}/1.jpg" for label in ("a", "b") for side in ("Train", "val", "test")),
        *BESIDE,
    )
    tree(mine, "b/Thumbs.db")
    assert layout.classes(mine) == ["a", "b"]
    for label in ("a", "b"):
        assert told(mine, label) == {
            f"{label}/Train/1.jpg": "train", f"{label}/test/1.jpg": "test", f"{label}/val/1.jpg": "valid"
        }  # fmt: skip


def test_notes_about_images_are_no_classes(tmp_path: Path) -> None:
    images = [f"images/{label}_{number}.jpg" for label in ("a b", "c") for number in range(2)]
    mine = tree(tmp_path / "pets", *images, "annotations/trimaps/a b_0.png", "annotations/list.txt")
    with pytest.raises(
        SourceError, match=r"4 pictures such as a b_0.jpg and no sub-folder.*\(\?P<label>.\+\)_"
    ):
        layout.classes(mine)
    request = Request("", "", folder=mine, label_pattern=r"(.+)_\d+")
    assert [*registry.find("folder").classes(request)] == ["a b", "c"]  # type: ignore[misc]
    (candidate, _) = layout.of(mine, r"(.+)_\d+").filesets("c")[0].candidates()
    assert candidate.file_url == "images/c_0.jpg"
    dogs = tree(
        tmp_path / "dogs", "x/Images/a/1.jpg", "x/Images/b/1.jpg", "x/Annotation/a/1", "x/Annotation/b/1"
    )
    assert layout.classes(dogs) == ["a", "b"]
    # Those of YOLO tell no class.
    yolo = tree(
        tmp_path / "yolo",
        *(f"{side}/{name}" for side in ("train", "val") for name in ("images/1.jpg", "labels/1.txt")),
    )
    with pytest.raises(SourceError, match="train and val hold no sub-folder, so that no class is told"):
        layout.classes(yolo)


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
        (["color/a/1.jpg", "color/b/1.jpg", "grey/a/1.jpg", "grey/b/1.jpg"],
         "color, grey each hold a, b: which of them are the classes.*--classes a,b,color,grey$"),
        (["a/1.jpg", "b/1.jpg", "x/a/1.jpg"], "x holds a, as there are beside it: .*--classes a,b,x$"),
        (["train.zip", "test1.ZIP", "l.csv"], r"archives in it \(test1.ZIP, train.zip\) and no pictures: unpack"),
        (["x/train.zip", "x/test.zip"], r"archives in it \(x/test.zip, x/train.zip\) and no pictures: unpack"),
        (["train/cat.1.jpg", "test1/1.jpg"], r"train and test1 hold no sub-folder.*label>\\D\+\?\)\[ ._\(-\]\*\\d'$"),
        (["Moss/1.jpg", "moss/1.jpg", "a/1.jpg"], "Moss and moss: one class or two"),
        (["a/1.jpg", "b\nc/1.jpg"], "holds a control character"),
    ],
)  # fmt: skip
def test_doubt_is_an_error_that_names_what_may_be_meant(tmp_path: Path, names: list[str], words: str) -> None:
    mine = tree(tmp_path / "mine", "README.txt", *names)
    with pytest.raises(SettingError, match=f"^--folder {mine}: .*{words}"):
        graph(mine, tmp_path)


def test_what_is_neither_folder_nor_list_is_named(tmp_path: Path) -> None:
    tree(tmp_path, "1.JPG")
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        ("1.JPG", "is a picture: name the folder that it is in"),
        ("pipe", "is neither a folder nor a"),
    ):
        with pytest.raises(SettingError, match=f"^--folder {tmp_path / name} {words}"):
            graph(tmp_path / name, tmp_path)


def test_naming_the_classes_settles_it(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", "1.jpg", "a/1.jpg", "test/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "d/")
    assert layout.of(tree(tmp_path / "kept", "control/1.jpg", "test/1.jpg")).by == "sub-folders"
    for labels in ("a,test", "b,c", "test,train"):
        assert [task.label for task in graph(mine, tmp_path, f"--classes={labels}")[:2]] == labels.split(",")
    assert told(mine, "test") == {"test/1.jpg": None}
    kinds = tree(
        tmp_path / "kinds", *(f"{kind}/{label}/1.jpg" for kind in ("color", "grey") for label in ("x", "y"))
    )
    assert [task.label for task in graph(kinds, tmp_path, "--classes=x,y")[:2]] == ["x", "y"]
    assert told(kinds, "x") == {"color/x/1.jpg": None, "grey/x/1.jpg": None}
    assert [*told(kinds, "grey")] == ["grey/x/1.jpg", "grey/y/1.jpg"]
    assert told(mine, "b") == {"train/b/1.jpg": "train"}
    with pytest.raises(SourceError, match="no sub-folder 'tset': did you mean test"):
        listed(mine, "tset")


def test_all_wrong_names_are_told_together_before_anything_runs(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", "grass/1.jpg", "moss/1.jpg", "lists/")
    for name in ("grass.txt", "moss.TXT"):
        (mine / "lists" / name).write_text("http://127.0.0.1/1.jpg")
    wrong = "--classes=gras,moss,mos,x,y"
    with pytest.raises(SettingError) as told_at_once:
        graph(mine, tmp_path / "data", "--source=folder", wrong)
    assert str(told_at_once.value) == (
        f"--folder {mine} has no sub-folder 'gras': did you mean grass?; 'mos': did you mean moss?; "
        "'x', 'y': expected one of grass, moss"
    )
    with pytest.raises(
        SettingError, match=r"no list for 'gras': did.*'x', 'y': ex.*moss; list addresses in gr"
    ):
        graph(mine / "lists", tmp_path / "data", "--source=urls", wrong)
    many = f"--classes={','.join(f'class{number}' for number in range(100))}"
    with pytest.raises(SettingError, match=r"; and 91 more$"):
        graph(mine, tmp_path / "data", "--source=folder", many)
    # What is not there, or not mounted today, is told by who asks for it.
    assert graph(tmp_path / "gone", tmp_path / "data", "--source=folder", "--classes=a,b")


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
        "__pycache__/a.pyc",
    )
    mine = tree(tmp_path / "mine", *names)
    assert layout.classes(mine) == ["a", "b", "raw", "sha"]
    assert understood(layout.of(mine), ("a", "b", "raw", "sha")) == (
        "4 classes by sub-folders: a 1, b 2, raw 1, sha 1; 3 files passed over"
    )
    # Who names one is told of its files.
    assert [*told(mine, "models")] == ["models/stage-1.pth"]
    with pytest.raises(SourceError, match="one class only, logs"):
        layout.classes(tree(tmp_path / "logs", "logs/1.log"))


def test_a_data_root_beside_the_classes_is_none(tmp_path: Path) -> None:
    tree(tmp_path, "ripe/1.jpg", "unripe/2.jpg", "data/DownloadImages/ripe/1.jpg")
    data_root.mark(tmp_path / "data")
    assert layout.classes(tmp_path) == ["ripe", "unripe"]


def test_outputs_among_the_classes_are_an_error_unless_these_are_named(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", "ripe/1.jpg", "unripe/2.jpg")
    with pytest.raises(
        SettingError, match=f"--root {mine} is the --folder, too, .* such as {mine}/data, or name"
    ):
        graph(mine, mine)
    assert len(graph(mine, mine / "data")) == len(graph(mine, mine, "--classes=ripe,unripe")) > 2


@pytest.mark.parametrize("named", [(), ("--classes=ripe,unripe",)])
def test_a_class_is_no_data_root(tmp_path: Path, named: tuple[str, ...]) -> None:
    """Its pictures were passed over from then on, until the marker was deleted."""
    mine = tree(tmp_path / "mine", "ripe/1.jpg", "unripe/2.jpg")
    with pytest.raises(SettingError, match=f"--root {mine}/ripe lies in the --folder and holds .* 1.jpg"):
        graph(mine, mine / "ripe", *named)
    assert [path.name for path in (mine / "ripe").iterdir()] == ["1.jpg"]


def test_accents_composed_in_two_ways_are_one_class(tmp_path: Path) -> None:
    mine = tree(tmp_path, f"train/{NFD}/1.jpg", "train/a/1.jpg", f"test/{NFC}/1.jpg", "test/a/1.jpg")
    assert layout.classes(mine) == [NFC, "a"]
    assert [*told(mine, NFD).values()] == [*told(mine, NFC).values()] == ["train", "test"]


def test_pictures_may_be_called_as_texts_are(tmp_path: Path) -> None:
    names = ["a/readme.jpg", "a/notice-board.png", "a/license 3", "a/notes.txt", "a/credits.webp", "b/1.jpg"]
    mine = tree(tmp_path, *names, "a/README.dataset.txt", "a/Licence", "a/labels.CSV", "a/READ ME.md")
    assert sorted(told(mine, "a")) == sorted(names[:-1])


def table(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


NUMBERS = [f"{number}.jpg" for number in range(1, 7)]


@pytest.mark.parametrize(
    ("files", "tables"),
    [
        # Hugging Face's imagefolder, as CSV and as JSON lines.
        (NUMBERS, {"metadata.csv": ["file_name,label", *(f"{n}.jpg,{'ab'[n % 2]}" for n in range(1, 7))]}),
        (
            NUMBERS,
            {"metadata.JSONL": [json.dumps({"file_name": f"{n}.jpg", "label": "ab"[n % 2]}) for n in range(1, 7)]},
        ),
        # Kaggle's: ids without a suffix, and what is to be filled in.
        (
            [*(f"train/{name}" for name in NUMBERS), "test/1.jpg", "test/9.jpg"],
            {
                "train.csv": ["id,breed", *(f"{n},{'ab'[n % 2]}" for n in range(1, 7))],
                "test.csv": ["id", "1", "9"],
                "sample_submission.csv": ["id,label", "1,a", "9,a"],
            },
        ),
        # A table beside its images, with masks that are called alike, and names in capitals.
        (
            [*(f"images/{n}.JPG" for n in range(1, 7)), "masks/1.png", "masks/2.png", "notes/1.xml"],
            {"Labels.CSV": ["Image ID;Class", *(f"{n};{'ab'[n % 2]}" for n in range(1, 7))]},
        ),
        (
            [f"x/images/{name}" for name in NUMBERS],
            {"x/annotations/l.tsv": ["path\tcategory", *(f"../images/{n}.jpg\t{'ab'[n % 2]}" for n in range(1, 7))]},
        ),
        # Columns that are called otherwise, of which there is but one way to take them; none; one for each label.
        (
            [*(f"train_images/{name}" for name in NUMBERS), *(f"test_images/{n}9.jpg" for n in range(3))],
            {"train.csv": ["id_code,severity", *(f"{n},{'ab'[n % 2]}" for n in range(1, 7))]},
        ),
        (NUMBERS, {"l.csv": ["ImageID,Id", *(f"{n},{'ab'[n % 2]}" for n in range(1, 7))]}),
        (NUMBERS, {"l.csv": [f"{n}.jpg;{'ab'[n % 2]}" for n in range(1, 7)]}),
        (
            [f"images/{name}" for name in NUMBERS],
            {"l.csv": ["image,age,a,b", *(f"{n},{n}0,{(n + 1) % 2}.0,{n % 2}.0" for n in range(1, 7))]},
        ),
        (NUMBERS, {"l.csv": ["Datei;Klasse", *(f"{n}.jpg;{'ab'[n % 2]}" for n in range(1, 7))]}),
        (NUMBERS, {"l.jsonl": [json.dumps({"pic": f"{n}.jpg", "label": "ab"[n % 2], "x": n}) for n in range(1, 7)]}),
        # In a folder beside the images.
        (
            [f"images/{name}" for name in NUMBERS],
            {"meta/l.csv": ["image,label", *(f"{n},{'ab'[n % 2]}" for n in range(1, 7))]},
        ),
        # Kaggle's other way to call it, with ids that stand on two sides.
        (
            [f"{side}/{name}" for name in NUMBERS for side in ("train", "test")],
            {"trainLabels.csv": ["id,label", *(f"{n},{'ab'[n % 2]}" for n in range(1, 7))]},
        ),
        # From another machine, with quotes, comments and empty lines.
        (
            [f"images/{name}" for name in NUMBERS],
            {"t.csv": ["# x", "", "no,label,file", *(f'0,"{"ab"[n % 2]}",C:\\images\\{n}.jpg' for n in range(1, 7))]},
        ),
    ],
)  # fmt: skip
def test_a_table_tells_the_labels(tmp_path: Path, files: list[str], tables: dict[str, list[str]]) -> None:
    mine = tree(tmp_path / "mine", *files, *BESIDE)
    for name, lines in tables.items():
        table(mine / name, *lines)
    assert layout.classes(mine) == ["a", "b"]
    for label, numbers in (("a", "246"), ("b", "135")):
        names = {name.split("/")[-1][0] for name in told(mine, label)}
        assert names == {*numbers} and all("mask" not in name for name in told(mine, label))
        assert {*told(mine, label)} <= {*files}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_accents_in_a_table_match_however_they_are_composed(tmp_path: Path, encoding: str) -> None:
    mine = tree(tmp_path, f"images/{NFD}.jpg", "images/2.jpg")
    table(mine / "labels.csv", "file,label", f"{NFC}.jpg,{NFD}", "2.jpg,grün", encoding=encoding)
    assert layout.classes(mine) == [NFC, "grün"]
    assert [*told(mine, NFD)] == [*told(mine, NFC)] == [f"images/{NFD}.jpg"]


def test_a_table_of_another_encoding_is_refused_by_its_line(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", "images/1.jpg", "images/2.jpg")
    table(mine / "my labels.csv", "file,label", "1.jpg,grün", "2.jpg,x", encoding="latin-1")
    with pytest.raises(
        SettingError, match=r"labels.csv: line 2 is not in UTF-8 .*iconv .* 'my labels.csv' > 'new-my "
    ):
        graph(mine, tmp_path)


@pytest.mark.parametrize(
    ("column", "values"),
    [("split", ["train", "Validation", "TEST", "", "x"]), ("is_valid", ["False", "True", "0", "", "x"])],
)
def test_a_table_tells_sides_and_groups(tmp_path: Path, column: str, values: list[str]) -> None:
    mine = tree(tmp_path / "mine", *(f"images/{n}.jpg" for n in range(6)))
    lines = [f"{n}.jpg,{'ab'[n % 2]},{value},g{n // 2}" for n, value in enumerate([*values, "train"])]
    table(mine / "metadata.csv", f"file_name,label,{column},group", *lines)
    found = {c.file_url[7]: (c.side, c.group) for label in "ab" for c in listed(mine, label)}
    sides = ["train", "valid", "test" if column == "split" else "train", None, None]
    assert [found[str(n)] for n in range(5)] == [(side, f"g{n // 2}") for n, side in enumerate(sides)]


@pytest.mark.parametrize("place", ["{side}/metadata.csv", "{side}.csv", "{side}_labels.csv"])
def test_tables_of_given_sides(tmp_path: Path, place: str) -> None:
    mine = tree(tmp_path / "mine", *(f"{side}/{n}.jpg" for side in ("train", "test") for n in range(4)))
    for side in ("train", "test"):
        table(
            mine / place.format(side=side), "file_name,label", *(f"{n}.jpg,{'ab'[n % 2]}" for n in range(4))
        )
    assert layout.classes(mine) == ["a", "b"]
    assert told(mine, "a") == {f"{side}/{n}.jpg": side for side in ("train", "test") for n in (0, 2)}


def test_what_a_table_names_and_is_not_there_is_refused_by_its_line(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", *(f"images/{n}.jpg" for n in range(4)), "x/3.jpg", "../secret.jpg")
    table(
        mine / "labels.csv", "file,label", "0.jpg,a", "1.jpg,b", "gone.jpg,a", "../secret.jpg,a", "/etc/passwd,a",
        "3.jpg,a", "2.jpg,", ",a", ".,a", "images,a",
    )  # fmt: skip
    candidates = listed(mine, "a")
    assert [candidate.file_url for candidate in candidates if candidate.load is not None][:1] == [
        "images/0.jpg"
    ]
    for candidate in candidates[1:]:
        if candidate.file_url == "images/3.jpg":
            continue
        with pytest.raises(Unavailable, match="there is no file"):
            candidate.load()
        assert candidate.place.startswith("labels.csv, line ")
    words = "2 classes by the column label of labels.csv: a 2, b 1; 3 files passed over"
    assert understood(layout.of(mine), ("a", "b")) == words


@pytest.mark.parametrize(
    ("files", "tables", "words"),
    [
        (NUMBERS, {"a.csv": ["file,label", "1.jpg,a", "2.jpg,b"], "b.csv": ["file,label", "1.jpg,b", "2.jpg,b"]},
         "a.csv, b.csv each tell the classes: move the others away"),
        (NUMBERS, {"a.csv": ["file,label", "9.jpg,a", "8.jpg,b"]}, "a.csv names files that are not there, such as 9.j"),
        (["train/a/1.jpg", "test/a/1.jpg", "a/1.jpg"], {"a.csv": ["file,label", "1.jpg,c"]},
         "train, test beside a: the sides of a split, or classes"),
        (NUMBERS, {"a.csv": ["file,label", "1.jpg,a", "2.jpg,a"]}, "one class only, a"),
        (NUMBERS, {"a.csv": ["picture,cultivar,by", "1.jpg,a,x"]}, "a.csv has the columns picture, cultivar, b"),
        ([f"images/{name}" for name in NUMBERS], {"a.csv": ["Datei;Klasse;x", "1.jpg;a;x"]},
         "6 pictures such as 1.jpg .*a.csv has the columns Datei, Klasse, x"),
        (NUMBERS, {"a.csv": ["picture,x,y", "1.jpg,1,0", "2.jpg,1,1"]}, "a.csv has the columns picture, x, y"),
        (["a/1.jpg", "b/1.jpg"], {"t.csv": ["file,label", "a/1.jpg,a", "b/1.jpg,c"]}, "a is told by t.csv and by a su"),
        ([f"{n}.jpg" for n in range(30)], {"m.csv": ["file_name,label", *(f"{n}.jpg,a{n}" for n in range(30))]},
         "30 labels for 30 files by the column label of m.csv"),
        (NUMBERS, {"m.jsonl": ['{"file_name": "1.jpg", "label": "a"}', "{"]}, "m.jsonl: line 2 is no JSON object"),
        (NUMBERS, {"m.csv": ["file,label", '1.jpg,"a']}, "m.csv: line 2 cannot be read .*: close its quotes"),
    ],
)  # fmt: skip
def test_doubt_about_tables(
    tmp_path: Path, files: list[str], tables: dict[str, list[str]], words: str
) -> None:
    mine = tree(tmp_path / "mine", *files)
    for name, lines in tables.items():
        table(mine / name, *lines)
    with pytest.raises(SettingError, match=words):
        graph(mine, tmp_path)


def test_a_table_that_says_what_the_folders_say_is_passed_over(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", *(f"{side}/{label}/1.jpg" for side in ("train", "test") for label in "ab"))
    table(
        mine / "birds.csv",
        "class id,filepaths,labels,data set",
        "0,train/a/1.jpg,a,train",
        "1,test/b/1.jpg,b,test",
    )
    assert layout.of(mine).by == "sub-folders of train, test"
    assert told(mine, "a") == {"train/a/1.jpg": "train", "test/a/1.jpg": "test"}


@pytest.mark.parametrize("lines", [["picture,who", "1.jpg,me"], ["picture,who", '1.jpg,"'], ["a/1.jpg,me"]])
def test_a_table_of_other_things_takes_no_class_from_folders(tmp_path: Path, lines: list[str]) -> None:
    mine = tree(tmp_path, "a/1.jpg", "b/2.jpg")
    table(mine / "who.csv", *lines)
    assert layout.classes(mine) == ["a", "b"]


def test_folders_that_are_named_go_before_a_table(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", *(f"{camera}/{n}.jpg" for camera in ("north", "south") for n in range(2)))
    table(mine / "t.csv", "file,label", "north/0.jpg,moss", "south/0.jpg,fern")
    assert layout.classes(mine) == ["fern", "moss"]
    assert [*told(mine, "moss")] == ["north/0.jpg"] and len(told(mine, "north")) == 2


def test_a_line_of_a_table_concerns_its_class_alone(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", *(f"images/{n}.jpg" for n in range(8)))
    lines = [f"{n}.jpg,{'ab'[n % 2]},train" for n in range(6)]
    table(mine / "t.csv", "file,label,split", *lines)
    downloads = graph(mine, tmp_path)[:2]
    before = {
        task: {name: traces.snapshot(read) for name, read in task.all_reads().items()} for task in downloads
    }

    def stale() -> list[str]:
        return [
            task.label
            for task in downloads
            if any(
                traces.files_changed(name, before[task].get(name), read)
                for name, read in task.all_reads().items()
            )
        ]

    assert stale() == []
    for more, whose in (
        ([*lines, "6.jpg,a,train"], ["a"]),
        ([*lines, "gone.jpg,b,train"], ["b"]),
        ([*lines[:-1], "5.jpg,b,test"], ["b"]),
        ([*lines[:-1], "5.jpg,a,train"], ["a", "b"]),
        ([*lines[::-1], "7.jpg,,", "# more"], []),
    ):
        table(mine / "t.csv", "file,label,split", *more)
        assert stale() == whose
    tree(mine, "images/9.jpg")
    assert stale() == []
    (mine / "images/1.jpg").write_text("another")
    assert stale() == ["b"]


PETS = [
    "great_pyrenees_12.jpg",
    "Bengal_7.JPG",
    "great_pyrenees_2.jpg",
    "x/Bengal_1.png",
    "odd.jpg",
    "Bengal_3.mat",
]


@pytest.mark.parametrize("pattern", [r"(?P<label>.+)_\d+", r"^(.*)_\d+\.[a-zA-Z]+$"])
def test_names_tell_the_label_by_a_pattern(tmp_path: Path, pattern: str) -> None:
    mine = tree(tmp_path / "mine", *PETS, *BESIDE)
    downloads = graph(mine, tmp_path, f"--label-pattern={pattern}")[:2]
    assert [task.label for task in downloads] == ["Bengal", "great_pyrenees"]
    (read,) = downloads[0].all_reads().values()
    assert sorted(traces.snapshot(read)) == ["Bengal_7.JPG", "x/Bengal_1.png"]
    assert understood(layout.of(mine, pattern), ("Bengal",)).endswith(
        f"; {2 + len(BESIDE)} files passed over"
    )


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "--label-pattern (: missing ), unterminated subpattern at position 0: expected a regular"),
        ("a_1", "--label-pattern a_1: expected a regular expression"),
        ("(z+)", "--label-pattern (z+) finds nothing in the names of its pictures"),
        ("(g)", "--label-pattern (g) finds g in the names"),
    ],
)
def test_a_pattern_that_tells_no_classes(tmp_path: Path, pattern: str, words: str) -> None:
    with pytest.raises(SettingError, match=re.escape(words)):
        graph(tree(tmp_path / "mine", *PETS), tmp_path, f"--label-pattern={pattern}")


def test_without_a_pattern_all_outputs_are_where_they_were(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", "a/1.jpg", "b/1.jpg")
    for stage in graph(mine, tmp_path):
        assert "label_pattern" not in stage.parameters


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
    words = "2 classes by sub-folders of train, val, test in flowers: grass 12, moss 12; "
    note = read_note(task.output_folder)
    assert (
        note
        and task.stamp().summary["folder"] == note.folder == f"{words}{len(BESIDE) + 1} files passed over"
    )
