"""What a stage requires: other stages and plain Luigi tasks."""

from pathlib import Path

import luigi
import pytest
from luigi.mock import MockTarget
from luigi.parameter import ParameterVisibility

from greenr_luigi.staleness import stage
from greenr_luigi.staleness.errors import StalenessError
from tests import toys
from tests.toys import build, cause


class Plain(luigi.Task):
    """Knows nothing of staleness."""

    path = luigi.Parameter()
    runs: list[str] = []  # noqa: RUF012

    def output(self):
        return {"one": luigi.LocalTarget(self.path), "elsewhere": MockTarget("table")}

    def run(self):
        self.runs.append(self.path)
        Path(self.path).write_text("plain")
        with MockTarget("table").open("w") as table:
            table.write("")


class Given(luigi.ExternalTask):
    path = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(self.path)


class Both(luigi.WrapperTask):
    root = luigi.PathParameter()

    def requires(self):
        return [
            Plain(path=str(self.root / "plain")),
            Given(path=str(self.root / "given")),
            toys.Read(root=self.root, name="a"),
        ]


class OnTop(toys.Toy):
    def requires(self):
        return Both(root=self.root)

    def make(self):
        toys_read = self.inputs()["Read(a)"]
        return (self.root / "plain").read_text() + (self.root / "given").read_text() + self.text(toys_read)


def run(task):
    toys.ran.clear()
    stage.forget()
    assert luigi.build([task], local_scheduler=True, log_level="WARNING")
    assert task.stale_because() is None
    return list(toys.ran)


def test_plain_tasks_stand_below_a_stage(root):
    (root / "given").write_text("given")
    top = OnTop(root=root)
    assert run(top) == ["Read(a)", "OnTop"]
    assert run(top) == []
    (root / "given").write_text("taken")
    assert top.stale_because() == f"output 1 of Given(path={root / 'given'}) was edited"
    assert run(top) == ["OnTop"]
    (root / "plain").write_text("edited")
    assert run(top) == ["OnTop"]
    Plain.runs.clear()
    (root / "plain").unlink()
    assert top.stale_because() == f"input Plain(path={root / 'plain'}) is not complete"
    assert run(top) == ["OnTop"] and Plain.runs == [str(root / "plain")]
    (root / "given").unlink()
    toys.ran.clear()
    luigi.build([top], local_scheduler=True, log_level="CRITICAL")
    assert toys.ran == [], "Luigi waits for what is given"


def test_two_inputs_of_one_title_are_refused_before_any_work(root, monkeypatch):
    monkeypatch.setattr(toys.Read, "title", "Read")
    stage.forget()
    with pytest.raises(
        StalenessError, match="Merge: it requires 2 stages with the title Read: give each a `title`"
    ):
        toys.Merge(root=root).complete()
    toys.ran.clear()
    assert not luigi.build([toys.Final(root=root)], local_scheduler=True, log_level="CRITICAL")
    assert toys.ran == []


class Hidden(toys.Read):
    which = luigi.Parameter(visibility=ParameterVisibility.HIDDEN)

    @property
    def title(self):
        return f"Hidden({self.which})"


def test_two_inputs_that_luigi_takes_for_one_are_refused_before_any_work(root, monkeypatch):
    monkeypatch.setattr(
        toys.Merge, "requires", lambda self: [Hidden(root=self.root, name="a", which=which) for which in "xy"]
    )
    stage.forget()
    with pytest.raises(StalenessError, match="Merge: it requires 2 stages that Luigi takes for one"):
        toys.Merge(root=root).complete()


def test_one_input_that_is_required_twice_is_one(root, monkeypatch):
    monkeypatch.setattr(toys.Merge, "requires", lambda self: [self.clone(toys.Read, name="a")] * 2)
    assert build(root) == ["Read(a)", "Merge", "Count", "Final"]


def test_a_file_that_is_no_longer_read(root, monkeypatch):
    build(root)
    monkeypatch.setattr(toys.Read, "reads", lambda self: {})
    assert cause(root, toys.Read, name="a") == "file a is no longer read"
    assert build(root) == ["Read(a)", "Read(b)"]
    assert build(root) == []


def test_an_input_that_has_no_output_is_told(root):
    with pytest.raises(
        StalenessError, match=r"Merge requires Read\(a\), which has no output: run that first"
    ):
        toys.Merge(root=root).run()


@pytest.mark.parametrize(
    ("uses", "runs"),
    [(None, ["Count", "Final"]), ({"origin"}, ["Count", "Final"]), ({"other"}, []), ((), [])],
)
def test_a_note_makes_only_those_stale_that_use_it(root, monkeypatch, uses, runs):
    def work(self, out):
        toys.ran.append("Merge")
        (out / "text").write_text("always the same")
        (out / "origin").write_text(self.text(self.requires()[0]))

    monkeypatch.setattr(toys.Merge, "work", work)
    monkeypatch.setattr(toys.Merge, "notes", ("origin",))
    for kind in (toys.Count, toys.Final):
        monkeypatch.setattr(kind, "uses_notes", uses)
    build(root)
    (root / "inputs" / "a").write_text("adam")
    assert build(root) == ["Read(a)", "Merge", *runs]
    monkeypatch.setattr(toys.Merge, "notes", ())
    assert (cause(root, toys.Count) is None) == bool(runs)  # What is no note is read.
