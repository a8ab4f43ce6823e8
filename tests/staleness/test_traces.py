"""Files that come, go and change while they are looked at."""

import os

import pytest

from greenr_luigi.staleness import requirements, traces
from tests import toys
from tests.noted import noted
from tests.toys import ALL, build


def test_a_file_that_vanishes_while_it_is_looked_at_is_not_there(root, monkeypatch):
    (root / "inputs" / "c").write_text("cleo")
    before = traces.snapshot(root / "inputs")
    walked = list(traces.walk(root / "inputs"))
    (root / "inputs" / "c").unlink()
    monkeypatch.setattr(traces, "walk", lambda path: iter(walked))
    assert traces.snapshot(root / "inputs").keys() == {"a", "b"}
    before["c"] = before["c"]._replace(mtime_ns=0)
    assert traces.files_changed("inputs", before, root / "inputs") == "inputs file c was edited"


def test_a_file_of_a_folder_that_may_not_be_read_is_a_file_whose_content_is_not_known(root, monkeypatch):
    """Root may read everything, so that it is said here that it may not."""

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    inputs = root / "inputs"
    with monkeypatch.context() as closed:
        closed.setattr(traces, "file_sha256", refuse)
        found = traces.snapshot(inputs)
        assert {file.sha256 for file in found.values()} == {""} and traces.known(inputs, found) == {}
        assert traces.files_changed("inputs", found, inputs) is None
        with pytest.raises(PermissionError):
            traces.snapshot(inputs / "a")
    assert str(traces.files_changed("inputs", found, inputs)).endswith(" was edited")


def test_touched_but_not_changed(root):
    build(root)
    os.utime(root / "inputs" / "a", (1, 1))
    os.utime(toys.Merge(root=root).output_folder / "text", (1, 1))
    assert build(root) == []


def test_a_hard_link_to_a_known_file_is_not_read_and_another_file_is(root, monkeypatch):
    inputs, out = root / "inputs", root / "out"
    before = traces.snapshot(inputs)
    out.mkdir()
    os.link(inputs / "a", out / "same")
    (out / "other").write_text("other")
    known = traces.known(inputs, before)
    read = []
    monkeypatch.setattr(traces, "file_sha256", lambda path: read.append(path.name) or "0")
    assert traces.snapshot(out, known)["same"] == before["a"] and read == ["other"]
    os.utime(inputs / "a", (1, 1))  # It may have been edited.
    read.clear()
    traces.snapshot(out, known)
    traces.snapshot(inputs, traces.known(inputs, before))
    assert sorted(read) == ["a", "other", "same"]


def test_a_stage_that_runs_again_reads_no_unchanged_file_for_its_stamp(root, monkeypatch):
    """Unless it is asked for by name: then no size and no time is trusted."""
    monkeypatch.setattr(toys.Count, "reads", lambda self: {"the inputs": root / "inputs"})
    build(root)
    (root / "inputs" / "c").write_text("cleo")
    read, sha256 = [], traces.file_sha256
    monkeypatch.setattr(traces, "file_sha256", lambda path: read.append(path) or sha256(path))
    assert "Count" in build(root)
    assert [path.name for path in read if path.parent == root / "inputs"] == ["c"]
    read.clear()
    assert build(root, force=("Count",)) == ["Count"]
    assert sorted(path.name for path in read if path.parent == root / "inputs") == ["a", "b", "c"]


def test_what_an_output_is_linked_to_is_looked_up_and_not_read_where_there_are_links(root, monkeypatch):
    """All that a stage has read may be 100,000 files."""
    looked_up, read = noted(monkeypatch, requirements, "known_files"), []
    assert build(root) == ALL and looked_up == []
    sha256 = traces.file_sha256
    monkeypatch.setattr(
        traces, "file_sha256", lambda path: read.append(path.parent.parent.name) or sha256(path)
    )

    def link(self, out):
        (out / "new").write_text(self.glue)
        os.link(self.requires()[0].output_folder / "text", out / "text")

    monkeypatch.setattr(toys.Merge, "work", link)
    assert build(root, glue="+") == ["Count", "Final"]
    merge = toys.Merge(root=root, glue="+")
    assert looked_up == [merge] and read.count("Merge") == 1  # "new"
    assert merge.stamp().files["text"] == toys.Read(root=root, name="a").stamp().files["text"]
