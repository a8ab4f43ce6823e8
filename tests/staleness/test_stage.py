"""Stages over small text files: what runs, why, and what is left when things go wrong."""

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import luigi
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from luigi.parameter import ParameterVisibility
from luigi.task_register import Register

from greenr_luigi.about import PACKAGE
from greenr_luigi.staleness import stage
from greenr_luigi.staleness.errors import StalenessError
from greenr_luigi.staleness.output_folder import folder_of
from greenr_luigi.staleness.stage import Stage
from tests import toys
from tests.pipeline import luigid
from tests.toys import ALL, build, cause, prepare


def test_everything_runs_once(root):
    assert cause(root) == "no output yet"
    assert build(root) == ALL
    assert build(root) == []


def test_parameter(root):
    build(root)
    assert cause(root, times=2) == "parameter times: 1 -> 2"
    assert build(root, times=2) == ["Count", "Final"]
    assert build(root, times=1) == []  # going back finds the earlier work
    assert build(root, glue="+") == ["Merge", "Count", "Final"]


def test_the_nearest_parameters_tell_what_is_new(root):
    for times, glue in ((1, "-"), (2, "+")):
        build(root, times=times, glue=glue)
    assert cause(root, toys.Count, times=3, glue="-") == "parameter times: 1 -> 3"
    assert cause(root, toys.Count, times=2, glue="*") == "parameter glue: + -> *"


def test_input_edited_and_early_cutoff(root):
    build(root)
    (root / "inputs" / "a").write_text("ANN")
    assert cause(root, toys.Read, name="a") == "file a was edited"
    assert cause(root).startswith(
        "input Count is stale: input Merge is stale: input Read(a) is stale: file a was edited"
    )
    assert build(root) == ["Read(a)", "Merge"]  # upper case comes out the same
    (root / "inputs" / "a").unlink()
    assert cause(root, toys.Read, name="a") == "file a is missing"
    (root / "inputs" / "a").write_text("adam")
    assert build(root) == ["Read(a)", "Merge", "Count", "Final"]


@pytest.mark.parametrize("where", ["nowhere", "a", "/dev/zero"])
def test_what_is_read_and_is_no_file_is_not_taken_for_missing(root, where):
    """As a link to a disk that is not mounted."""
    build(root)
    (root / "inputs" / "a").unlink()
    (root / "inputs" / "a").symlink_to(where)
    for ask in (toys.Read(root=root, name="a").stale_because, toys.Merge(root=root).stale_because):
        with pytest.raises(
            StalenessError, match=r"Read\(a\) cannot use .*/inputs/a: it is no file or folder"
        ):
            ask()


def test_what_changed_in_an_input_is_told(root):
    build(root)
    (root / "inputs" / "a").write_text("adam")
    luigi.build([toys.Merge(root=root)], local_scheduler=True, log_level="WARNING")
    assert cause(root) == "input Count is stale: input Merge changed: letters: 7 -> 8"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toys.Merge, "unsaid", ("letters",))
        assert cause(root, toys.Count) == "input Merge changed: other content, same counts"
    (root / "inputs" / "a").write_text("abel")
    luigi.build([toys.Merge(root=root)], local_scheduler=True, log_level="WARNING")
    build(root)
    (root / "inputs" / "a").write_text("eric")
    luigi.build([toys.Merge(root=root)], local_scheduler=True, log_level="WARNING")
    assert cause(root, toys.Count) == "input Merge changed: other content, same counts"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: (p / "text").unlink(), "output file text is missing"),
        (lambda p: (p / "text").write_text("x"), "output file text was edited"),
        (lambda p: (p / "text").write_text("XNN-BOB"), "output file text was edited"),
        (lambda p: (p / "more").write_text("x"), "output file more was added"),
        (lambda p: ((p / "sub").mkdir(), (p / "sub/x").write_text("")), "output file sub/x was added"),
        (
            lambda p: (p / "stamp.json").write_text((p / "stamp.json").read_text()[:99]),
            "its stamp cannot be read",
        ),
        (lambda p: (p / "stamp.json").write_text(""), "its stamp cannot be read"),
        (lambda p: (p / "stamp.json").write_text("[]"), "its stamp cannot be read (it is no JSON object)"),
        (lambda p: (p / "stamp.json").unlink(), "no output yet"),
        (lambda p: p.unlink(), "no output yet"),
        (lambda p: shutil.rmtree(p.resolve()), "no output yet"),
    ],
)
def test_damaged_output_is_made_again_alone(root, damage, words):
    build(root)
    damage(toys.Merge(root=root).output_folder)
    assert words in cause(root, toys.Merge)
    assert build(root) == ["Merge"]


