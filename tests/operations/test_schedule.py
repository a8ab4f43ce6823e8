"""The schedule, in a real crontab that no test shares with the machine."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from greenr_luigi import cli, luigi_cfg
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations import crontab, schedule, unit_texts, units
from greenr_luigi.operations.plan import next_time, plan
from tests.pipeline import free_port

#: Says when cron has run each of the two lines.
TOY = """
import pathlib
from greenr_luigi import settings
from greenr_luigi.stage import PipelineStage

class Toy(PipelineStage):
    role = "deployment"

    @classmethod
    def last_service(cls, root, otherwise={}):
        pathlib.Path("started").open("w")

    def work(self, out):
        with open("stage", "a") as file:
            file.write("made\\n")
        (out / "deployment.json").write_text('{"release": "0", "address": "/"}')
        pathlib.Path("ran").open("w")

STAGES = (Toy,)
settings.apply(STAGES)
"""
OTHERS = "# mine\nMAILTO=me\n0 5 * * * echo 100\\% # greenr in /elsewhere\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = tmp_path / "50% o'clock"
    made.mkdir()
    (made / "luigi.cfg").write_text("")
    monkeypatch.chdir(made)
    monkeypatch.delenv("LUIGI_CONFIG_PATH", raising=False)
    return made


def block(folder, at=None):
    return crontab.block(plan(folder, Path("data"), [], at))


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
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GREENR_")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        ["unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c", text],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_only_the_folders_own_lines_come_and_go(folder, tmp_path):
    (tmp_path / "others").write_text(OTHERS)
    script = """
        crontab ../others
        (export GREENR_FEEDBACK=1; greenr schedule install 2>&1 | tail -n 2); echo ---
        greenr schedule install >/dev/null; greenr schedule install --at 4:07 >/dev/null; crontab -l; echo ---
        greenr schedule show; echo ---
        greenr schedule remove; greenr schedule remove; crontab -l; greenr schedule show
    """
    warned, listed, shown, rest = private(script, folder).split("---\n")
    assert warned.startswith(
        "GREENR_FEEDBACK, PYTHONPATH: set here, and not where the schedule runs. GREENR_* are lines under"
    )
    assert warned.endswith("start it, as by `service cron start`\n"), "it is another machine by its processes"
    lines, _, next_run = shown.rpartition("next run: ")
    assert listed == OTHERS + lines == OTHERS + block(folder, "04:07")
    assert datetime.strptime(next_run, "%Y-%m-%d 04:07\n")
    assert (
        rest
        == f"removed\nnothing is scheduled for this folder\n{OTHERS}nothing is scheduled for this folder\n"
    )


@pytest.fixture
def table(folder, tmp_path, monkeypatch):
    """The file of a crontab command that does as cron's does."""
    table, command = tmp_path / "table", tmp_path / "bin/crontab"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\n[ "$1" = -l ] && exec cat {table}\ncat >{table}\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    table.touch()
    return table


@pytest.mark.parametrize(
    ("processes", "asleep"),
    [
        (["systemd", "cron"], False),
        (["sh", "crond"], False),
        (["sh", "python"], True),
        ([], False),  # Those of others are not shown (hidepid).
    ],
)
@pytest.mark.parametrize("action", ["install", "show"])
def test_where_no_cron_runs_that_is_said(folder, table, monkeypatch, capsys, action, processes, asleep):
    for number, name in enumerate(processes, 1):
        (folder / f"proc/{number}").mkdir(parents=True)
        (folder / f"proc/{number}/comm").write_text(f"{name}\n")
    monkeypatch.setattr(crontab, "PROCESSES", folder / "proc")
    monkeypatch.setattr(crontab, "GENERATORS", [])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    schedule.install(folder, Path("data"), [], None, False)
    assert cli.main(["schedule", action]) == 0
    assert ("no cron runs on this machine" in capsys.readouterr().err) == asleep
    assert cli.main(["schedule", "remove"]) == 0
    assert not capsys.readouterr().err, "nothing waits for it"


def test_lines_of_others_keep_their_bytes(folder, table):
    others = b'A=b\r\n0 1 * * * printf "x\ry\x0c\xff"\r\n'
    table.write_bytes(others)
    crontab.install(plan(folder, Path("data"), [], None))
    assert table.read_bytes() == others + os.fsencode(block(folder))
    assert crontab.remove(folder)
    assert table.read_bytes() == others


