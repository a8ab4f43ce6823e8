"""The command line: every command, and what a person may type wrongly."""

import argparse
import ast
import builtins
import errno
import functools
import io
import json
import os
import re
import socket
import subprocess
import sys

import pytest
from PIL import Image

from greenr_luigi import cli
from greenr_luigi.about import PACKAGE
from greenr_luigi.commands.command import MANY, in_few
from greenr_luigi.operations import usage
from greenr_luigi.review import page
from greenr_luigi.serving import processes, rollout
from greenr_luigi.serving.processes import Running
from greenr_luigi.serving.state import WorkerState
from greenr_luigi.text import percent
from tests import tiny_release
from tests.staleness.test_regular import in_the_place_of
from tests.stamped import finish


def commands():
    """Each command's name with its own parser."""
    (group,) = [a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return group.choices


#: What a command needs besides its name.
NEEDED = {
    "accept": ["TrainModel"],
    "schedule": ["show"],
    "predict": ["x"],
    "reject": ["x"],
    "restore": ["x"],
    "relabel": ["grass", "x"],
    "add": ["grass", "x"],
}


@pytest.mark.parametrize("name", commands())
def test_root_and_module_stand_before_or_behind_a_command(name, tmp_path):
    more, parser = NEEDED.get(name, []), cli.build_parser()
    given = ["--root", str(tmp_path), "--module", "mine"]
    for argv in (
        [*given, name, *more],
        [name, *given, *more],
        [name, *more, *given],
        ["--root", "elsewhere", "--module", "theirs", name, *given, *more],
    ):
        arguments, rest = parser.parse_known_args(argv)
        assert (arguments.root, arguments.module, rest) == (tmp_path, "mine", [])
    arguments, _ = parser.parse_known_args([name, *more])
    assert not {"root", "module"} & vars(arguments).keys()


def test_an_interrupted_command_ends_without_a_traceback(monkeypatch, tmp_path, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.luigi_cfg, "check", interrupted)
    assert cli.main(["run", "--root", str(tmp_path)]) == 130
    assert capsys.readouterr() == ("", "")


def test_letters_that_the_locale_has_not_are_escaped(monkeypatch):
    with io.TextIOWrapper(io.BytesIO(), "ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        print("\u0142", file=cli.Output(out), flush=True)
        assert out.buffer.getvalue() == b"\\u0142\n"


def test_stop_takes_its_root_behind_it(tmp_path, capsys):
    assert cli.main(["stop", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no server was running\n"


@pytest.mark.parametrize("name", commands())
def test_a_root_that_cannot_be_meant_is_one_line(name, tmp_path, capsys):
    more = NEEDED.get(name, [])
    assert cli.main([name, *more, "--root", "~nobody-here/x"]) == 1
    assert capsys.readouterr().err == (
        "greenr: --root ~nobody-here/x: expected a path in full, from / on, since there is no such user\n"
    )
    file = tmp_path / "file"
    file.touch()
    assert cli.main(["--root", str(file), name, *more]) == 1
    assert capsys.readouterr().err == f"greenr: --root {file}: expected a folder; that is a file\n"


CHOOSE = "choose another --root or make it a folder"


@pytest.mark.parametrize("root", ["/proc/nope", "/proc/self/nope/x"])
@pytest.mark.parametrize("command", [["run"], ["reject", "0" * 64]])
def test_where_no_folder_can_be_made_is_one_line(command, root, capsys):
    assert cli.main([*command, "--root", root]) == 1
    said = capsys.readouterr().err
    assert said == f"greenr: {root.removesuffix('/x')}: no folder can be made there: {CHOOSE}\n"


def test_a_root_that_a_decision_makes_is_for_its_owner_alone(tmp_path):
    root = tmp_path / "data"
    assert cli.main(["reject", "0" * 64, "--root", str(root)]) == 0
    assert {path.stat().st_mode & 0o077 for path in (root, root / "curation.csv")} == {0}


def test_a_number_that_is_none_is_told_with_what_was_expected(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["prune", "--keep", "1.5", "--root", str(tmp_path)])
    assert "argument --keep: '1.5': expected a whole number, 0 or more" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--csv", "--jsonl"], ["--jsonl", "--csv"]])
def test_predict_writes_one_form_and_refuses_two(given, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "x", *given, "--root", str(tmp_path / "data")])
    said = capsys.readouterr()
    assert ended.value.code == 2 and not said.out
    assert f"argument {given[1]}: not allowed with argument {given[0]}" in said.err
    assert "[--csv | --jsonl]" in said.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["schedule", "show", "--at", "04:17"], "--at 04:17: expected with `greenr schedule install` alone"),
        (["schedule", "remove", "--systemd"], "--systemd: expected with `greenr schedule install` alone"),
        (["dashboard", "stop", "--port", "0"], "--port 0: expected with `greenr dashboard start` alone"),
        (["dashboard", "stop", "--stay"], "--stay: expected with `greenr dashboard start` alone"),
    ],
)
def test_an_option_that_would_count_for_nothing_is_refused(argv, said, tmp_path, capsys):
    assert cli.main([*argv, "--root", str(tmp_path)]) == 1
    action = argv[1]
    assert capsys.readouterr() == ("", f"greenr: {said}, and this is `{action}`: leave it out\n")


