"""What a person accepts without a rerun."""

import json
import shutil

import pytest

from greenr_luigi.staleness import libraries
from greenr_luigi.staleness.errors import StalenessError
from tests import toys
from tests.staleness.test_output_folder import held
from tests.toys import build, cause


@pytest.fixture
def changed(root, monkeypatch, tmp_path_factory):
    """The data root of a graph that has run, and whose code, libraries and files have changed since."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "toy_accepted.py").write_text("ONE = 1\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(toys.Count, "code", ("toy_accepted",))
    monkeypatch.setattr(toys.Count, "libraries", ("pytest",))
    build(root)
    (folder / "toy_accepted.py").write_text("ONE = 2\n")
    version = libraries._version
    monkeypatch.setattr(libraries, "_version", lambda name: "0.0" if name == "pytest" else version(name))
    return root


def test_what_has_changed_is_accepted_and_told_until_the_stage_runs_again(changed):
    count = toys.Count(root=changed)
    before = count.stamp()
    assert cause(changed).startswith("input Count is stale: version of pytest: ")
    assert count.accept() == ["version of pytest", "code of toy_accepted.py"]
    assert cause(changed) is None
    stamp = count.stamp()
    assert stamp.accepted == ["version of pytest", "code of toy_accepted.py"]
    assert (stamp.finished, stamp.files, stamp.digest) == (before.finished, before.files, before.digest)
    assert count.accept() == [] and count.stamp() == stamp
    (changed / "inputs" / "a").write_text("adam")
    assert build(changed) == ["Read(a)", "Merge", "Count", "Final"]
    assert count.stamp().accepted == []


def test_files_and_inputs_are_accepted_of_the_one_stage_alone(root):
    build(root)
    (root / "inputs" / "a").write_text("adam")
    read, merge = toys.Read(root=root, name="a"), toys.Merge(root=root)
    assert merge.accept() == []  # Its input has not run yet.
    assert cause(root, toys.Merge) == "input Read(a) is stale: file a was edited"
    read.run()
    assert merge.accept() == ["input Read(a)"]
    assert cause(root) is None
    (root / "inputs" / "a").write_text("abel")
    assert read.accept() == ["file a"]
    assert cause(root) is None
    assert (read.output_folder / "text").read_text() == "adam"


def test_what_no_file_shows_remains(root):
    build(root)
    toys.Final.dead = "the server is not running"
    assert toys.Final(root=root).accept() == []
    assert cause(root) == "the server is not running"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "text").write_text("x"), "output file text was edited; run it"),
        (lambda folder: (folder / "stamp.json").write_text("{"), "its stamp cannot be read .*; run it"),
        (lambda folder: (folder / "stamp.json").unlink(), "stamp.json is missing; run it"),
    ],
)
def test_a_missing_or_damaged_output_is_no_thing_to_accept(root, damage, words):
    build(root)
    damage(toys.Merge(root=root).output_folder)
    with pytest.raises(StalenessError, match=f"Merge cannot be accepted: .*{words}"):
        toys.Merge(root=root).accept()


@pytest.mark.slow
def test_nothing_is_accepted_while_a_run_works_on_it(root):
    build(root)
    merge = toys.Merge(root=root)
    with held(merge.output_folder) as pid:
        words = f"Merge cannot be accepted now: it waits for another run of Merge: process {pid} on "
        with pytest.raises(StalenessError, match=words):
            merge.accept()
    assert merge.accept() == []


def test_a_stamp_of_before_there_was_anything_to_accept_reads(root):
    build(root)
    file = toys.Merge(root=root).output_folder / "stamp.json"
    content = json.loads(file.read_text())
    del content["accepted"]
    file.write_text(json.dumps(content))
    assert toys.Merge(root=root).stamp().accepted == []
    assert cause(root) is None


def test_what_was_accepted_counts_for_no_other_parameters(changed, monkeypatch):
    monkeypatch.setattr(toys.Count, "uses_inherited", ())
    assert toys.Count(root=changed).accept()
    assert "Count" in build(changed, glue="--")
    assert toys.Count(root=changed, glue="--").stamp().accepted == []


def test_going_back_on_what_was_accepted_is_fresh_too(root, monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(toys.Count, "code", ("toy_back",))
    count = toys.Count(root=root)
    for number in (1, 2, 3):
        (folder / "toy_back.py").write_text(f"ONE = {number}\n")
        if number == 1:
            build(root)
        assert count.accept() == (["code of toy_back.py"] if number > 1 else [])
        assert cause(root) is None
    (folder / "toy_back.py").write_text("ONE = 2\n")
    assert cause(root, toys.Count) == "code of toy_back.py changed"
    (folder / "toy_back.py").write_text("ONE = 1\n")
    assert cause(root) is None and count.accept() == []
    (root / "inputs" / "a").write_text("adam")
    assert "Count" in build(root)


def test_without_the_options_of_the_run_it_is_told_what_differs(root):
    build(root, times=2)
    words = r"Count has no output of these parameters to accept \(parameter times: 2 -> 1\): give those of the run"
    with pytest.raises(StalenessError, match=words):
        toys.Count(root=root).accept()


def test_a_refusal_makes_no_folder(root):
    build(root)
    shutil.rmtree(root / "Merge")
    with pytest.raises(StalenessError, match="Count requires Merge, which has no output"):
        toys.Count(root=root).accept()
    with pytest.raises(
        StalenessError, match=r"Merge has no output of these parameters to accept \(no output yet\)"
    ):
        toys.Merge(root=root).accept()
    assert not (root / "Merge").exists()
