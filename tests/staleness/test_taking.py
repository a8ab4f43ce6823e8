"""Outputs of other parameters that were made from the same are taken over."""

import shutil

import luigi
import pytest

from greenr_luigi.staleness import making, output_folder
from tests import toys
from tests.toys import build, cause


@pytest.fixture(autouse=True)
def inherited_parameters_count_by_inputs(monkeypatch):
    for stage in (toys.Count, toys.Final):
        monkeypatch.setattr(stage, "uses_inherited", ())


def folders(root, **parameters):
    return [stage(root=root, **parameters).output_folder for stage in (toys.Count, toys.Final)]


def test_what_came_out_the_same_is_not_made_again(root):
    build(root)
    assert build(root, glue="--") == ["Merge"]  # It writes the same: of "--" the first letter counts.
    for before, now in zip(folders(root), folders(root, glue="--"), strict=True):
        assert before != now
        assert (before / "text").samefile(now / "text")
    stamp = toys.Count(root=root, glue="--").stamp()
    assert stamp.parameters == {"glue": "--", "times": "1"}
    assert stamp.because == f"parameter glue: - -> --; {folders(root)[0].name} was made from the same"
    assert stamp.started == toys.Count(root=root).stamp().started
    assert build(root, glue="--") == build(root) == []


def test_a_copy_serves_where_the_file_system_has_no_links(root, monkeypatch):
    def refuse(*names):
        raise PermissionError(1, "Operation not permitted")

    build(root)
    monkeypatch.setattr(output_folder.os, "link", refuse)
    assert build(root, glue="--") == ["Merge"]
    before, now = (folder / "text" for folder in (folders(root)[0], folders(root, glue="--")[0]))
    assert not before.samefile(now) and before.read_bytes() == now.read_bytes()


def test_what_differs_is_made(root, monkeypatch):
    build(root)
    assert build(root, glue="+") == ["Merge", "Count", "Final"]  # the input
    assert build(root, glue="--", times=2) == ["Merge", "Count", "Final"]  # an own parameter
    monkeypatch.setattr(toys.Count, "libraries", ("pytest",))
    assert build(root, glue="--") == ["Count"]  # a library; Final takes what came out the same
    monkeypatch.setattr(toys.Count, "reads", lambda self: {"a file": root / "inputs" / "a"})
    assert build(root, glue="-+") == ["Merge", "Count"]  # a file from outside
    toys.Final.dead = "the server is not running"
    assert build(root, glue="-x") == ["Merge", "Final"]  # a cause that no file shows


def test_a_parameter_that_work_uses_itself_counts(root, monkeypatch):
    monkeypatch.setattr(toys.Count, "uses_inherited", ("glue",))
    build(root)
    assert build(root, glue="--") == ["Merge", "Count"]
    monkeypatch.setattr(toys.Count, "uses_inherited", None)
    assert build(root, glue="-+") == ["Merge", "Count"]


def test_a_damaged_one_is_not_taken_and_one_edited_in_place_counts_for_none_that_shares_it(root):
    build(root)
    (folders(root)[0] / "text").write_text("9")
    assert build(root, glue="--") == ["Merge", "Count"]
    assert build(root) == []  # its own is damaged, and the other one's is sound
    (folders(root)[0] / "text").write_text("9")
    for glue in ("-", "--"):
        assert cause(root, toys.Count, glue=glue) == "output file text was edited"
    assert build(root) == ["Count"]


def test_going_back_takes_the_output_that_was_replaced(root, monkeypatch):
    for text in ("adam", "eve"):
        (root / "inputs" / "a").write_text(text)
        assert build(root)[-2:] == ["Count", "Final"]
    for text in ("adam", "eve", "adam"):
        (root / "inputs" / "a").write_text(text)
        assert build(root) == ["Read(a)", "Merge"]
        assert (folders(root)[0] / "text").read_text() == f"{len(text) + 4}"
    kept = [path.name for path in folders(root)[0].parent.iterdir() if path.is_symlink()]
    assert sorted(kept) == sorted([folders(root)[0].name, f"earlier-{folders(root)[0].name}"])


def test_a_damaged_output_is_not_kept_for_going_back(root):
    for text in ("adam", "eve"):
        (root / "inputs" / "a").write_text(text)
        build(root)
    (folders(root)[0] / "text").write_text("9")
    (root / "inputs" / "a").write_text("magdalena")
    assert "Count" in build(root)
    (root / "inputs" / "a").write_text("adam")
    assert "Count" not in build(root)  # The one before the damaged one is kept still.
    (root / "inputs" / "a").write_text("eve")
    assert "Count" in build(root)


def test_a_stage_that_does_more_than_fill_its_folder_takes_and_keeps_nothing(root, monkeypatch):
    monkeypatch.setattr(toys.Final, "uses_inherited", None)
    for text in ("adam", "eve", "adam"):
        (root / "inputs" / "a").write_text(text)
        assert "Final" in build(root)
    final = folders(root)[1]
    assert [path.name for path in final.parent.iterdir() if path.is_symlink()] == [final.name]


def test_what_is_asked_for_by_name_is_made(root):
    build(root)
    assert build(root, glue="--", force=("Count",)) == ["Merge", "Count"]


def test_one_that_goes_takes_nothing_from_another(root):
    build(root)
    build(root, glue="--")
    folder, kept = folders(root)[0], folders(root, glue="--")[0]
    folder.resolve().rename(folder.parent / "gone")
    assert (kept / "text").read_text() == "7"
    assert build(root, glue="--") == []


def test_one_in_a_copy_of_the_root_that_followed_links_is_taken(root, tmp_path_factory):
    build(root)
    copy = tmp_path_factory.mktemp("copy") / "data"
    shutil.copytree(root, copy)
    assert not folders(copy)[0].is_symlink()
    assert build(copy) == []
    assert build(copy, glue="--") == ["Merge"]


def replaced(link, on_wait):
    on_wait("process 1")


def pruned(link, on_wait):
    shutil.rmtree(link.resolve())
    link.unlink()


def torn(link, on_wait):
    (link / "stamp.json").write_text("{")


@pytest.mark.parametrize("happens", [replaced, pruned, torn])
def test_one_that_another_run_has_its_hands_on_is_not_waited_for(root, monkeypatch, happens):
    build(root)
    assert luigi.build([toys.Merge(root=root, glue="--")], local_scheduler=True, log_level="WARNING")
    lock = output_folder.lock

    def busy(link, kind, on_wait, *patience):
        if link == folders(root)[0]:
            happens(link, on_wait)
        return lock(link, kind, on_wait, *patience)

    monkeypatch.setattr(making, "lock", busy)
    toys.ran.clear()
    assert luigi.build([toys.Count(root=root, glue="--")], local_scheduler=True, log_level="WARNING")
    assert toys.ran == ["Count"]


def test_what_is_kept_for_going_back_is_the_folder_that_was_replaced(root):
    """However many files it holds, none is linked or removed."""
    build(root)
    before = (folders(root)[0] / "text").stat().st_ino
    (root / "inputs" / "a").write_text("magdalena")
    assert "Count" in build(root)
    output = folders(root)[0]
    kept = output.with_name(f"earlier-{output.name}") / "text"
    assert (kept.stat().st_ino, kept.stat().st_nlink, kept.read_text()) == (before, 1, "7")
    assert len([path for path in output.parent.iterdir() if path.is_dir() and not path.is_symlink()]) == 2