def test_of_a_server_of_another_user_only_what_can_be_seen_is_told(tmp_path, capsys, monkeypatch):
    of_another = Running(pid=7, parent=1, user=1000, workers=(WorkerState(8, 7, "a" * 16),))
    monkeypatch.setattr(processes, "servers", lambda _: [of_another])
    assert cli.main(["server", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"releases  {'a' * 16}",
        "pid       7",
        "workers   1: 8",
        f"log       {tmp_path}/server/gunicorn.log",
        "user      1000, who alone can see where it answers, and how it was started",
    ]


def test_what_a_person_has_stopped_stays_so_at_boot(tmp_path, capsys):
    (tmp_path / "server").mkdir()
    root = ["--root", str(tmp_path)]
    assert cli.main(["stop", *root]) == 0
    assert cli.main(["server", *root]) == 1
    assert "`greenr stop` has stopped it: it stays so, over a reboot too" in capsys.readouterr().err
    assert cli.main(["start", "--unless-stopped", *root]) == 0
    assert "the page stays stopped, as `greenr stop` left it" in capsys.readouterr().out
    assert cli.main(["start", *root]) == 1, "there is no release"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["rollback"], "nothing to roll back to"),
        (["prune", "--keep", "-1"], "--keep -1: expected 0 or more outputs a stage"),
        (["reject", "nowhere.jpg"], "nowhere.jpg is no file and no sha256"),
        (["add", "grass", "nowhere.jpg"], "nowhere.jpg cannot be read"),
        (["relabel", "", "nowhere.jpg"], "is empty"),
        (["reject", "a" * 300], "its name is too long: give a shorter one"),
        (
            ["add", "grass", "."],
            ". cannot be read (it is a folder, where a file is expected): give a picture's file",
        ),
        (["add", "grass", __file__], "this is a text, which is not read"),
        (["restore", "0123456789abcdef"], "0123456789abcdef names 0 of the 0 pictures"),
        (["accept", "TrainModel"], "TrainModel has no output of these parameters to accept"),
        (
            ["accept", "DownloadImages(grass)"],
            "DownloadImages(grass) has no output of these parameters to accept",
        ),
        (["accept", "TrainModle"], "TrainModle is no stage: did you mean TrainModel?"),
        (["status", "--epochs", "0"], "--epochs 0: expected a whole number, at least 1"),
        (["status", "core"], "core is no stage of tasks"),
        (["status", "DownloadImages"], "requires the 'label' parameter to be set"),
        (["status", "TrainModle"], "TrainModle is no stage: did you mean TrainModel?"),
        (["status", "DeployApp", "--epochs", "0"], "--epochs 0: expected a whole number, at least 1"),
        (["status", "--module", "no.such.module"], "--module no.such.module"),
        (["status", "--module", "./mine.py"], "expected the name of a Python module, such as tasks"),
        (["status", "--module", "json"], "json/__init__.py has no STAGES: is it in the way of another json?"),
    ],
)
def test_what_a_person_can_mend_is_one_line(argv, message, tmp_path, capsys):
    assert cli.main(["--root", str(tmp_path / "data"), *argv]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf"greenr: .*{re.escape(message)}", line)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = \n", "{path}, line 1: invalid syntax: mend it"),
        ("x = 1\0\n", "{name}: source code string cannot"),
    ],
)
def test_what_is_wrong_with_a_module_of_stages_is_one_line(text, line, tmp_path, monkeypatch, capsys):
    path = tmp_path / "my_stages.py"
    path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert cli.main(["status", "--module", path.stem, "--root", str(tmp_path / "data")]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"greenr: {line.format(path=path, name=path.stem)}")


