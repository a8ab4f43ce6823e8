"""Folders and files as people have them go through the real graph, and docs/pictures.md says for each what happens."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import luigi
import numpy as np
import pytest
from PIL import Image

from greenr_luigi.about import PACKAGE
from greenr_luigi.dataset.rows import Excluded, SplitRow
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.status import build
from greenr_luigi.pictures.manifest import MANIFEST, REJECTED, PictureRow, Refusal, read_csv, read_jsonl
from greenr_luigi.staleness.requirements import run_order
from greenr_luigi.staleness.shown import printable
from tests.sources.conftest import picture

PAGE = (PACKAGE.parent / "docs" / "pictures.md").read_text()
NFD = unicodedata.normalize("NFD", "Löwenzahn")
TAKEN = "taken"
HEIC = importlib.util.find_spec("pillow_heif") is not None

Made = bytes | Callable[[Path], None]


def image(number: int, mode: str = "RGB", side: int = 64) -> Image.Image:
    return Image.open(io.BytesIO(picture(number, side))).convert(mode)


def saved(number: int, kind: str, mode: str = "RGB", **how: object) -> bytes:
    buffer = io.BytesIO()
    image(number, mode).save(buffer, kind, **how)
    return buffer.getvalue()


def frames(number: int, kind: str, **how: object) -> bytes:
    return saved(number, kind, save_all=True, append_images=[image(number + 500)], **how)


def turned(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(number, "JPEG", exif=exif)


def deep(number: int) -> bytes:
    grey = np.asarray(image(number, "L")).astype(np.uint16) * 257
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return buffer.getvalue()


def huge() -> bytes:
    """A PNG that says of itself that it has 400 megapixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + bytes(64)
    )


def damaged_sum(number: int) -> bytes:
    data = saved(number, "PNG")
    at = data.index(b"IEND") - 8
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def floating(number: int) -> bytes:
    return saved(number, "TIFF", "F")


def heic(number: int) -> bytes:
    """As a phone writes it, where the extra is installed; else as it begins."""
    if not HEIC:
        return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400)
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image(number)).save(buffer)
    return buffer.getvalue()


