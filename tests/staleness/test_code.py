"""Edits in code and other versions of libraries."""

import importlib
import sys
import textwrap

import pytest

from greenr_luigi.staleness import code, libraries, loaded, modules
from greenr_luigi.staleness.errors import StalenessError
from tests import toys
from tests.noted import noted
from tests.toys import build, cause


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def test_code(root, monkeypatch, tmp_path):
    package = tmp_path / "toy_package"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "__init__.py").write_text("")
    (package / "counting.py").write_text(
        "def count():\n    from toy_package.deep import inner\n    return inner.ONE\n"
    )
    (package / "deep" / "inner.py").write_text("import json\nONE = 1\n")
    (package / "other.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(toys.Count, "code", ("toy_package.counting",))
    assert "toy_package" not in sys.modules
    build(root)
    assert set(toys.Count(root=root).stamp().code) == {
        "tests/toys.py", "toy_package/__init__.py", "toy_package/counting.py", "toy_package/deep/__init__.py",
        "toy_package/deep/inner.py",
    }  # fmt: skip
    (package / "other.py").write_text("ONE = 2")
    (package / "deep" / "inner.py").write_text("import json\n\n# a comment\nONE  =  1\n")
    assert build(root) == []
    (package / "deep" / "inner.py").write_text("from toy_package import other\nONE = 1\n")
    assert cause(root, toys.Count) == "code of toy_package/deep/inner.py changed"
    assert build(root) == ["Count"]
    (package / "other.py").write_text("ONE = 3")
    assert cause(root, toys.Count) == "code of toy_package/other.py changed"
    (package / "other.py").unlink()
    assert cause(root, toys.Count) == "code of toy_package/other.py is gone"
    monkeypatch.setattr(toys.Count, "code", ("toy_package.deep",))
    (package / "counting.py").write_text("")
    assert build(root) == ["Count"]
    assert not [name for name in sys.modules if name.startswith("toy_package")]
    monkeypatch.setattr(toys.Count, "code", ("toy_package.nothing",))
    (package / "deep" / "inner.py").write_text("ONE = 4")
    with pytest.raises(StalenessError, match=r"no module 'toy_package\.nothing'"):
        cause(root, toys.Count)


def test_nothing_is_parsed_while_no_source_has_changed_and_none_has_come(root, monkeypatch, tmp_path):
    package = tmp_path / "toy_whole"
    write(package, {"__init__.py": "", "inner.py": "ONE = 1\n"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(toys.Count, "code", ("toy_whole",))
    parsed = noted(monkeypatch, code, "parse")

    def sources_when_run_again(text):
        for known in (code.trace, code._imports_of, code._classes):
            known.cache_clear()  # As in a new process.
        parsed.clear()
        (root / "inputs" / "a").write_text(text)
        assert "Count" in build(root)
        return [name for name in toys.Count(root=root).stamp().code if name.startswith("toy_whole/")]

    inner = "toy_whole/inner.py"
    assert sources_when_run_again("adam") == ["toy_whole/__init__.py", inner] and parsed
    assert sources_when_run_again("magdalena") == ["toy_whole/__init__.py", inner] and not parsed
    write(package, {"new.py": "TWO = 2\n"})
    assert sources_when_run_again("eve") == ["toy_whole/__init__.py", inner, "toy_whole/new.py"] and parsed
    write(package, {"inner.py": "ONE = 2\n"})
    parsed.clear()
    assert build(root) == ["Count"] and package / "inner.py" in parsed


def test_a_source_is_parsed_once_for_all_that_is_asked_of_its_imports(monkeypatch, tmp_path):
    write(tmp_path / "toy_parsed", {"__init__.py": "", "inner.py": "import json\n"})
    monkeypatch.syspath_prepend(tmp_path)
    parsed = noted(monkeypatch, code, "parse")
    files = code.sources(["toy_parsed"])
    assert ("json", None) in code.imported_by(files)
    assert sorted(parsed) == sorted(files.values())


def test_code_in_a_module_of_its_own_and_in_a_package_without_init(root, monkeypatch, tmp_path):
    (tmp_path / "toy_single.py").write_text("ONE = 1\n")
    (tmp_path / "toy_bare").mkdir()
    (tmp_path / "toy_bare" / "inner.py").write_text("ONE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(toys.Count, "code", ("toy_single", "toy_bare.inner"))
    build(root)
    assert set(toys.Count(root=root).stamp().code) == {
        "tests/toys.py",
        "toy_bare/inner.py",
        "toy_single.py",
    }
    for name in ("toy_single.py", "toy_bare/inner.py"):
        (tmp_path / name).write_text("ONE = 2\n")
        assert cause(root, toys.Count) == f"code of {name} changed"
        assert build(root) == ["Count"]
    monkeypatch.setattr(toys.Count, "__module__", "__main__")
    with pytest.raises(
        StalenessError, match=r"it is defined in a script or a notebook, .* move it to a module"
    ):
        toys.Count(root=root, times=2).run()


def test_relative_imports_are_followed(monkeypatch, tmp_path):
    files = {
        "__init__.py": "from .top import ONE\n",
        "top.py": "ONE = 1\n",
        "sibling.py": "",
        "deep/__init__.py": "",
        "deep/start.py": "from . import near\nfrom ..sibling import nothing\n",
        "deep/near.py": "",
        "deep/unused.py": "",
    }
    write(tmp_path / "toy_relative", files)
    monkeypatch.syspath_prepend(tmp_path)
    names = code.sources(["toy_relative.deep.start"], {"toy_relative.deep.near": ()})
    assert list(names) == [
        f"toy_relative/{name}.py"
        for name in ("__init__", "deep/__init__", "deep/near", "deep/start", "sibling", "top")
    ]


def test_what_defines_a_stage_shapes_it(monkeypatch, tmp_path):
    """Its module and the base class that has its `work`, with what these import; not other tasks."""
    files = {
        "toy_own/__init__.py": "",
        "toy_own/helper.py": "from toy_own import deeper\n",
        "toy_own/deeper.py": "",
        "toy_own/foreign.py": "ONE = 1\n",
        "toy_own/unused.py": "",
        "toy_own/base.py": """
            from greenr_luigi.staleness.stage import Stage
            class Base(Stage):
                def work(self, out):
                    from . import used_by_base
            """,
        "toy_own/used_by_base.py": "",
        "toy_own/fetch.py": """
            from greenr_luigi.staleness.stage import Stage
            from toy_own.foreign import ONE
            class Fetch(Stage):
                pass
            """,
        "toy_own/parse.py": "from toy_own.fetch import Fetch\ndef parse(): pass\n",
        "toy_own/stages.py": """
            from toy_own.base import Base
            from toy_own.fetch import Fetch
            from toy_own import helper
            from toy_own.parse import parse
            class Other(Base):
                def work(self, out):
                    from toy_own import unused
            class OfItsOwn(Base):
                pass
            """,
    }
    write(tmp_path, files)
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module("toy_own.stages").OfItsOwn
    names = ("base", "deeper", "helper", "parse", "stages", "used_by_base")
    assert list(code.sources((), own.own_classes())) == [f"toy_own/{name}.py" for name in names]
    other = importlib.import_module("toy_own.stages").Other
    assert "toy_own/unused.py" in code.sources((), other.own_classes())
    assert "toy_own/__init__.py" in code.sources(["toy_own.deeper"], own.own_classes())


def test_code_that_cannot_be_parsed_is_told_with_the_line(root, monkeypatch, tmp_path):
    (tmp_path / "toy_broken.py").write_text("ONE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(toys.Count, "code", ("toy_broken",))
    build(root)
    (tmp_path / "toy_broken.py").write_text("\nONE = = 1\n")
    with pytest.raises(StalenessError, match=r"toy_broken\.py, line 2: invalid syntax: mend it"):
        cause(root, toys.Count)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"\nONE = = 1\n", r"toy_broken\.py, line 2: invalid syntax: mend it"),
        (b"ONE = 1\0\n", r"toy_broken\.py: source code string cannot contain null bytes: mend it"),
        (b"# coding: morse\n", r"toy_broken\.py: unknown encoding: morse: mend it"),
    ],
)
def test_code_that_cannot_be_parsed_is_not_accepted(root, monkeypatch, tmp_path, source, words):
    class OwnError(Exception):
        pass

    (tmp_path / "toy_broken.py").write_text("ONE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(toys.Count, "code", ("toy_broken",))
    monkeypatch.setattr(toys.Count, "error", OwnError)
    build(root)
    (tmp_path / "toy_broken.py").write_bytes(source)
    with pytest.raises(OwnError, match=words):
        toys.Count(root=root).accept()


def test_imports_by_a_literal_name_are_followed(monkeypatch, tmp_path):
    package = tmp_path / "toy_literal"
    package.mkdir()
    lines = [
        "import importlib, json",
        "from importlib import import_module as load",
        "importlib.import_module('toy_literal.a')",
        "def later():",
        "    importlib.import_module('.b', 'toy_literal')",
        "    load('.c', __package__)",
        "    load(name='toy_literal.d')",
        "    __import__('toy_literal.e')",
        "    load('..beyond')",
        "    load(later), load(), later('toy_literal.f')",
    ]
    (package / "start.py").write_text("\n".join(lines))
    for name in ("__init__", *"abcdef"):
        (package / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    names = [f"toy_literal/{name}.py" for name in ("__init__", *"abcde", "start")]
    assert list(code.sources(["toy_literal.start"])) == names


def test_a_namespace_in_a_package_that_is_not_imported_is_found(tmp_path, monkeypatch):
    files = {
        "__init__.py": "",
        "start.py": "import toy_nested.deep.er.one",
        "deep/er/one.py": "from . import two",
        "deep/er/two.py": "",
    }
    write(tmp_path / "toy_nested", files)
    monkeypatch.syspath_prepend(tmp_path)
    names = ["__init__.py", "deep/er/one.py", "deep/er/two.py", "start.py"]
    assert [*code.sources(["toy_nested.start"])] == [f"toy_nested/{name}" for name in names]


def test_what_lies_in_no_package_is_of_one_project_with_what_lies_beside_it(tmp_path, monkeypatch):
    files = {
        "toy_script.py": "import json, numpy, toy_helper, toy_elsewhere, toy_lib.deep\nfrom toy_ns import x",
        "toy_helper.py": "def f():\n    import toy_late",
        "toy_late.py": "import toy_helper",
        "toy_lib/__init__.py": "",
        "toy_lib/deep.py": "import toy_unseen",
        "toy_ns/x.py": "",
        "toy_unseen.py": "",
        "elsewhere/toy_elsewhere.py": "",
    }
    write(tmp_path, files)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(tmp_path)
    found = code.sources([], {"toy_script": {"Stage"}})
    assert [*found] == ["toy_helper.py", "toy_late.py", "toy_lib/deep.py", "toy_ns/x.py", "toy_script.py"]
    assert {"json", "toy_helper"} & libraries.imported(found) == set()
    recorded = code.snapshot(found)
    importlib.import_module("toy_late")
    loaded.note({"toy_script"})
    (tmp_path / "toy_late.py").write_text("import toy_helper\nx = 1")
    assert loaded.edited(code.snapshot(found)) == "toy_late.py"
    assert code.changed(recorded, [], {"toy_script": {"Stage"}}) == "code of toy_late.py changed"
    del sys.modules["toy_late"], sys.modules["toy_helper"]
    # Those of installed distributions lie beside each other, too.
    assert not modules.is_of_one_project("six", "pytest") and not modules.is_of_one_project(
        "typing_extensions", "luigi"
    )