@pytest.mark.parametrize(("text", "error"), [("1 + None", TypeError), ("int('x')", ValueError)])
def test_a_fault_in_a_module_of_stages_is_a_traceback(text, error, tmp_path, monkeypatch):
    (tmp_path / "faulty_stages.py").write_text(f"import tasks\n{text}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error):
        cli.main(["status", "--module", "faulty_stages", "--root", str(tmp_path / "data")])


@pytest.mark.slow
def test_a_module_of_ones_own_goes_before_ours_and_that_is_one_line(tmp_path):
    """Where Python looks in the working directory first."""
    (tmp_path / "tasks.py").write_text("x = 1\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{PACKAGE.parent}"}
    command = [sys.executable, "-m", "greenr_luigi.cli", "status"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    line = f"--module tasks: {tmp_path}/tasks.py has no STAGES: is it in the way of another tasks?"
    assert run.returncode == 1 and run.stderr.startswith(f"greenr: {line}"), run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_one_line(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["--root", str(tmp_path), "review", "--port", port]) == 1
    assert f"greenr: cannot listen on 127.0.0.1:{port}: process {os.getpid()} (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "no permission: mend its permissions, or choose another --root"),
        (errno.ENOSPC, "the disk is full: free some space (`greenr prune`"),
        (errno.EROFS, "the file system is read-only: choose another --root"),
    ],
)
def test_what_the_operating_system_refuses_is_told_with_its_remedy(
    number, remedy, tmp_path, monkeypatch, capsys
):
    def refused(*_):
        raise OSError(number, os.strerror(number), "a-file")

    monkeypatch.setattr(usage, "usage", refused)
    assert cli.main(["--root", str(tmp_path), "usage"]) == 1
    assert capsys.readouterr().err.startswith(f"greenr: a-file: {remedy}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "unbuffered"), [(["history", "--root", "/nonexistent"], ""), (["--help"], "1")]
)
def test_a_standard_output_that_cannot_be_written(command, unbuffered):
    """A full disk is told; a reader who has seen enough, as `head`, is no fault, nor is nobody (`>&-`)."""
    command = [sys.executable, "-m", "greenr_luigi.cli", *command]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    reads, broken = os.pipe()
    os.close(reads)
    full = os.open("/dev/full", os.O_WRONLY)
    words = "greenr: the standard output cannot be written (No space left on device): mend that\n"
    for output, told in ((full, (1, words)), (broken, (141, "")), (None, (0, ""))):
        close = None if output else functools.partial(os.close, 1)
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=close
        )
        assert (done.returncode, done.stderr) == told
        if output:
            os.close(output)


