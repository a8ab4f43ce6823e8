"""The command line: every command, and what a person may type wrongly."""

import argparse
import re
import socket

import pytest

from greenr_luigi import cli
from greenr_luigi.errors import GreenrError


def commands():
    """Each command's name with its own parser."""
    (group,) = [a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return group.choices


#: What a command needs besides its name.
NEEDED = {"reject": ["x"], "restore": ["x"], "relabel": ["grass", "x"], "add": ["grass", "x"]}


@pytest.mark.parametrize("name", commands())
def test_the_root_stands_before_or_behind_a_command(name, tmp_path):
    more = NEEDED.get(name, [])
    for argv in (
        ["--root", str(tmp_path), name, *more],
        [name, "--root", str(tmp_path), *more],
        ["--root", "elsewhere", name, "--root", str(tmp_path), *more],
    ):
        assert cli.build_parser().parse_known_args(argv)[0].root == tmp_path
    assert cli.build_parser().parse_known_args([name, *more])[0].root is None


def test_stop_takes_its_root_behind_it(tmp_path, capsys):
    assert cli.main(["stop", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no server was running\n"


@pytest.mark.parametrize(
    "argv", [["--root", "~nobody-here/x", "usage"], ["usage", "--root", "~nobody-here/x"]]
)
def test_the_home_of_nobody_is_refused_in_a_line(argv, capsys):
    with pytest.raises(SystemExit):
        cli.main(argv)
    assert "'~nobody-here/x': there is no such user" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["rollback"], "nothing to roll back to"),
        (["prune", "--keep", "-1"], "--keep -1: expected 0 or more outputs a stage"),
        (["reject", "nowhere.jpg"], "nowhere.jpg is no file and no sha256"),
        (["add", "grass", "nowhere.jpg"], "nowhere.jpg cannot be read"),
        (["relabel", "", "nowhere.jpg"], "is empty"),
        (["status", "TrainModle"], "TrainModle is no stage: did you mean TrainModel?"),
        (["status", "DeployApp", "--epochs", "0"], "--epochs 0: expected a whole number, at least 1"),
        (["status", "--module", "no.such.module"], "--module no.such.module"),
        (["status", "--module", "json"], "--module json"),
    ],
)
def test_what_a_person_can_mend_is_one_line(argv, message, tmp_path, capsys):
    assert cli.main(["--root", str(tmp_path / "data"), *argv]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf"greenr: .*{re.escape(message)}", line)


def test_a_port_that_is_taken_is_one_line(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["--root", str(tmp_path), "review", "--port", port]) == 1
    assert f"greenr: --port {port}: cannot listen on it" in capsys.readouterr().err


def test_a_fault_of_the_program_is_a_traceback(tmp_path, monkeypatch):
    def broken(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(cli.usage, "usage", broken)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["--root", str(tmp_path), "usage"])


def test_every_error_of_ours_has_one_root():
    """What derives from nothing of it is a signal inside one module, and never reaches a person."""
    import importlib
    import inspect
    import pkgutil

    import greenr_luigi

    inside = {"Interrupted", "Unavailable", "Forbidden"}
    for module in pkgutil.walk_packages(greenr_luigi.__path__, "greenr_luigi."):
        if not module.name.startswith(("greenr_luigi.staleness", "greenr_luigi.export.mlflow_scorer")):
            for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if issubclass(kind, BaseException) and kind.__module__ == module.name:
                    assert issubclass(kind, GreenrError) or name in inside, f"{module.name}.{name}"
