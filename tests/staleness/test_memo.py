"""How often a stage is examined."""

import sys
import time
from collections import Counter

import pytest

from greenr_luigi.staleness import regular, stage
from tests import toys
from tests.toys import ALL, build


@pytest.fixture(autouse=True)
def no_answer_outlives_its_question():
    """Here the memo remembers what it always does."""


def stop_clock(monkeypatch):
    """Returns a list of the one time that the monotonic clock shows from now on."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_one_question_examines_each_stage_once(root, monkeypatch):
    build(root)
    stop_clock(monkeypatch)
    examined = []
    monkeypatch.setattr(
        toys.Toy,
        "_examine",
        lambda self, examine=toys.Toy._examine: examined.append(self.title) or examine(self),
    )
    stage.forget()
    assert toys.Final(root=root).complete()
    assert sorted(examined) == sorted(ALL)
    (root / "inputs" / "a").write_text("eve")
    assert not toys.Final(root=root).complete()  # quick answers are not remembered


def test_one_question_opens_each_file_once(root, monkeypatch):
    """However many stages have the same code, or the same stamp before them."""
    build(root)
    stop_clock(monkeypatch)
    opened, files = regular.opened, []
    monkeypatch.setattr(
        regular, "opened", lambda path, *args, **how: files.append(path) or opened(path, *args, **how)
    )
    stage.forget()
    for _ in range(2):
        assert toys.Final(root=root).stale_because() is None
        assert {"stamp.json", "toys.py"} <= {path.name for path in files}
        assert len(files) == len({*files})
        files.clear()


def test_a_module_is_looked_for_once_by_all_that_a_run_asks_of_it(root, monkeypatch):
    asked = Counter()

    class Finder:
        @staticmethod
        def find_spec(name, *_):
            asked[name] += 1

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    read = toys.Read(root=root, name="a")
    assert read.stale_because() == "no output yet"
    asked.clear()
    read.run()
    # Whether it is stale still, and of what it is made.
    assert asked["tests.toys"] > 0 and max(asked.values()) <= 2, asked


def test_an_answer_that_took_long_is_remembered_as_long_and_forgotten_by_a_run(root, monkeypatch):
    build(root)
    now, examined = stop_clock(monkeypatch), []

    def slow(self):
        examined.append(self.title)
        now[0] += 10

    monkeypatch.setattr(toys.Merge, "_examine", slow)
    stage.forget()
    merge = toys.Merge(root=root)
    for later, expected in [(0, 1), (9, 1), (11, 2), (0, 2)]:
        now[0] += later
        assert merge.complete()
        assert len(examined) == expected
    stage.forget()
    assert merge.complete()
    assert len(examined) == 3
