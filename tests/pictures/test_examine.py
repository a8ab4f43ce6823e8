"""A picture that was taken is decoded once, ever, and is found to be the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from greenr_luigi.dataset import cleaning, curation
from greenr_luigi.kept import CHECKS
from greenr_luigi.pictures import door, examine
from greenr_luigi.pictures.terms import STRANGERS, Terms
from tests.noted import noted
from tests.sources.collecting import collect_from
from tests.sources.conftest import picture


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was decoded since it was cleared."""
    return noted(monkeypatch, door, "read")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def collected(folder: Path, out: Path) -> dict[str, bytes]:
    collect_from("folder", "grass", out, folder=folder, root=folder.parent / "data")
    return files(out)


def test_a_file_that_comes_has_no_other_of_its_class_decoded(tmp_path, decoded):
    mine = tmp_path / "mine" / "grass"
    mine.mkdir(parents=True)
    for number in range(12):
        (mine / f"{number}.png").write_bytes(picture(number))
    collected(mine.parent, tmp_path / "first")
    assert len(decoded) == 12
    decoded.clear()
    (mine / "renamed.png").write_bytes((mine / "1.png").read_bytes())
    (mine / "1.png").unlink()
    (mine / "new.png").write_bytes(picture(20))
    again = collected(mine.parent, tmp_path / "second")
    assert decoded == [picture(20)]
    shutil.rmtree(tmp_path / "data")
    assert again == collected(mine.parent, tmp_path / "cold") and len(decoded) == 14


def test_what_is_damaged_in_the_root_is_found_out_again(tmp_path, decoded):
    for damage in (None, b"words, and no table" * 100, bytes(4096)):
        with examine.once(tmp_path, pytest.fail) as look:
            assert look(picture(1), "a", "b", STRANGERS) == examine.examine(picture(1), "a", "b")
        for path in (tmp_path / CHECKS).iterdir():
            path.write_bytes(damage or path.read_bytes())
    assert len(decoded) == 3 + 2


def test_other_terms_and_refusals_are_looked_at_again(tmp_path, decoded):
    with examine.once(tmp_path, pytest.fail) as look:
        look(picture(1), "a", "b", Terms(32))
        for _ in range(2):
            with pytest.raises(door.UnusablePicture):
                look(picture(1), "a", "b", Terms(4000))
    assert len(decoded) == 3


def test_what_a_person_added_is_decoded_once(tmp_path, decoded):
    original = tmp_path / "mine.png"
    original.write_bytes(picture(1))
    (tmp_path / "data").mkdir()
    added = curation.add(tmp_path / "data", "grass", original).copy
    downloads = {"grass": tmp_path / "none"}
    first, second = (cleaning.added_pictures(tmp_path / "data", downloads) for _ in range(2))
    assert first == second and first[0].path == added
    curation.reject(tmp_path / "data", [added.stem])
    assert len(decoded) == 2


def test_the_same_code_and_libraries_name_the_same_file(tmp_path, monkeypatch):
    for _ in range(2):
        with examine.once(tmp_path, pytest.fail):
            pass
    assert len([*(tmp_path / CHECKS).iterdir()]) == 1
    monkeypatch.setattr(examine, "versions", lambda names: dict.fromkeys(names, "0"))
    with examine.once(tmp_path, pytest.fail):
        pass
    monkeypatch.setattr(examine, "CODE", ["edited"])
    with examine.once(tmp_path, pytest.fail):
        pass
    assert len([*(tmp_path / CHECKS).iterdir()]) == 3