def test_the_dashboard_starts_with_the_machine_where_that_is_wanted(folder, table):
    schedule.install(folder, Path("data"), ["--module=toy"], "4:17", False, dashboard=True)
    _, run, page, dashboard, _ = table.read_text().splitlines()
    assert page.startswith("@reboot cd ") and page.endswith(" --module=toy start --unless-stopped")
    assert dashboard == page.replace("start --unless-stopped", "dashboard")
    assert dashboard in schedule.installed(folder)
    schedule.install(folder, Path("data"), ["--module=toy"], None, False)
    assert table.read_text().splitlines()[1:-1] == [run, page]
    schedule.install(folder, Path("data"), [], None, False, dashboard=True)
    assert schedule.remove(folder) and not table.read_text()


@pytest.mark.parametrize("edited", ["17 */6 * * *", "@daily", "#17 4 * * *", "77 4 * * *", "17 4 * * 1"])
def test_of_an_edited_line_the_next_run_is_not_told(folder, table, edited):
    mine = block(folder, "04:17").replace("17 4 * * *", edited)
    table.write_text(mine)
    assert crontab.installed(folder) == f"{mine}next run: as these lines say, which were edited\n"
    assert crontab.remove(folder) and not table.read_text()


@pytest.mark.parametrize("when", ["17 */6 * * *", "@daily", "5 4 * * 1-5", "17 4 1,15 * *"])
def test_what_a_person_has_edited_is_kept_until_another_time_is_asked_for(folder, table, when):
    begin, run, *rest = block(folder, "04:17").splitlines(keepends=True)
    edited = f"{begin}NTFY=a b=c\n{run.replace('17 4 * * *', when)}{''.join(rest)}"
    table.write_text(OTHERS + edited)
    crontab.install(plan(folder, Path("data"), [], None))
    assert table.read_text() == OTHERS + edited
    crontab.install(plan(folder, Path("data"), [], "5:06"))
    assert table.read_text() == OTHERS + edited.replace(f"{when} cd", "6 5 * * * cd")


def test_variables_that_the_schedule_runs_without_are_told(folder, table, monkeypatch):
    monkeypatch.setenv("TOPIC", "secret")
    (folder / "luigi.cfg").write_text(
        "# ${NOT}\n[notify]\nurls = ntfy://ntfy.sh/${TOPIC}, json://${TOPIC}/${KEY} json://${HOME}\n"
        "[run]\nkeep = ${KEEP}\n"
    )
    named = luigi_cfg.variables()
    assert named == {"TOPIC", "KEY", "HOME", "KEEP"}
    assert schedule.unset(folder, named) == [], "nothing is installed"
    table.write_text("TOPIC=\nKEY = x\n" + block(folder))
    assert schedule.unset(folder, named) == ["KEEP", "TOPIC"]
    table.write_text(table.read_text().replace("TOPIC=", 'TOPIC="a"'))
    assert schedule.unset(folder, named) == ["KEEP"]


def test_the_line_of_boot_is_no_time_to_run(folder, table):
    """Nor is one that a person has switched off."""
    begin, run, *rest = block(folder, "04:17").splitlines(keepends=True)
    for edited in ("", f"#{run}"):
        table.write_text("".join([begin, edited, *rest]))
        crontab.install(plan(folder, Path("data"), [], None))
        assert table.read_text() == block(folder)


@pytest.mark.parametrize("lost", [0, -1])
def test_lines_without_one_of_their_comments_do_not_double(folder, table, lost):
    lines = block(folder).splitlines(keepends=True)
    left = lines.pop(lost) and "".join(lines)
    table.write_text(left)
    new = plan(folder, Path("data"), [], None)
    for act in (
        lambda: crontab.install(new),
        lambda: crontab.remove(folder),
        lambda: crontab.installed(folder),
    ):
        with pytest.raises(
            GreenrError, match="without its other: delete it and our lines there with `crontab -e`"
        ):
            act()
    assert table.read_text() == left


