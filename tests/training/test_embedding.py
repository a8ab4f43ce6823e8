"""No picture passes the same body twice, whoever asks, and what is kept is what would be computed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from greenr_luigi.dataset import pixels
from greenr_luigi.pictures import door
from greenr_luigi.training import embedding
from tests import tiny_body
from tests.noted import noted
from tests.progress import quiet
from tests.sources.conftest import picture


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The pictures that were opened since it was cleared."""
    return noted(monkeypatch, pixels, "read_pixels")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """As in a data set, each named by its content."""
    return sorted(named(tmp_path, number) for number in range(20))


def named(folder: Path, number: int) -> Path:
    """A picture of that number, in a file."""
    data = picture(number)
    path = folder / f"{door.sha256(data)[:16]}.png"
    path.write_bytes(data)
    return path


def embedded(paths: list[Path], root: Path | None, **how: object) -> embedding.Features:
    embedder = embedding.of_network(tiny_body.body(), tiny_body.SIZE, **how)  # type: ignore[arg-type]
    return embedding.embedded(embedder, paths, root, quiet)


def test_what_is_kept_is_what_would_be_computed(tmp_path, files, opened):
    root = tmp_path / "root"
    first = embedded(files[::3], root)
    assert sorted(opened) == files[::3]
    opened.clear()
    mixed = embedded(files, root)
    assert sorted(opened) == [file for file in files if file not in files[::3]]
    opened.clear()
    kept = embedded(files[::-1], root)
    assert opened == []
    alone = embedded(files, None)
    assert np.array_equal(first, alone[::3]) and np.array_equal(mixed, alone)
    assert np.array_equal(kept[::-1], alone) and alone.shape == (20, tiny_body.FEATURES)


def test_whatever_shapes_features_gives_them_a_file_of_their_own(tmp_path, files, opened, monkeypatch):
    root = tmp_path / "root"
    ways = [{}, {"view": 1}, {"version": 1}, {"outputs": ("pooled", "features")}]
    for how in ways:
        for expected in (files, []):
            opened.clear()
            embedded(files, root, **how)
            assert sorted(opened) == expected
    for name in ("versions", "_instructions"):
        monkeypatch.setattr(embedding, name, lambda *_: "others")
        opened.clear()
        embedded(files, root)
        assert sorted(opened) == files
    digests = {
        embedding.of_network(tiny_body.body(factor), size).digest for factor in (1, 2) for size in (4, 8)
    }
    assert len(digests) == 4 and len([*root.glob("features/*.sqlite")]) == len(ways) + 2


def test_several_outputs_stand_one_behind_the_other(files):
    both = embedded(files, None, outputs=("pooled", "features", "what it lacks"))
    assert both.shape == (20, 3 + 3 * 16) and np.array_equal(both[:, :3], embedded(files, None))


def test_nothing_is_kept_of_files_that_are_not_named_by_their_content(tmp_path, files, opened):
    strange = tmp_path / "a.png"
    strange.write_bytes(picture(1))
    for _ in range(2):
        opened.clear()
        embedded([strange], tmp_path / "root")
        assert opened == [strange]


def test_nothing_is_kept_of_a_picture_that_lies_under_the_name_of_another(tmp_path, files):
    """As where a disk has lost a bit: once the file is mended, its features are those of what it was."""
    root, good = tmp_path / "root", files[0].read_bytes()
    files[0].write_bytes(picture(99))
    other = embedded(files, root)
    files[0].write_bytes(good)
    found = embedded(files, root)
    assert np.array_equal(found, embedded(files, None)) and not np.array_equal(found[0], other[0])


def test_the_array_lies_on_the_disk_and_leaves_no_file(tmp_path, files):
    root = tmp_path / "root"
    found = embedded(files, root)
    assert isinstance(found, np.memmap)
    assert [path.suffix for path in (root / "features").iterdir()] == [".sqlite"]


def test_where_there_is_no_room_it_is_in_memory(small_disk):
    """To write where a disk has no block left would end the process."""
    (small_disk / "features").mkdir()
    room = os.statvfs(small_disk)
    fits = room.f_bavail * room.f_frsize // 8
    assert isinstance(embedding.empty(small_disk, fits // 8, 1), np.memmap)
    assert not isinstance(embedding.empty(small_disk, 8 * fits, 1), np.memmap)


def test_no_picture_gives_no_row(tmp_path):
    assert embedded([], tmp_path).shape == embedded([], None).shape == (0, tiny_body.FEATURES)


def test_neither_torch_nor_fastai_is_imported():
    """Nor by what compares models."""
    code = "import sys, greenr_luigi.deployment.gate, greenr_luigi.export.answers; print(sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "embedding" in told and not {"'torch'", "'fastai'"} & {*told.strip("[]\n").split(", ")}
