"""What changes while a process runs: a stamp tells what ran, or the stage is stale."""

import importlib
import importlib.util
import os
import py_compile
import sys
import time
from pathlib import Path

import luigi
import pytest

from greenr_luigi.staleness import loaded
from greenr_luigi.staleness.errors import StalenessError
from tests import toys
from tests.noted import noted
from tests.toys import build, cause

STAGES = """
from greenr_luigi.staleness.stage import Stage
from {package}.early import ONE


class Write(Stage):
    during = None

    def work(self, out):
        from {package} import late

        if self.during:
            self.during()
        (out / "text").write_text(f"{{ONE}} {{late.TWO}}")
"""


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """A package whose module `early` is loaded with its stage, and whose module `late` is loaded by the work."""
    name = f"meanwhile_{abs(hash(request.node.name))}"
    folder = tmp_path / "code" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "early.py").write_text("ONE = 1\n")
    (folder / "late.py").write_text("TWO = 2\n")
    (folder / "stages.py").write_text(STAGES.format(package=name))
    monkeypatch.syspath_prepend(folder.parent)
    importlib.import_module(f"{name}.stages")
    yield folder
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]


def stage_of(package, tmp_path):
    return sys.modules[f"{package.name}.stages"].Write(root=tmp_path / "data")


@pytest.mark.parametrize("file", ["early.py", "stages.py"])
def test_code_that_was_edited_after_it_was_loaded_does_not_run(package, tmp_path, file):
    write = stage_of(package, tmp_path)
    write.run()
    before = write.stamp()
    text = (package / file).read_text()
    (package / file).write_text(text + "EDITED = True\n")
    assert write.stale_because() == f"code of {package.name}/{file} changed"
    words = f"{file} was edited after this process had loaded it: start a new process"
    with pytest.raises(StalenessError, match=words) as refused:
        write.run()
    assert vars(refused.value)["passing"]
    assert write.stamp() == before
    (package / file).write_text(text + "# a comment\n")
    assert write.stale_because() is None
    (write.output_folder / "text").unlink()
    write.run()
    assert write.stale_because() is None


def test_code_that_was_loaded_again_runs(package, tmp_path):
    write = stage_of(package, tmp_path)
    write.run()
    (package / "early.py").write_text("ONE = 11\n")
    importlib.reload(sys.modules[f"{package.name}.early"])
    write.run()
    assert write.stale_because() is None


def test_code_that_is_edited_while_work_may_load_it_runs_again(package, tmp_path):
    write = stage_of(package, tmp_path)
    late = package / "late.py"
    type(write).during = lambda self: late.write_text("TWO = 22\n")
    write.run()
    assert (write.output_folder / "text").read_text() == "1 2"
    assert write.stale_because() == f"{package.name}/late.py changed while it ran"
    with pytest.raises(StalenessError, match=r"late\.py was edited after this process had loaded it"):
        write.run()


def test_code_that_is_loaded_already_may_be_edited_while_work_goes_on(package, tmp_path):
    """It is stale by the edit alone, and no more when that is taken back."""
    write = stage_of(package, tmp_path)
    early = package / "early.py"
    type(write).during = lambda self: early.write_text("ONE = 11\n")
    write.run()
    assert write.stale_because() == f"code of {package.name}/early.py changed"
    early.write_text("ONE = 1\n")
    assert write.stale_because() is None


@pytest.mark.parametrize("module", ["early", "late"])
def test_bytecode_of_earlier_code_does_not_run(package, tmp_path, monkeypatch, module):
    """Python tells by size and time, in whole seconds, whether it may run bytecode in place of a source file."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = package / f"{module}.py"
    text = file.read_text()

    def import_anew():
        importlib.invalidate_caches()
        for each in [name for name in sys.modules if name.split(".")[0] == package.name]:
            del sys.modules[each]
        importlib.import_module(f"{package.name}.stages")

    def write_at_the_same_time(words):
        file.write_text(words)
        os.utime(file, (1_700_000_000, 1_700_000_000))
        import_anew()

    write_at_the_same_time(text)
    stage_of(package, tmp_path).run()
    assert stage_of(package, tmp_path).stale_because() is None
    write_at_the_same_time(text.replace("= ", "=-"))
    write = stage_of(package, tmp_path)
    assert write.stale_because() == f"code of {package.name}/{module}.py changed"
    words = rf"Python takes the bytecode (.*\.pyc) for that of {package.name}/{module}\.py, but .*: delete it"
    with pytest.raises(StalenessError, match=words):
        write.run()
    Path(importlib.util.cache_from_source(file)).unlink()
    with pytest.raises(StalenessError, match="start a new process"):
        write.run()
    loaded._is_shadowed.cache_clear()  # as in a new process
    import_anew()
    stage_of(package, tmp_path).run()
    assert "-" in (write.output_folder / "text").read_text()
    assert stage_of(package, tmp_path).stale_because() is None


def test_bytecode_is_compared_unless_it_came_well_after_the_last_change_of_its_source(tmp_path, monkeypatch):
    file = tmp_path / "toy.py"
    file.write_text("ONE = 1\n")
    bytecode = Path(py_compile.compile(str(file)))
    compiled = noted(monkeypatch, loaded._Reader, "source_to_code")

    def compiles():
        compiled.clear()
        loaded._is_shadowed.cache_clear()
        assert loaded.stale_bytecode({"toy.py": file}) is None
        return len(compiled)

    assert compiles() == 1
    later = time.time() + 10
    os.utime(bytecode, (later, later))
    assert compiles() == 0
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "pycache_prefix", str(tmp_path / "elsewhere"))
        os.utime(py_compile.compile(str(file)), (later, later))
        assert compiles() == 1
    bytecode.unlink()
    assert compiles() == 0


def test_a_library_that_is_installed_meanwhile_is_not_what_ran(root, monkeypatch):
    versions = iter(["1.0", "2.0"])
    monkeypatch.setattr(toys.Merge, "libraries", ("some-library",))
    monkeypatch.setattr(
        "greenr_luigi.staleness.libraries._version",
        lambda name: next(versions) if name == "some-library" else None,
    )
    merge = toys.Merge(root=root)
    luigi.build(merge.deps(), local_scheduler=True, log_level="WARNING")
    merge.run()
    assert cause(root, toys.Merge) == "version of some-library: 1.0 -> 2.0"


def and_back(path):
    text = path.read_text()
    path.write_text(text + "!")
    path.write_text(text)


@pytest.mark.parametrize(
    "change", [lambda path: path.write_text("eve"), and_back, lambda path: path.unlink()]
)
def test_a_file_from_outside_that_changes_while_it_is_read(root, monkeypatch, change):
    def make(self, make=toys.Read.make):
        text = make(self)
        change(self.file)
        return text

    read = toys.Read(root=root, name="a")
    with monkeypatch.context() as patch:
        patch.setattr(toys.Read, "make", make)
        read.run()
    assert read.stale_because() == "file a changed while it ran"
    (root / "inputs" / "a").write_text("ann")
    assert build(root) == toys.ALL
    assert build(root) == []


def test_an_input_that_is_edited_by_hand_while_it_is_read(root, monkeypatch):
    build(root)

    def make(self, make=toys.Merge.make):
        text = make(self)
        and_back(toys.Read(root=self.root, name="b").output_folder / "text")
        return text

    monkeypatch.setattr(toys.Merge, "make", make)
    toys.Merge(root=root, glue="+").run()
    assert cause(root, toys.Merge, glue="+") == "output of Read(b) changed while it ran"
