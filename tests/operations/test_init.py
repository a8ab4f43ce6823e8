"""A luigi.cfg with just the lines that a person asked for."""

import os
import re
import subprocess
import sys

import pytest

from greenr_luigi import cli
from greenr_luigi.errors import GreenrError, SettingError
from greenr_luigi.operations.init import init

ASKED = [
    "--classes",
    '["50% off", "b, c"]',
    '--queries={"b, c": "words"}',
    "--source",
    "sample",
    "--margin=1",
]


def lines(path):
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def test_each_line_stands_under_the_stage_that_owns_it_with_its_reason(tmp_path):
    path = init(tmp_path / "new" / "folder", ASKED)
    assert lines(path) == [
        *("[DownloadImages]", "source = sample"),
        *("[SplitDataset]", 'classes = ["50%% off", "b, c"]', 'queries = {"b, c": "words"}'),
        *("[DeployApp]", "margin = 1.0"),
        "[notify]",
    ]
    text = path.read_text()
    assert all(re.search(rf"^# .+\n{name} = ", text, re.M) for name in ("source", "classes", "margin"))
    assert "permitted values" not in text


@pytest.mark.slow
def test_luigi_and_greenr_need_no_parameter_there(tmp_path):
    init(tmp_path, ASKED)
    for command, words in (
        (["luigi", "--module", "tasks", "DeployApp", "--help"], "--margin"),
        (["greenr_luigi.cli", "status"], "DownloadImages(50% off)  stale"),
    ):
        run = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert run.returncode == 0 and words in run.stdout, run.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--classes is missing: name what is to be told apart"),
        (["--epochs", "3"], "--classes is missing"),
        (["--classes", "a"], "--classes a: expected two or more different names"),
        (["--clases", "a,b"], "--clases is no parameter of DeployApp: did you mean --classes?"),
        (["--classes", "a,b", "--source", "bin"], "did you mean bing?"),
        (["--classes", "a,${HOME}"], "--classes ${HOME},a: cannot be written in luigi.cfg"),
    ],
)
def test_what_is_not_valid_is_refused_and_nothing_written(tmp_path, options, words):
    with pytest.raises(SettingError, match=re.escape(words)):
        init(tmp_path / "new", options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays(tmp_path):
    (tmp_path / "luigi.cfg").symlink_to("elsewhere")
    with pytest.raises(
        GreenrError, match=re.escape(f"{tmp_path}/luigi.cfg is there already: edit it, or name")
    ):
        init(tmp_path, ASKED)
    assert (tmp_path / "luigi.cfg").is_symlink()


def test_greenr_init(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "my folder", "--root", "pictures", *ASKED]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "my folder/luigi.cfg is written. Next:",
        *("  cd 'my folder'", "  luigi --module tasks DeployApp", "  greenr status"),
    ]
    assert f"root = {tmp_path / 'pictures'}" in lines(tmp_path / "my folder" / "luigi.cfg")
    assert cli.main(["init", "my folder", *ASKED]) == 1
    # Not the folder of that name.
    assert cli.main(["init", "--classes", "ripe,unripe"]) == 0
    assert "classes = ripe,unripe" in lines(tmp_path / "luigi.cfg")
