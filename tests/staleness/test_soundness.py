"""Stages of which nobody could know whether they are stale: told in one sentence before any work."""

import importlib
import os
import sys
import zipfile

import luigi
import pytest

from greenr_luigi.staleness import modules
from greenr_luigi.staleness.errors import StalenessError
from greenr_luigi.staleness.stage import Stage
from tests import toys


class Yielding(Stage):
    def work(self, out):
        yield toys.Read(root=self.root, name="a")


class Awaiting(Stage):
    async def work(self, out):
        pass


@pytest.mark.parametrize("kind", [Yielding, Awaiting])
def test_work_that_python_would_not_run(root, kind):
    with pytest.raises(StalenessError, match=f"{kind.__name__}: its `work` yields or awaits.*`requires`"):
        kind(root=root).complete()
    assert not luigi.build([kind(root=root)], local_scheduler=True, log_level="CRITICAL")


class OfNoFolder(Stage):
    def work(self):
        pass


class CodeAsText(toys.Read):
    code = "tests.toys"


class LibrariesAsText(toys.Read):
    libraries = "pytest"


class ReadsAList(toys.Read):
    def reads(self):
        return ["stop.txt"]


class LibrariesAsNone(toys.Read):
    libraries = None


class ReadsNothing(toys.Read):
    def reads(self):
        return {"stop words": None}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (OfNoFolder, r"its `work` cannot be called \(.*\): it takes `self` and `out`"),
        (CodeAsText, r"its `code` is text: write \('tests.toys',\)"),
        (LibrariesAsText, r"its `libraries` is text: write \('pytest',\)"),
        (LibrariesAsNone, r"its `libraries` is None: expected names"),
        (ReadsNothing, r"its `reads` gives \{'stop words': None\}: expected a path by each name to call it"),
        (ReadsAList, r"its `reads` gives \['stop.txt'\]: expected a path by each name to call it"),
    ],
)
def test_what_a_stage_says_of_itself_has_another_form(root, kind, words):
    stage = kind(root=root, **({} if kind is OfNoFolder else {"name": "a"}))
    with pytest.raises(StalenessError, match=f": {words}"):
        stage.run()


class Odd(Stage):
    """Reads what it names by text, goes elsewhere, and leaves a name that is no text."""

    def reads(self):
        return {"words": "words.txt"}

    def work(self, out):
        os.chdir("/")
        (out / os.fsdecode(b"gr\xfcn")).write_text("1")


def test_what_may_be_odd_and_is_not_lost(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("one")
    Odd(root=root).run()
    monkeypatch.chdir(tmp_path)
    assert Odd(root=root).complete()
    (tmp_path / "words.txt").write_text("another")
    assert Odd(root=root).stale_because() == "words was edited"


class FileForFolder(Stage):
    def work(self, out):
        out.rmdir()
        out.write_text("1")


def test_a_file_in_place_of_the_folder_is_told(root):
    with pytest.raises(
        StalenessError, match=r"wrote nothing to .*: `work` must leave at least one file in it"
    ):
        FileForFolder(root=root).run()


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "code"
    (folder / "sound").mkdir(parents=True)
    monkeypatch.syspath_prepend(folder)
    modules.folders_of.cache_clear()
    yield folder / "sound"
    for module in [module for module in sys.modules if module.split(".")[0] == "sound"]:
        del sys.modules[module]


SAME = """
from greenr_luigi.staleness.stage import Stage
class Same(Stage):
    def work(self, out):
        (out / "text").write_text("{0}")
"""


def test_two_stages_of_one_name(package, root):
    for name in ("one", "two"):
        (package / f"{name}.py").write_text(SAME.format(name))
    one = importlib.import_module("sound.one")
    one.Same(root=root).run()
    importlib.reload(one)
    assert one.Same(root=root).complete()
    two = importlib.import_module("sound.two")
    for module, other in (one, two), (two, one):
        with pytest.raises(StalenessError, match=f"Same: {other.__name__} has a Same, too.*`task_namespace`"):
            module.Same(root=root).complete()


def test_two_stages_of_one_name_in_two_processes(package, root):
    (package / "one.py").write_text(SAME.format("one"))
    (package / "two.py").write_text(SAME.format("two"))
    importlib.import_module("sound.one").Same(root=root).run()
    del sys.modules["sound.one"]
    two = importlib.import_module("sound.two").Same(root=root)
    assert two.stale_because() == "code of sound/two.py changed"


def test_code_in_a_zip(tmp_path, monkeypatch, root):
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as file:
        file.writestr("zipped.py", SAME.format("zipped").replace("Same", "Zipped"))
    monkeypatch.syspath_prepend(tmp_path / "zipped.zip")
    zipped = importlib.import_module("zipped").Zipped(root=root)
    with pytest.raises(StalenessError, match=r"Zipped: zipped lies in .*zipped\.zip.*unpack it"):
        zipped.complete()
    del sys.modules["zipped"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("toy_nowhere",), "no module 'toy_nowhere' can be found"),
        (("_ast",), "'_ast' has no source: .*`libraries`"),
    ],
)
def test_code_that_is_not_there(root, monkeypatch, names, words):
    monkeypatch.setattr(toys.Read, "code", names)
    with pytest.raises(StalenessError, match=words):
        toys.Read(root=root, name="a").complete()