def test_outside_cause(root):
    build(root)
    toys.Final.dead = "the server is not running"
    assert cause(root) == "the server is not running"
    assert build(root) == ["Final"]


def test_force(root):
    build(root)
    assert cause(root, toys.Merge, force=("Merge",)) == "asked for: --force Merge"
    assert cause(root, toys.Merge, force=("Count",)) is None
    for _ in range(2):  # Each build in a process forces anew.
        assert build(root, force=("Merge",)) == ["Merge"]
    assert build(root, force=("Merge", "Read")) == ["Read(a)", "Read(b)", "Merge"]
    assert build(root) == []


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "builds"), [(False, 2), (True, 1)])
def test_force_where_stages_run_in_processes_of_their_own(root, parallel, builds):
    build(root)
    final = toys.Final(root=root, force=("Merge",))
    how = {"workers": 2, "parallel_scheduling": parallel}
    for _ in range(builds):
        before = [folder_of(task(root=root).output_folder) for task in (toys.Merge, toys.Count)]
        stage.forget()
        assert luigi.build([final], local_scheduler=True, log_level="WARNING", **how)
        merge, count = (folder_of(task(root=root).output_folder) for task in (toys.Merge, toys.Count))
        assert merge != before[0] and count == before[1]


def test_a_requirement_that_came_or_went(root, monkeypatch):
    build(root)
    monkeypatch.setattr(toys.Merge, "requires", lambda self: [self.clone(toys.Read, name="a")])
    assert cause(root, toys.Merge) == "input Read(b) is no longer required"
    assert "Merge" in build(root)
    monkeypatch.undo()
    assert cause(root, toys.Merge) == "input Read(b) is new"


def test_failed_work_leaves_the_last_output(root, monkeypatch):
    build(root)
    before = toys.Merge(root=root).output_folder.resolve()
    (root / "inputs" / "a").write_text("adam")

    def fail(self):
        raise OSError(28, "No space left on device", str(before))

    monkeypatch.setattr(toys.Merge, "make", fail)
    stage.forget()
    assert not luigi.build([toys.Final(root=root)], local_scheduler=True, log_level="CRITICAL")
    with pytest.raises(StalenessError, match=r"disk is full: free some space"):
        toys.Merge(root=root).run()
    assert toys.Merge(root=root).output_folder.resolve() == before
    assert sorted(p.name for p in before.parent.iterdir() if not p.name.endswith(".lock")) == sorted(
        [before.name, toys.Merge(root=root).output_folder.name]
    )


@pytest.mark.parametrize("where", ["/proc/nope", "file", "file/deeper", "/dev/null"])
def test_a_root_that_is_no_folder_is_told_with_the_remedy(root, where):
    (root / "file").write_text("")
    read = toys.Read(root=root / where, name="a")
    assert read.stale_because() == "no output yet"
    with pytest.raises(
        StalenessError, match=r"cannot write .*: no folder can be made there: choose another --root"
    ):
        read.run()


@pytest.mark.parametrize(
    ("inside", "words"),
    [(False, r"cannot read .*: no permission; mend its permissions, or leave it out"),
     (True, r"cannot write .*: no permission to write there: choose another --root")],
)  # fmt: skip
def test_what_may_not_be_read_and_what_may_not_be_written(root, tmp_path_factory, monkeypatch, inside, words):
    where = (root if inside else tmp_path_factory.mktemp("elsewhere")) / "x"

    def fail(self):
        raise PermissionError(13, "Permission denied", str(where))

    monkeypatch.setattr(toys.Read, "make", fail)
    with pytest.raises(StalenessError, match=words):
        toys.Read(root=root, name="a").run()


def test_a_file_that_work_misses_is_not_taken_for_a_bad_root(root):
    (root / "inputs" / "a").unlink()
    with pytest.raises(FileNotFoundError, match="inputs/a"):
        toys.Read(root=root, name="a").run()


def test_a_stage_that_writes_nothing_fails(root, monkeypatch):
    monkeypatch.setattr(toys.Read, "work", lambda self, out: None)
    with pytest.raises(StalenessError, match="wrote nothing"):
        toys.Read(root=root, name="a").run()


def test_the_name_of_the_stamp_is_taken(root, monkeypatch):
    monkeypatch.setattr(toys.Read, "work", lambda self, out: (out / "stamp.json").write_text("mine"))
    with pytest.raises(StalenessError, match=r"wrote a file stamp.json, where its stamp goes"):
        toys.Read(root=root, name="a").run()


class Hiding(Stage):
    """Parameters that Luigi shows to few, or to nobody."""

    hidden = luigi.Parameter(default="h", visibility=ParameterVisibility.HIDDEN)
    private = luigi.Parameter(default="p", visibility=ParameterVisibility.PRIVATE)

    def work(self, out):
        (out / "text").write_text(self.hidden + self.private)