def sized(number: int, width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    image(number).resize((width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def unreadable(path: Path) -> None:
    path.write_bytes(picture(90))
    path.chmod(0)


#: What a file is, its name, what it holds, and what becomes of it: taken, passed over, or the reason of its refusal.
#: Numbers from 100 on, so that none looks like another.
FILES: list[tuple[str, str, Made, str]] = [
    ("JPEG in inks (CMYK)", "cmyk.jpg", saved(100, "JPEG", "CMYK"), TAKEN),
    ("grey JPEG", "grey.jpg", saved(101, "JPEG", "L"), TAKEN),
    ("progressive JPEG", "progressive.jpg", saved(102, "JPEG", progressive=True), TAKEN),
    ("JPEG laid on its side by EXIF", "turned.jpg", turned(103), TAKEN),
    ("JPEG without its end mark, with all rows", "end.jpg", picture(104)[:-2], TAKEN),
    ("JPEG with another file behind it", "behind.jpg", picture(105) + b"PK\3\4 and more", TAKEN),
    ("several pictures in a JPEG (MPO)", "several.jpg", frames(106, "MPO"), TAKEN),
    ("JPEG cut short", "cut.jpg", picture(107)[:900], "broken"),
    ("PNG of 16 bits", "deep.png", deep(108), TAKEN),
    ("PNG with a palette", "palette.png", saved(109, "PNG", "P"), TAKEN),
    ("transparent PNG", "clear.png", saved(110, "PNG", "RGBA"), TAKEN),
    ("PNG with a wrong checksum", "sum.png", damaged_sum(111), TAKEN),
    ("animated PNG", "moves.png", frames(112, "PNG"), TAKEN),
    ("PNG cut short", "cut.png", saved(113, "PNG")[:2000], "broken"),
    ("animated GIF", "moves.gif", frames(114, "GIF"), TAKEN),
    ("animated WebP", "moves.webp", frames(115, "WEBP"), TAKEN),
    ("lossless WebP", "whole.webp", saved(116, "WEBP", lossless=True), TAKEN),
    ("BMP", "plain.bmp", saved(117, "BMP"), TAKEN),
    ("AVIF", "new.avif", saved(118, "AVIF"), TAKEN),
    ("HEIC", "phone.heic", heic(129), TAKEN),
    ("TIFF of several pages", "pages.tif", frames(119, "TIFF"), TAKEN),
    ("TIFF of floating-point numbers", "float.tif", floating(120), "format"),
    ("PNG called .jpg", "png.jpg", saved(121, "PNG"), TAKEN),
    ("a picture without an ending", "0a1b2c", picture(122), TAKEN),
    ("a camera's raw file", "raw.cr2", b"II*\0\x10\0\0\0CR\x02\0" + bytes(400), "format"),
    ("SVG", "drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "format"),
    ("icon", "icon.ico", saved(123, "ICO"), "format"),
    ("Photoshop document", "layers.psd", b"8BPS\0\x01" + bytes(400), "format"),
    ("PDF", "paper.pdf", saved(124, "PDF"), "format"),
    ("JPEG 2000", "two.jp2", saved(125, "JPEG2000"), "format"),
    ("JPEG XL", "xl.jxl", b"\xff\x0a" + bytes(400), "format"),
    ("movie", "clip.jpg", b"\0\0\0\x18ftypisom\0\0\0\0isommp41" + bytes(400), "format"),
    ("archive", "more.zip.jpg", b"PK\3\4" + bytes(400), "format"),
    ("web page called .jpg", "page.jpg", b"<!doctype html><title>Log in</title>", "format"),
    ("text called .jpg", "text.jpg", b"404: Not Found", "format"),
    ("pointer of Git LFS", "pointer.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "format"),
    ("empty file", "empty.jpg", b"", "format"),
    ("file of zeros", "zeros.jpg", bytes(5000), "format"),
    ("one pixel", "pixel.png", sized(126, 1, 1), "too-small"),
    ("31 pixels high", "low.png", sized(128, 64, 31), "too-small"),
    ("400 megapixels", "huge.png", huge(), "too-large"),
    ("21 MB", "heavy.jpg", picture(127) + bytes(21 * 2**20), "too-large"),
    ("the same file again", "twice.jpg", saved(100, "JPEG", "CMYK"), "duplicate"),
    ("name with a blank", "a b.jpg", picture(130), TAKEN),
    ("name with #, ?, % and &", "#1?x=50%&y.jpg", picture(131), TAKEN),
    ("name with a line's end", "two\nlines.jpg", picture(132), TAKEN),
    ("name with quotes and a backslash", "\"'\\.jpg", picture(133), TAKEN),
    ("name like an option", "-rf.jpg", picture(134), TAKEN),
    ("name like a formula", "=1+1.jpg", picture(135), TAKEN),
    ("name in other letters, accents composed or not", f"写真 {NFD}.jpg", picture(136), TAKEN),
    ("name that is no UTF-8", os.fsdecode(b"\xff\xfe.jpg"), picture(137), TAKEN),
    ("name of 255 bytes", "n" * 251 + ".jpg", picture(138), TAKEN),
    ("name that is hidden", ".1.jpg", picture(139), "passed over"),
    ("what macOS keeps beside a file", "._cmyk.jpg", b"\0\x05\x16\x07" + bytes(400), "passed over"),
    ("link to a picture", "link.jpg", link_to("../../elsewhere.jpg"), TAKEN),
    ("link to nothing", "dead.jpg", link_to("nowhere.jpg"), "passed over"),
    ("link to itself", "loop.jpg", link_to("loop.jpg"), "passed over"),
    ("pipe", "pipe.jpg", os.mkfifo, "passed over"),
    ("file that may not be read", "locked.jpg", unreadable, "unreadable"),
]  # fmt: skip


def pictures(folder: Path, first: int, count: int = 12) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (folder / f"{number}.jpg").write_bytes(picture(number))


def two(folder: Path, *names: str) -> None:
    """Two classes of twelve."""
    for number, name in enumerate(names or ("moss", "grass")):
        pictures(folder / name, 1000 + 100 * number)


def sides(folder: Path) -> None:
    for number, side in enumerate(("train", "valid", "test")):
        two_of(folder / side, 1000 + 10 * number)


def two_of(folder: Path, first: int, count: int = 6) -> None:
    pictures(folder / "moss", first, count)
    pictures(folder / "grass", first + 100, count)


def leaks(folder: Path) -> None:
    sides(folder)
    pictures(folder / "train/moss", 1020, 2)


def films(folder: Path) -> None:
    """Six of three frames in each class."""
    for number, label in enumerate(("moss", "grass")):
        for frame in range(18):
            path = folder / label / f"film{10 * number + frame // 3}-{frame}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(1000 + 100 * number + frame))


def accents(folder: Path) -> None:
    pictures(folder / "train" / NFD, 1000)
    pictures(folder / "test" / unicodedata.normalize("NFC", NFD), 1020)
    pictures(folder / "train/moss", 1100)
    pictures(folder / "test/moss", 1120)


def junk(folder: Path) -> None:
    two(folder)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "__MACOSX/moss/._1.jpg", "moss/Thumbs.db", "moss/.DS_Store",
                 "README.md", "moss/LICENSE", "grass/labels.csv", "models/stage-1.pth"):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"\0\x05\x16\x07")


def nested(folder: Path) -> None:
    two(folder)
    pictures(folder / "moss/2024/01/a", 1300, 3)


def links(folder: Path) -> None:
    """A class that is a link, and in one a link to a folder, which may lead in a circle."""
    pictures(folder.parent / "elsewhere", 1000)
    folder.mkdir()
    (folder / "moss").symlink_to("../elsewhere")
    pictures(folder / "grass", 1100)
    (folder / "grass/all").symlink_to("..")
    (folder / "grass/more").symlink_to("../../elsewhere")


def flat(folder: Path) -> None:
    """Names carry the label, which may have such signs in it."""
    folder.mkdir()
    for number in range(24):
        label = ("red moss", "tall_grass")[number % 2]
        (folder / f"{label}_{number}.jpg").write_bytes(picture(1000 + number))
    (folder / "notes.txt").write_text("mine")


def table(folder: Path) -> None:
    """As Kaggle has it: ids without a suffix, and one that is not there."""
    pictures(folder / "images", 1000, 24)
    rows = [f"{number},{('moss', 'grass')[number % 2]}" for number in range(1000, 1024)]
    (folder / "train.csv").write_text("\n".join(["id,label", *rows, "9999,moss"]))


def metadata(folder: Path) -> None:
    """As Hugging Face has it, in JSON lines, with sides."""
    for number, side in enumerate(("train", "validation", "test")):
        pictures(folder / side, 1000 + 30 * number, 12)
        lines = [
            json.dumps({"file_name": path.name, "label": ("moss", "grass")[int(path.stem) % 2]})
            for path in sorted((folder / side).glob("*.jpg"))
        ]
        (folder / side / "metadata.jsonl").write_text("\n".join(lines))


def mixed(folder: Path) -> None:
    two(folder)
    pictures(folder, 1300, 2)


def two_labels(folder: Path) -> None:
    two(folder)
    (folder / "grass/also.jpg").write_bytes(picture(1000))


def zipped(folder: Path) -> None:
    two(folder.parent / "inside")
    shutil.make_archive(f"{folder}", "zip", folder.parent / "inside")
    folder.with_suffix(".zip").rename(folder)


def emptied(folder: Path) -> None:
    two(folder)
    (folder / "fern").mkdir()


def locked(folder: Path) -> None:
    two(folder)
    unreadable(folder / "moss/locked.jpg")


BOTH = {"moss": 12, "grass": 12}
#: What a folder is, how it is made, with which options it is given, and how many pictures of each class are collected,
#: or the error.
FOLDERS: list[tuple[str, Callable[[Path], None], list[str], dict[str, int] | str]] = [
    ("`train/`, `valid/` and `test/` with the same pictures on two sides", leaks, [], {"moss": 18, "grass": 18}),
    ("frames of films on both sides", films, ["--group=(film\\d+)"], {"moss": 18, "grass": 18}),
    ("one folder around all", lambda folder: two(folder / "flowers-main/flowers"), [], BOTH),
    ("classes whose accents are composed, and not", accents, [], {"Löwenzahn": 24, "moss": 24}),
    ("what systems and programs leave beside pictures", junk, [], BOTH),
    ("pictures of a class in folders within it", nested, [], {"moss": 15, "grass": 12}),
    ("one folder, names of files carry the label", flat, [r"--label-pattern=(?P<label>.+)_\d+"],
     {"red moss": 12, "tall_grass": 12}),
    ("one folder, without a word about it", flat, [], "24 pictures such as red moss_0.jpg and no sub-folder"),
    ("`images/` with a table of ids and labels", table, [], BOTH),
    ("`train/`, `validation/`, `test/`, each with `metadata.jsonl`", metadata, [], {"moss": 18, "grass": 18}),
    ("links to folders", links, [], BOTH),
    ("pictures beside the classes", mixed, [], r"pictures \(1300.jpg, 1301.jpg\) beside the sub-folders grass, moss"),
    ("pictures beside the classes, which are named", mixed, ["--classes=moss,grass"], BOTH),
    ("a picture in two classes", two_labels, [], {"moss": 12, "grass": 13}),
    ("an archive in place of a folder", zipped, [], BOTH),
    ("an empty class", emptied, [], "fern holds no file.*--classes fern,grass,moss"),
    ("a file that may not be read", locked, [], BOTH),
]  # fmt: skip


def made(folder: Path, root: Path, *options: str) -> tuple[dict[str, list[PictureRow]], list[Refusal], Path]:
    """What the graph makes of a folder: rows by label, refusals, and the data set."""
    (*_, task) = run_order(build("SplitDataset", ["--folder", f"{folder}", *options], root))
    assert luigi.build([task], local_scheduler=True, log_level="WARNING")
    rows, refusals = {}, []
    for download in task.requires():
        rows[download.label] = read_jsonl(download.output_folder / MANIFEST, PictureRow)
        refusals += read_jsonl(download.output_folder / REJECTED, Refusal)
    return rows, refusals, task.output_folder


def told(heading: str) -> dict[str, str]:
    """The rows of a table of the page: what it is, and what happens."""
    table = PAGE.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {what.strip(): happens.strip() for what, happens in rows[1:]}


def test_the_page_says_of_each_file_what_happens() -> None:
    said = told("Odd files")
    assert [*said] == [what for what, *_ in FILES]
    for what, _, _, expected in FILES:
        word = expected if expected in (TAKEN, "passed over") else f"`{expected}`"
        assert said[what].startswith(word), f"{what}: {said[what]}"


def test_the_page_says_of_each_folder_what_happens() -> None:
    said = told("Odd folders")
    assert [*said] == [what for what, *_ in FOLDERS]
    for what, _, _, expected in FOLDERS:
        assert said[what].startswith("an error") == isinstance(expected, str), what


@pytest.mark.slow
def test_odd_files_go_through_the_graph(tmp_path: Path) -> None:
    odd = tmp_path / "mine/odd"
    pictures(tmp_path / "mine/plain", 1000)
    odd.mkdir()
    (tmp_path / "elsewhere.jpg").write_bytes(picture(140))
    for _, name, content, _ in FILES:
        if callable(content):
            content(odd / name)
        else:
            (odd / name).write_bytes(content)
    rows, refusals, data_set = made(tmp_path / "mine", tmp_path / "data")
    refused = {refusal.file_url: refusal.reason for refusal in refusals}
    came = {row.file_url for row in rows["odd"]}
    for what, name, _, expected in FILES:
        if os.geteuid() == 0 and expected == "unreadable":
            expected = TAKEN
        if what == "HEIC" and not HEIC:
            expected = "format"
        url = printable(f"odd/{name}")
        found = TAKEN if url in came else refused.get(url, "passed over")
        assert found == expected, what
    # Each that was taken is in the data set, or there is told why not.
    known = {row.sha256 for row in read_csv(data_set / "manifest.csv", SplitRow)}
    known |= {row.sha256 for row in read_csv(data_set / "excluded.csv", Excluded)}
    assert {row.sha256 for row in rows["odd"]} <= known and len(rows["plain"]) == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "options", "expected"), [row[1:] for row in FOLDERS], ids=[row[0] for row in FOLDERS]
)
def test_odd_folders_go_through_the_graph(
    tmp_path: Path, make: Callable[[Path], None], options: list[str], expected: dict[str, int] | str
) -> None:
    mine = tmp_path / "mine"
    make(mine)
    before = {path: path.lstat().st_mtime_ns for path in [mine, *mine.rglob("*")]}
    if isinstance(expected, str):
        with pytest.raises(GreenrError, match=expected):
            made(mine, tmp_path / "data", *options)
    else:
        rows, _, data_set = made(mine, tmp_path / "data", *options)
        more = {"moss": 1, "grass": 0} if make is locked and os.geteuid() == 0 else {}
        assert {label: len(each) for label, each in rows.items()} == {
            label: count + more.get(label, 0) for label, count in expected.items()
        }
        used = read_csv(data_set / "manifest.csv", SplitRow)
        held_out = {row.sha256 for each in rows.values() for row in each if row.given_side == "test"}
        assert {row.side for row in used if row.sha256 in held_out} <= {"test"}
        if make is films:
            where = {}
            for row in used:
                film = (row.file_url or "").rpartition("-")[0]
                assert where.setdefault(film, row.side) == row.side
            assert len(where) == 12
        assert len({row.sha256 for row in used}) == len(used) and {row.side for row in used} == {
            "train",
            "valid",
            "test",
        }
    assert {path: path.lstat().st_mtime_ns for path in [mine, *mine.rglob("*")]} == before
