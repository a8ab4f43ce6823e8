"""The schedule, in a real crontab that no test shares with the machine."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from greenr_luigi import cli
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations import schedule

OTHERS = "# mine\nMAILTO=me\n0 5 * * * echo 100\\% # greenr in /elsewhere\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = tmp_path / "50% o'clock"
    made.mkdir()
    (made / "luigi.cfg").write_text("")
    monkeypatch.chdir(made)
    monkeypatch.delenv("LUIGI_CONFIG_PATH", raising=False)
    return made


def private(script, folder):
    """What a shell script says whose crontabs are its own."""
    if shutil.which("crontab") is None:
        pytest.skip("cron is not installed")
    places = "/var/spool/cron"
    mounting = (
        f"mount -t tmpfs none {places} && mkdir -m 1730 {places}/crontabs && chgrp crontab {places}/crontabs"
    )
    if subprocess.run(["unshare", "-m", "sh", "-c", mounting], capture_output=True).returncode != 0:
        pytest.skip("a crontab of one's own needs a mount namespace, and so root")
    greenr = shlex.join([sys.executable, "-m", "greenr_luigi.cli"])
    text = f'set -e; {mounting}; greenr() {{ {greenr} "$@"; }}; {script}'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", text], cwd=folder, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_only_the_folders_own_lines_come_and_go(folder, tmp_path):
    (tmp_path / "others").write_text(OTHERS)
    script = """
        crontab ../others
        greenr schedule install >/dev/null; greenr schedule install --at 4:07 >/dev/null; crontab -l; echo ---
        greenr schedule show; echo ---
        greenr schedule remove; greenr schedule remove; crontab -l; greenr schedule show
    """
    crontab, shown, rest = private(script, folder).split("---\n")
    assert crontab == OTHERS + shown == OTHERS + schedule.block(folder.resolve(), [], "04:07")
    assert (
        rest
        == f"removed\nnothing is scheduled for this folder\n{OTHERS}nothing is scheduled for this folder\n"
    )


@pytest.mark.slow
def test_in_the_environment_of_cron_the_lines_run(folder, tmp_path):
    """As cron does: a bare % ends the command, \\% is one, and little is set."""
    _, run, start, _, _ = schedule.block(folder, ["--module=toy"], None).split("\n")
    assert re.fullmatch(r"\d+ [1-5] \* \* \* cd .*", run) and start.startswith("@reboot cd ")
    (folder / "luigi.cfg").write_text("[TrainModel]\nepochs = x\n")
    command = run.split(" ", 5)[5].replace("--module=toy run", "--module=tasks status")
    assert not re.search(r"(?<!\\)%", command)
    line = command.replace(r"\%", "%")
    bare = {"HOME": "/", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "x"}
    bare["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(["/bin/sh", "-c", line], cwd="/", env=bare, text=True, capture_output=True)
    assert done.stderr == "greenr: luigi.cfg: [TrainModel] epochs x: expected a whole number, at least 1\n"


def test_each_folder_has_a_time_of_its_own(tmp_path):
    times = {schedule.block(tmp_path / str(n), [], None).split("\n")[1].split(" * ")[0] for n in range(20)}
    assert len(times) > 15
    assert schedule.block(tmp_path, [], None) == schedule.block(tmp_path, [], None)


def test_a_luigi_cfg_elsewhere_is_named(folder, monkeypatch):
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "other.cfg")
    assert f"env 'LUIGI_CONFIG_PATH={folder}/other.cfg' ".replace("%", "\\%").replace(
        "'", ""
    ) in schedule.block(folder, [], None).replace("'\"'\"'", "'").replace("'", "")


@pytest.mark.parametrize("at", ["24:00", "4", "04:60", "noon", "04:07\n"])
def test_a_time_that_is_none(folder, at):
    with pytest.raises(GreenrError, match="expected a time of day such as 04:17"):
        schedule.install(folder, [], at)


def test_without_luigi_cfg_or_cron_it_says_so(folder, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(folder))
    assert cli.main(["schedule", "install"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("greenr: there is no crontab on this machine: install cron. Where something else")
    assert schedule.block(folder.resolve(), [], None) in told
    (folder / "luigi.cfg").unlink()
    assert cli.main(["schedule", "install"]) == 1
    assert "has no luigi.cfg: `greenr init` writes one" in capsys.readouterr().err