@pytest.mark.slow
def test_in_the_environment_of_cron_the_lines_run(folder, tmp_path):
    """As cron does: a bare % ends the command, \\% is one, and little is set."""
    _, run, start, _, _ = crontab.block(plan(folder, Path("data"), ["--module=toy"], None)).split("\n")
    assert re.fullmatch(r"\d+ [1-5] \* \* \* cd .*", run) and start.startswith("@reboot cd ")
    assert start.endswith(" start --unless-stopped")
    (folder / "luigi.cfg").write_text("[TrainModel]\nepochs = x\n")
    command = run.split(" ", 5)[5].replace("--module=toy run", "--module=tasks status")
    assert not re.search(r"(?<!\\)%", command)
    line = command.replace(r"\%", "%")
    bare = {"HOME": "/", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "x"}
    bare["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(["/bin/sh", "-c", line], cwd="/", env=bare, text=True, capture_output=True)
    assert done.stderr == "greenr: luigi.cfg: [TrainModel] epochs x: expected a whole number, at least 1\n"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("faketime") is None, reason="no faketime: apt-get install faketime")
def test_cron_runs_the_lines(folder):
    """A real one, for which it is nearly that time. What it and faketime leave is gone with their folders."""
    (folder / "toy.py").write_text(TOY)
    (folder / "luigi.cfg").write_text(f"[Toy]\nroot = data\n[dashboard]\nboot = 1\nport = {free_port()}\n")
    told = private(
        f"""
        mount -t tmpfs none /run
        mount -t tmpfs none /dev/shm
        echo 'PYTHONPATH="{os.pathsep.join(sys.path)}"' | crontab -
        greenr --module toy schedule install --at 4:17 >/dev/null
        mkfifo started ran
        faketime -f '@2026-01-01 04:16:55' cron -f &
        timeout 60 cat started ran
        timeout 60 sh -c 'until [ -e data/dashboard/dashboard.json ]; do sleep .1; done'
        greenr --module toy dashboard
        """,
        folder,
    )
    assert (folder / "stage").read_text() == "made\n"
    assert " runs already (process " in told


def test_each_folder_has_a_time_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(tmp_path / "luigi.cfg"))
    times = {
        (made.hour, made.minute) for made in (plan(tmp_path / str(n), tmp_path, [], None) for n in range(20))
    }
    assert len(times) > 15
    assert plan(tmp_path, tmp_path, [], None) == plan(tmp_path, tmp_path, [], None)


@pytest.mark.parametrize("now, day", [((4, 16, 59), 1), ((4, 17, 0), 2), ((23, 0, 0), 2)])
def test_when_it_runs_next(now, day):
    assert next_time(4, 17, datetime(2026, 1, 1, *now)) == datetime(2026, 1, day, 4, 17)


def test_a_luigi_cfg_elsewhere_is_named(folder, monkeypatch):
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "other.cfg")
    assert f"env 'LUIGI_CONFIG_PATH={folder}/other.cfg' ".replace("%", "\\%").replace("'", "") in block(
        folder
    ).replace("'\"'\"'", "'").replace("'", "")


@pytest.mark.parametrize("at", ["24:00", "4", "04:60", "noon", "04:07\n"])
def test_a_time_that_is_none(folder, at):
    with pytest.raises(GreenrError, match="expected a time of day such as 04:17"):
        schedule.install(folder, Path("data"), [], at, False)


@pytest.mark.parametrize("options", [[], ["--systemd"]])
def test_without_luigi_cfg_cron_or_systemd_it_says_so(folder, monkeypatch, capsys, options):
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(units, "BOOTED", folder / "none")
    assert cli.main(["schedule", "install", *options]) == 1
    told = capsys.readouterr().err
    if options:
        texts = unit_texts.texts(plan(folder, folder / "data", [], None))
        assert told.startswith(
            "greenr: systemd does not run this machine: leave out --systemd and use cron. Where"
        )
        assert all(f"/{name}\n{text}" in told for name, text in texts.items())
    else:
        assert told.startswith(
            "greenr: there is no crontab on this machine: install cron, or use --systemd. Where"
        )
        assert block(folder.resolve()) in told
    assert cli.main(["schedule", "show"]) == cli.main(["schedule", "remove"]) == 0
    assert capsys.readouterr().out == "nothing is scheduled for this folder\n" * 2
    (folder / "luigi.cfg").unlink()
    assert cli.main(["schedule", "install", *options]) == 1
    assert "has no luigi.cfg: `greenr init` writes one" in capsys.readouterr().err