def test_a_full_disk_is_one_line_where_the_system_names_no_file(tmp_path, monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    picture = tmp_path / "lawn.png"
    Image.new("RGB", (320, 320), "green").save(picture)
    for words, file in (
        (["reject", str(picture)], "curation.csv"),
        (["add", "grass", str(picture)], "added/grass/"),
    ):
        assert cli.main(["--root", str(tmp_path / "data"), *words]) == 1
        said = capsys.readouterr().err
        assert (
            said.startswith(f"greenr: {tmp_path}/data/{file}") and "the disk is full: free some space" in said
        )


@pytest.mark.parametrize("fault", [ValueError("a bug"), FileNotFoundError(errno.ENOENT, "a bug", "x")])
def test_a_fault_of_the_program_is_a_traceback(fault, tmp_path, monkeypatch):
    def broken(*_):
        raise fault

    monkeypatch.setattr(usage, "usage", broken)
    with pytest.raises(type(fault), match="a bug"):
        cli.main(["--root", str(tmp_path), "usage"])


@pytest.mark.parametrize(
    ("argv", "stages"),
    [
        (["status"], 7),
        (["status", "--epochs", "20"], 7),
        (["status", "TrainModel", "--epochs", "20"], 4),
        (["status", "SplitDataset", "--seed=1"], 3),
    ],
)
def test_status_takes_a_stage_and_parameters_as_luigi_does(argv, stages, tmp_path, capsys):
    assert cli.main([*argv, "--root", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == stages


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("status", r"DownloadImages\(c00\) and 39 more  stale +no output yet"),
        ("usage", r" +0.0 MB  .+  DownloadImages\(c39\) and 39 more  DownloadImages/\S+ ..."),
        ("history", r" +- DownloadImages\(c00\) and 39 more  first: made  2.0 s  pictures 12"),
    ],
)
def test_many_classes_of_which_the_same_is_to_be_told_share_a_line(command, line, tmp_path, capsys):
    root, labels = tmp_path / "data", [f"c{number:02}" for number in range(40)]
    for number, label in enumerate(labels):
        (tmp_path / "mine" / label).mkdir(parents=True)
        (tmp_path / "mine" / label / "1.jpg").touch()
        if command == "usage":
            finish(root, f"DownloadImages({label})", number)
    root.mkdir(exist_ok=True)
    told = {"kind": "stage", "outcome": "made", "seconds": 2, "ended": "2026", "summary": {"pictures": 12}}
    (root / "history.jsonl").write_text(
        "\n".join(json.dumps({**told, "name": f"DownloadImages({label})"}) for label in labels)
    )
    options = [f"--folder={tmp_path / 'mine'}"] * (command == "status")
    assert cli.main([command, "--root", str(root), *options]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) < 10
    assert any(re.fullmatch(line, each) for each in said), said


def test_many_rows_are_told_together_as_finely_as_fits():
    def words(count, kinds):
        rows = [(f"Stage({number})", number % kinds) for number in range(count)]
        alike = (lambda row: row[1], lambda row: row[1] < 2)
        return [
            (name, len(group)) for name, group in in_few([*rows, ("Last", 0)], lambda row: row[0], *alike)
        ]

    assert words(MANY, 2) == [*((f"Stage({number})", 1) for number in range(MANY)), ("Last", 1)]
    assert words(99, 3)[0] == ("Stage(0) and 32 more", 33) and len(words(99, 3)) == 4
    assert words(2000, 1000) == [("Stage(0) and 3 more", 4), ("Stage(2) and 1,995 more", 1996), ("Last", 1)]


#: Errors that derive from nothing of ours: signals between a function and its caller, which no person sees.
INTERNAL = {
    "Interrupted": "a source that broke off after some pictures; collecting goes on with those",
    "Unavailable": "a picture that cannot be loaded; becomes a line of rejected.jsonl",
    "Unfetched": "nothing from an address; becomes Unavailable in the crawl, and the page's own refusal",
    "TooMany": "a ValueError in the parser of requests, which ends the connection",
    "ForbiddenAddress": "an OSError, as aiohttp's resolvers raise; becomes the page's own refusal",
    "LockTimeoutError": "an OSError: what could not be had may be had later",
    "NotAFileError": "an OSError, as of a folder in the place of a file",
    "NoLocksError": "an OSError, as of a file system whose locks hold nobody back",
    "StalenessError": "the root of a room that is made to be lifted out of this project",
}


def test_releases_are_listed_with_what_a_choice_between_them_needs(tmp_path, capsys):
    store = tmp_path / "releases"
    first, second, third = (tiny_release.deploy(store, variant) for variant in range(3))
    rollout.point(store, second)
    (store / third / "model.json").unlink()
    assert cli.main(["releases", "--root", str(tmp_path)]) == 0
    words = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    metrics = tiny_release.METRICS
    told = f"accuracy {percent(metrics.accuracy, 1)} of {metrics.pictures.test} held-out pictures"
    assert re.fullmatch(rf"{first}  \d{{4}}-\d\d-\d\d \d\d:\d\d  {told}", words[first])
    assert words[second].endswith(f"{told}  serves now")
    assert words[third].endswith("its model.json cannot be read")


@pytest.mark.slow
def test_every_error_of_ours_has_one_root():
    bases = {
        node.name: [ast.unparse(base).split(".")[-1] for base in node.bases]
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and "TypedDict" not in map(ast.unparse, node.bases)
    }

    def ancestors(name):
        # A class may have the name of the library's that it derives from.
        return {name}.union(*(ancestors(base) for base in bases.get(name, []) if base != name))

    def is_builtin_error(name):
        return isinstance(found := getattr(builtins, name, None), type) and issubclass(found, BaseException)

    errors = {name for name in bases if name.endswith("Error") or any(map(is_builtin_error, ancestors(name)))}
    assert len(errors) > 15
    astray = {name for name in errors if not ancestors(name) & {"GreenrError", *INTERNAL}}
    assert not astray
    assert not INTERNAL.keys() - errors, "no longer there"


#: By place: commands that look there, besides those that look everywhere.
PLACES = {
    "data-root.json": [["prune"], ["run"]],
    "data-root.lock": [["prune"], ["rollback"]],
    "curation.csv": [["review"], ["reject", "0" * 64], ["restore", "0" * 64]],
    "history.jsonl": [["history"]],
    "feedback/feedback.jsonl": [["review"]],
    "releases/history.jsonl": [["releases"], ["rollback"]],
    "releases/current": [["releases"], ["rollback"]],
    "server": [["server"], ["stop"], ["prune"]],
    "server/workers/1.json": [["server"]],
    "DeployApp/000000000001": [["prune"]],
    "DeployApp/000000000001/deployment.json": [["prune"]],
    "DeployApp/000000000001/stamp.json": [["prune"]],
    "DeployApp/000000000001.lock": [["prune"]],
    "TrainModel": [["prune"]],
}


def test_a_history_in_which_somebody_has_written_is_printed(tmp_path, capsys):
    line = {"kind": "run", "name": "DeployApp", "outcome": "deployed", "seconds": 1, "ended": "yesterday"}
    (tmp_path / "history.jsonl").write_text(json.dumps({**line, "summary": {"accuracy": "good"}}))
    assert cli.main(["history", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "yesterday  deployed  1.0 s  accuracy good\n"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "circle"])
@pytest.mark.parametrize("name", PLACES)
def test_what_lies_in_the_place_of_a_file_is_one_line_and_stays(name, kind, tmp_path, capsys, monkeypatch):
    """Whatever a command reads or writes: no traceback, nothing waited for, and nothing of it lost."""
    finish(tmp_path, "DeployApp", 1)
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True, parents=True)
    if place.is_file() or place.is_symlink():
        place.unlink()
    in_the_place_of(place, kind)
    before = place.lstat()
    monkeypatch.setattr(page, "serve", lambda *_: None)
    for command in (["status"], ["usage"], *PLACES[name]):
        status = cli.main([*command, "--root", str(tmp_path)])
        said = capsys.readouterr().err
        assert status == 0 or re.fullmatch(r"greenr: .+: .+\n", said), (command, said)
    assert place.lstat().st_ino == before.st_ino
