"""The folder staleness/, copied alone into another project."""

import shutil
import subprocess
import sys

from greenr_luigi.about import PACKAGE

STAGES = """
import luigi

from words.fresh.stage import Stage

class Fetch(Stage):
    def reads(self):
        return {"text": self.root / "text.txt"}

    def work(self, out):
        (out / "text").write_text((self.root / "text.txt").read_text())

class CountWords(Stage):
    code = ("words.counting",)
    least = luigi.IntParameter(default=1, description="Letters that make a word.")

    def requires(self):
        return self.clone(Fetch)

    def work(self, out):
        from words.counting import count

        number = count((self.requires().output_folder / "text").read_text(), self.least)
        (out / "count").write_text(str(number))
        return {"words": number}
"""
COUNTING = "def count(text, least):\n    return sum(len(word) >= least for word in text.split())\n"
#: Luigi as its command line starts it, where nothing of the project that the folder came from can be imported.
LUIGI = "import sys; sys.modules['greenr_luigi'] = None; from luigi.cmdline import luigi_run; luigi_run()"


def test_the_folder_alone_serves_another_project(tmp_path):
    package = tmp_path / "words"
    shutil.copytree(PACKAGE / "staleness", package / "fresh", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text("")
    (package / "stages.py").write_text(STAGES)
    (package / "counting.py").write_text(COUNTING)
    data = tmp_path / "data"
    data.mkdir()
    (data / "text.txt").write_text("one two three")

    def run(*options):
        command = [sys.executable, "-c", LUIGI, "CountWords", "--module", "words.stages", "--local-scheduler"]
        command += ["--root", str(data), *options]
        result = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": "."}
        )
        return [line.split("INFO: ")[1] for line in result.stderr.splitlines() if " runs: " in line]

    assert run() == ["Fetch runs: no output yet", "CountWords runs: no output yet"]
    assert run() == []
    assert run("--least", "4") == ["CountWords runs: parameter least: 1 -> 4"]
    (data / "text.txt").write_text("one two three four")
    assert run() == [
        "Fetch runs: text was edited",
        "CountWords runs: input Fetch changed: other content, same counts",
    ]
    (package / "counting.py").write_text(COUNTING.replace(">=", ">"))
    assert run() == ["CountWords runs: code of words/counting.py changed"]
    assert run("--force", "Fetch") == ["Fetch runs: asked for: --force Fetch"]
    counts = {path.read_text() for path in data.glob("CountWords/*/count")}
    assert counts == {"1", "4"}


def test_it_names_nothing_of_this_project():
    for path in (PACKAGE / "staleness").glob("*.py"):
        assert "greenr" not in path.read_text(), path
