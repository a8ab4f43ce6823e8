"""The folder staleness/, lifted into another project as docs/staleness.md says, in whatever layout that has."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenr_luigi.about import PACKAGE

pytestmark = pytest.mark.slow

DOCUMENT = (PACKAGE.parent / "docs" / "staleness.md").read_text().partition("## In a project of your own")[2]
BLOCKS = dict(re.findall(r"```(\w+)\n(.*?)```", DOCUMENT, re.DOTALL))
COUNTING = """
from {package}.rules import longer

def count(words, stop_words, least):
    return sum(longer(word, least) for word in words if word not in stop_words)
"""
RULES = "def longer(word, least):\n    return len(word) >= least\n"
#: Luigi as its command line starts it, where nothing of the project that the folder came from can be imported.
LUIGI = """
import site, sys
sys.modules['greenr_luigi'] = None
for folder in {folders}:
    site.addsitedir(folder)
    sys.path.insert(0, folder)
from luigi.cmdline import luigi_run
luigi_run()
"""
SETUP = """
from setuptools import setup
packages = ["mine", "mine.staleness"]
setup(name="mine", version="1", packages=packages, package_dir={package_dir})
"""
FIRST = ["FindWords runs: no output yet", "CountWords runs: no output yet"]


class Project:
    """A project whose package lies in `code`, and is found in the `folders` of Python's path."""

    def __init__(self, home: Path, code: Path, package: str = "mine", init: bool = True) -> None:
        self.home, self.code, self.package, self.folders = home, code, package, [str(home)]
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE / "staleness", code / "staleness", ignore=ignored)
        if init:
            (code / "__init__.py").write_text("")
        self.write("stages.py", BLOCKS["python"])
        self.write("counting.py", COUNTING.format(package="mine"))
        self.write("rules.py", RULES)
        (home / "luigi.cfg").write_text(BLOCKS["ini"])
        (home / "text.txt").write_text("one two three of")
        (home / "stop.txt").write_text("of")

    def write(self, name: str, text: str) -> None:
        (self.code / name).write_text(text.replace("mine.", f"{self.package}."))

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.code / name).read_text()
        assert old in text
        (self.code / name).write_text(text.replace(old, new))

    def install(self, package_dir: dict[str, str], *options: str) -> None:
        """As pip does, beside this environment and not into it."""
        (self.home / "setup.py").write_text(SETUP.format(package_dir=package_dir))
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run([*command, *options], cwd=self.home, check=True, capture_output=True, timeout=120)

    def luigi(self, *options: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = shlex.split(BLOCKS["sh"].replace("mine.", f"{self.package}."))
        assert program == "luigi"
        command = [sys.executable, "-c", LUIGI.format(folders=self.folders), *arguments, *options]
        return subprocess.run(
            command, cwd=self.home, capture_output=True, text=True, env={"PATH": "/usr/bin"}
        )

    def run(self, *options: str) -> list[str]:
        """What runs, and why."""
        result = self.luigi(*options)
        assert result.returncode == 0, result.stderr
        return [line.split("INFO: ")[1] for line in result.stderr.splitlines() if " runs: " in line]


def check(project: Project) -> None:
    """It sees what changes, and only that."""
    name = project.package.replace(".", "/")
    assert project.run() == FIRST
    project.edit("stages.py", "import luigi\n", "import luigi\n# a comment\n")
    assert project.run() == []
    project.edit("rules.py", ">= least", "> 3")
    assert project.run() == [f"CountWords runs: code of {name}/rules.py changed"]
    counts = {path.read_text() for path in project.home.glob("data/CountWords/*/count.txt")}
    assert counts == {"1"}


def test_flat(tmp_path):
    project = Project(tmp_path, tmp_path / "mine")
    check(project)
    assert project.run("--least", "4") == ["CountWords runs: parameter least: 1 -> 4"]
    (tmp_path / "text.txt").write_text("one two three four of")
    assert project.run() == [
        "FindWords runs: output 1 of Text() was edited",
        "CountWords runs: input FindWords changed: other content, same counts",
    ]
    (tmp_path / "stop.txt").write_text("of one")
    assert project.run() == ["CountWords runs: stop words was edited"]
    assert project.run("--force", "FindWords") == ["FindWords runs: asked for: --force FindWords"]
    (tmp_path / "text.txt").unlink()
    assert project.luigi().returncode == 20


def test_src_layout(tmp_path):
    project = Project(tmp_path, tmp_path / "src" / "mine")
    project.folders = [str(tmp_path / "src")]
    check(project)


@pytest.mark.parametrize("package_dir", [{"": "src"}, {"mine": "source/code"}])
def test_editable(tmp_path, package_dir):
    """The second: a package that lies in a folder of another name."""
    code = tmp_path / package_dir.get("mine", "src/mine")
    project = Project(tmp_path, code)
    project.install(package_dir, "--prefix", str(tmp_path / "env"), "-e", ".")
    project.folders = [str(path) for path in tmp_path.glob("env/**/site-packages")]
    check(project)


def test_wheel(tmp_path):
    project = Project(tmp_path, tmp_path / "src" / "mine")
    project.install({"": "src"}, "--target", str(tmp_path / "installed"), ".")
    project.folders, project.code = [str(tmp_path / "installed")], tmp_path / "installed" / "mine"
    check(project)


def test_namespace_package(tmp_path):
    """One without __init__, another part of which lies elsewhere and comes first."""
    (tmp_path / "other" / "company" / "unrelated").mkdir(parents=True)
    project = Project(tmp_path, tmp_path / "company" / "words", "company.words", init=False)
    project.folders = [str(tmp_path), str(tmp_path / "other")]
    check(project)


def test_main(tmp_path):
    """As in a notebook, or a script."""
    project = Project(tmp_path, tmp_path / "mine")
    script = BLOCKS["python"] + "\nluigi.build([CountWords()], local_scheduler=True)\n"
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, "script.py"]
    result = subprocess.run(command, cwd=project.home, capture_output=True, text=True)
    words = (
        "CountWords: it is defined in a script or a notebook, whose edits cannot be seen: move it to a module"
    )
    assert words in result.stderr and " runs: " not in result.stderr
    assert not list(tmp_path.glob("data/*Words/*"))


def test_it_names_nothing_of_this_project():
    for path in (PACKAGE / "staleness").glob("*.py"):
        assert "greenr" not in path.read_text(), path