def test_a_parameter_counts_however_hidden(root):
    Hiding(root=root).run()
    assert Hiding(root=root).stale_because() is None
    assert Hiding(root=root, hidden="x").stale_because() == "parameter hidden: h -> x"
    assert re.match("parameter private: [0-9a-f]{12} -> ", Hiding(root=root, private="x").stale_because())


class ReadsByNumber(toys.Read):
    title = 5

    def reads(self):
        return {3: str(self.file)}


class AboveNumber(toys.Count):
    def requires(self):
        return ReadsByNumber(root=self.root, name="a")


def test_names_that_are_no_text(root):
    above = AboveNumber(root=root)
    above.requires().run()
    above.run()
    assert above.stale_because() is None


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("returned", "summary"),
    [
        ({"a": np.float32(0.5), "b": np.int64(3), "c": np.arange(2)}, {"a": 0.5, "b": 3, "c": [0, 1]}),
        ({3: Path("x"), "d": {"e": {1}}}, {"3": "x", "d": {"e": "{1}"}}),
        ({"d": {("a", "b"): [{np.int64(1): 2}]}}, {"d": {"('a', 'b')": [{"1": 2}]}}),
        ({"d": LOOP, "n": 10**5000, "e": 1}, {"d": "a list", "n": "a int", "e": 1}),
        ([1], {"result": [1]}),
        (np.int64(4), {"result": 4}),
        (None, {}),
    ],
)
def test_a_summary_of_whatever_loses_no_work(root, monkeypatch, returned, summary):
    def work(self, out):
        (out / "text").write_text("done")
        return returned

    monkeypatch.setattr(toys.Read, "work", work)
    read = toys.Read(root=root, name="a")
    read.run()
    assert read.stale_because() is None
    assert read.stamp().summary == summary


def test_two_threads_take_turns(root, monkeypatch):
    """The kernel's locks tell no threads of a process apart."""
    inside, most = [], []

    def make(self):
        inside.append(self)
        most.append(len(inside))
        time.sleep(0.02)  # Long enough for another thread to come in, if it may.
        inside.remove(self)
        return "made"

    monkeypatch.setattr(toys.Merge, "make", make)
    final = toys.Final(root=root)
    count, merge = final.deps()
    graph = [*merge.deps(), merge, count, final]
    toys.ran.clear()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: [task.run() for task in graph], range(3)))
    assert most == [1]
    assert sorted(toys.ran) == sorted(ALL)
    assert cause(root) is None


def test_a_data_root_may_move(root, tmp_path):
    build(root)
    moved = tmp_path / "else where"
    moved.mkdir()
    for name in ("inputs", "Read", "Merge", "Count", "Final"):
        shutil.move(root / name, moved / name)
    assert build(moved) == []


@pytest.mark.slow
def test_under_luigid_a_stage_runs_again_at_once(root, tmp_path):
    """With the luigi.cfg that we ship; Luigi by itself grants nothing for ten seconds after."""
    with luigid(PACKAGE, tmp_path / "state") as port:
        for text in ("adam", "abel"):
            (root / "inputs" / "a").write_text(text)
            stage.forget()
            toys.ran.clear()
            read = toys.Read(root=root, name="a")
            assert luigi.build([read], scheduler_host="127.0.0.1", scheduler_port=port, log_level="WARNING")
            assert toys.ran == ["Read(a)"]


def test_a_status_is_no_markup_in_luigid_s_page():
    """It runs what stands in one; errors and parameters it shows as text (seen in Chromium with Luigi 3.8)."""
    told = []
    task = SimpleNamespace(set_status_message=told.append, because=" (<img src=x onerror=alert(2)>)")
    stage.Stage.tell(task, "grass/<svg onload=alert(1)>.jpg: 1 -> 2")
    assert told == ["grass/‹svg onload=alert(1)>.jpg: 1 -> 2 (‹img src=x onerror=alert(2)>)"]


CHANGES = st.one_of(
    st.tuples(st.just("file"), st.sampled_from("ab"), st.sampled_from(["x", "X", "yy", "YY", "zzz"])),
    st.tuples(st.just("glue"), st.sampled_from(["-", "+", "--"])),
    st.tuples(st.just("times"), st.integers(1, 3)),
    st.tuples(st.just("damage"), st.sampled_from(ALL), st.sampled_from(["edit", "delete", "add", "stamp"])),
    st.tuples(st.just("dead")),
)


