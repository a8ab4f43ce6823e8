"""A root whose locks do not hold is refused, by what its file system does and not by its name."""

import fcntl
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from greenr_luigi.staleness import data_root, file_system
from tests import toys

SFTP = Path("/usr/lib/openssh/sftp-server")


def refusal(root):
    """How a stage ends that is to write there."""
    toys.prepare(root)
    stage = toys.Read(name="a", root=root)
    with pytest.raises(stage.error) as refused:
        stage.run()
    assert not stage.output_folder.exists()
    assert str(refused.value).startswith(f"Read(a) cannot use {root}: its file system (")
    return str(refused.value)


@pytest.mark.parametrize("name", ["lockf", "flock"])
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (None, "gives a lock to two at a time: choose another --root"),
        (
            OSError(38, "Function not implemented"),
            "gives no locks (Function not implemented): choose another --root",
        ),
    ],
)
def test_one_that_has_none_is_refused(tmp_path, monkeypatch, name, error, why):
    def take(*_):
        if error:
            raise error

    monkeypatch.setattr(fcntl, name, take)
    monkeypatch.setattr(file_system, "mount_of", lambda _: file_system.Mount("fuse.odd", "host:/x"))
    assert f"(fuse.odd of host:/x) {why}" in refusal(tmp_path / "root")


@pytest.mark.parametrize("options", ["rw,vers=3,nolock,local_lock=all", "rw,nobrl", "rw,local_lock=posix"])
def test_one_whose_options_keep_locks_on_this_machine_is_refused(tmp_path, monkeypatch, options):
    mount = file_system.Mount("nfs", "host:/x", options)
    monkeypatch.setattr(file_system, "mount_of", lambda _: mount)
    assert "(nfs of host:/x) has locks that hold on this machine only" in refusal(tmp_path / "root")
    monkeypatch.setattr(file_system, "mount_of", lambda _: file_system.Mount("nfs4", "", "local_lock=none"))
    file_system.require_locks(tmp_path / "lock")


def test_locks_that_others_hold_are_seen_to_hold(tmp_path):
    path = tmp_path / "lock"
    for kind in (fcntl.LOCK_SH, fcntl.LOCK_EX):
        with path.open("a+") as file:
            # As of another process: of an open file.
            fcntl.flock(file, kind)
            file_system.require_locks(path)


def test_it_is_tried_once_a_process(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(file_system, "require_locks", tried.append)
    toys.build(toys.prepare(tmp_path))
    assert tried == [tmp_path / data_root.LOCK]


@pytest.fixture
def by_sshfs(tmp_path):
    """A folder of this machine, mounted by the real sshfs."""
    if os.geteuid() or not SFTP.exists() or not shutil.which("sshfs"):
        pytest.skip("needs root, sshfs and openssh-sftp-server: `sh setup.sh test` installs them")
    (served := tmp_path / "served").mkdir()
    (mounted := tmp_path / "mounted").mkdir()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = subprocess.Popen([SFTP], stdin=theirs, stdout=theirs)
        command = ["sshfs", "-f", "-o", "passive", f"host:{served}", mounted]
        client = subprocess.Popen(command, stdin=ours, stdout=ours)
    try:
        while not os.path.ismount(mounted):
            assert client.poll() is None
            time.sleep(0.01)
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)
        for process in (client, server):
            process.terminate()
            process.wait()


@pytest.mark.slow
@pytest.mark.machine
def test_sshfs_is_refused_unless_a_person_says_that_no_other_machine_is_there(by_sshfs):
    root = by_sshfs / "root"
    words = refusal(root)
    assert (
        f"(fuse.sshfs of host:{by_sshfs.with_name('served')}) has locks that hold on this machine only"
        in words
    )
    remedy = root / "data-root.one-machine"
    assert f"`touch {remedy}`" in words
    remedy.touch()
    assert toys.build(root) == toys.ALL
