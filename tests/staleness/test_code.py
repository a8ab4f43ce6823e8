"""Edits in code and other versions of libraries."""

import sys

import pytest

from greenr_luigi.staleness import code
from greenr_luigi.staleness.errors import StalenessError
from tests import toys
from tests.toys import build, cause


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
    deep = tmp_path / "toy_relative" / "deep"
    deep.mkdir(parents=True)
    (deep.parent / "__init__.py").write_text("from .top import ONE\n")
    (deep.parent / "top.py").write_text("ONE = 1\n")
    (deep.parent / "sibling.py").write_text("")
    (deep / "__init__.py").write_text("")
    (deep / "start.py").write_text("from . import near\nfrom ..sibling import nothing\n")
    (deep / "near.py").write_text("")
    (deep / "unused.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    names = code.sources(["toy_relative.deep.start"], {"toy_relative.deep.near": ()})
    assert list(names) == [
        f"toy_relative/{name}.py"
        for name in ("__init__", "deep/__init__", "deep/near", "deep/start", "sibling", "top")
    ]