@pytest.mark.slow
@pytest.mark.parametrize("taking", [False, True])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(rounds=[[("file", "a", text)] for text in ("x", "yy", "x", "zzz", "x")])
@given(rounds=st.lists(st.lists(CHANGES, max_size=3), min_size=1, max_size=6))
def test_random_changes_run_what_a_simple_model_says(tmp_path_factory, taking, rounds):
    """The model: a stage runs if what it would be made from is not what its last output at that output was made from,
    or if that output was damaged. Not so, where inherited parameters count by inputs (`taking`), if there is a sound
    output that was made from the same. What it is made from are texts, so that early cutoff follows."""
    with pytest.MonkeyPatch.context() as patch:
        if taking:
            patch.setattr(toys.Toy, "uses_inherited", ())
        check_random_changes(tmp_path_factory, taking, rounds)


def check_random_changes(tmp_path_factory, taking, rounds):
    root = prepare(tmp_path_factory.mktemp("random"))
    files, parameters = {"a": "ann", "b": "bob"}, {"glue": "-", "times": 1}
    made: dict[tuple[object, ...], object] = {}
    #: What an output was that has been replaced.
    earlier: dict[tuple[object, ...], object] = {}
    for changes in rounds:
        damaged, dead = set(), False
        for kind, *what in changes:
            if kind == "file":
                files[what[0]] = what[1]
                (root / "inputs" / what[0]).write_text(what[1])
            elif kind == "dead":
                dead, toys.Final.dead = True, "dead"
            elif kind == "damage":
                if (task := _task(root, what[0], parameters)).output_folder.exists():
                    damaged.add((what[0], parameters["glue"], parameters["times"]))
                    _damage(task.output_folder, what[1])
            else:
                parameters[kind] = what[0]
        glue, times = parameters["glue"], parameters["times"]
        merged = glue[0].join(files[name].upper() for name in "ab")
        count = str(len(merged) * times)
        trace = {
            ("Read(a)",): files["a"],
            ("Read(b)",): files["b"],
            ("Merge", glue): (files["a"], files["b"]),
            ("Count", glue, times): merged,
            ("Final", glue, times): (count, merged),
        }
        hit = {key for name, g, t in damaged for key in [_key(name, g, t)]}
        sound = {key: value for key, value in made.items() if key not in hit and value != "damaged"}
        is_dead = {("Final", glue, times)} if dead else set()
        stale = [
            key for key, value in trace.items() if sound.get(key) != value or key in is_dead & made.keys()
        ]
        takes = [
            key
            for key in stale
            if taking and key not in is_dead and _another(sound, earlier, key, trace[key])
        ]
        earlier |= {key: sound[key] for key in stale if key in sound}
        made.update(trace)
        for key in [key for key in hit if key not in trace]:
            made[key] = "damaged"
        assert build(root, **parameters) == [key[0] for key in stale if key not in takes]
        toys.Final.dead = None


def _another(sound, earlier, key, value):
    """Whether there is a sound output that was made from the same: of other inherited parameters, or replaced since."""
    own = {"Count": slice(2, 3), "Final": slice(0)}.get(key[0], slice(1, None))
    return any(
        (other[0], other[own], content) == (key[0], key[own], value)
        for outputs in ({name: content for name, content in sound.items() if name != key}, earlier)
        for other, content in outputs.items()
    )


def _key(name, glue, times):
    return {"Merge": (name, glue), "Count": (name, glue, times), "Final": (name, glue, times)}.get(
        name, (name,)
    )


def _task(root, name, parameters):
    if name.startswith("Read"):
        return toys.Read(root=root, name=name[5])
    cls = getattr(toys, name)
    return cls(root=root, **{k: v for k, v in parameters.items() if k in cls.get_param_names()})


def _damage(output, how):
    if how == "edit" and (output / "text").exists():
        edited = (output / "text").read_text() + "!"
        (output / "text").unlink()  # Another output may have the same file.
        (output / "text").write_text(edited)
    elif how == "delete":
        (output / "text").unlink(missing_ok=True)
    elif how == "add":
        (output / "more").write_text("")
    else:
        (output / "stamp.json").write_text("{")


class Mapped(Stage):
    words = luigi.DictParameter(default={}, description="Words for words.")
    lists = luigi.ListParameter(default=(), description="Whose order counts.")


def test_the_order_of_keys_counts_for_nothing_and_that_of_a_list_does(tmp_path):
    def place(words, lists):
        Register.clear_instance_cache()  # As another process has none.
        return Mapped.from_str_params({"root": str(tmp_path), "words": words, "lists": lists}).output_folder

    assert place('{"a": 1, "b": {"c": 2, "d": 3}}', "[]") == place('{"b": {"d": 3, "c": 2}, "a": 1}', "[]")
    assert place("{}", '[{"a": 1, "b": 2}, 3]') == place("{}", '[{"b": 2, "a": 1}, 3]')
    assert place("{}", "[1, 2]") != place("{}", "[2, 1]")
