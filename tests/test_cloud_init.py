"""deploy/cloud-init.yaml as it is, by cloud-init on a Debian 12 of its own, from the first boot to the second."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from greenr_luigi.about import PACKAGE
from tests import tiny_release
from tests.containers import engine
from tests.operations import nspawn
from tests.operations.nspawn import Machine
from tests.serving.looking import until

REPOSITORY = PACKAGE.parent
FILE = REPOSITORY / "deploy/cloud-init.yaml"
#: In the machine, as slirp4netns has it: its address, and who answers for names.
ADDRESS, NAMES = "10.0.2.100", "10.0.2.3"
#: Where the packages come from is all that is not as on another machine. It has a network of its own, which leads out.
PREPARE = """
touch {place}/net
unshare --net={place}/net true
mkfifo {place}/ready
slirp4netns --configure --mtu=65520 --disable-host-loopback --netns-type=path --ready-fd=3 {place}/net tap0 \\
    3>{place}/ready &
head -c1 {place}/ready
sh {debian} .
cp {file} var/lib/cloud/seed/nocloud/user-data
cp {wrong} var/lib/cloud/wrong.yaml
cp {source} root/greenr.tar.gz
cp {picture} root/picture.jpg
cp {certificates} etc/ssl/certs/index.pem
rm -f etc/resolv.conf; echo nameserver {names} > etc/resolv.conf
mkdir -p etc/systemd/system.conf.d
echo {environment} > etc/systemd/system.conf.d/packages.conf
"""


def missing() -> str:
    """Why there can be no such machine here; empty if there can."""
    for command in ("debootstrap", "slirp4netns"):
        if shutil.which(command) is None:
            return f"{command} is not there: `sh setup.sh test` installs it"
    return nspawn.missing() or ("" if Path("/dev/net/tun").exists() else "needs /dev/net/tun")


def script() -> str:
    (found,) = [
        one["content"]
        for one in yaml.safe_load(FILE.read_text())["write_files"]
        if one["path"].endswith("set-up")
    ]
    return str(found)


def test_its_script_is_one_and_needs_what_it_installs(tmp_path: Path) -> None:
    assert subprocess.run(["sh", "-n"], input=script(), text=True).returncode == 0
    lost = script().replace("/root/greenr.tar.gz", str(tmp_path / "greenr.tar.gz"))
    done = subprocess.run(["sh"], input=lost, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (1, "") and "put it there, or say at source=" in done.stderr


def test_what_is_edited_may_have_any_letters() -> None:
    """As typed in the place of what stands there, with nothing else changed."""
    given = {"/root/greenr.tar.gz": "/root/my project.tar.gz", "dandelion,grass": "king's crown, Löwenzahn & co",
             "example.org": "example.org, www.example.org"}  # fmt: skip
    lines = script().partition("case $source in")[0]
    edited = [
        line
        for before, line in zip(lines.splitlines(), lines.splitlines()[1:], strict=False)
        if "# EDIT" in before
    ]
    text = "\n".join(edited)
    for old, new in given.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    shown = f'set -eu\n{text}\nprintf "%s\\n" "$source" "$classes" "$name"'
    done = subprocess.run(["sh"], input=shown, text=True, capture_output=True, check=True)
    assert done.stdout.splitlines() == list(given.values())


@pytest.mark.parametrize(
    ("name", "cut", "said"),
    [
        ("setup.sh", 0, ""),
        ("setup.sh", 4000, "not whole"),
        ("project-main/setup.sh", 0, "not whole, or not packed by"),
    ],
)
def test_a_program_that_is_not_whole_replaces_none(tmp_path: Path, name: str, cut: int, said: str) -> None:
    there, source, new = tmp_path / "opt", tmp_path / "greenr.tar.gz", tmp_path / "new"
    for path, text in (
        (there / "setup.sh", "exit 3"),
        (new / name, "exit 7"),
        (new / "more", os.urandom(9999).hex()),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["tar", "-czf", source, "-C", new, name, "more"], check=True)
    source.write_bytes(source.read_bytes()[: -cut or None])
    lines = script().replace("/root/greenr.tar.gz", str(source)).replace("/opt/greenr", str(there))
    done = subprocess.run(["sh"], input=lines, text=True, capture_output=True)
    assert done.returncode == (1 if said else 7) and said in done.stderr
    assert (there / "setup.sh").read_text() == ("exit 3" if said else "exit 7")


def packed(place: Path) -> Path:
    """What is here, as `git archive` packs what is committed."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, check=True).stdout
    # Some may be deleted and not yet committed so.
    there = b"\0".join(
        name for name in names.split(b"\0") if name and os.path.lexists(REPOSITORY / os.fsdecode(name))
    )
    words = ["tar", "-czf", str(place), "--null", "--files-from=-"]
    subprocess.run(words, cwd=REPOSITORY, input=there, check=True)
    return place


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """It is off, and reaches what this one reaches."""
    if why := missing():
        pytest.skip(why)
    wrong, picture = tmp_path / "wrong.yaml", tmp_path / "picture.jpg"
    wrong.write_text(FILE.read_text().replace("runcmd:\n", "runcmd: 7\nrest:\n"))
    picture.write_bytes(tiny_release.picture("yellow", 300))
    options = engine.pip_options()
    _, shown = engine.local_indexes(options)
    told = {
        f"PIP_{name.replace('-', '_').upper()}": options[name] for name in engine.INDEXES if name in options
    }
    told["PIP_CERT"] = "/etc/ssl/certs/index.pem"
    place = tmp_path / "machine"
    environment = " ".join(f'"{name}={value}"' for name, value in told.items())
    given = {
        "place": place,
        "debian": REPOSITORY / "tests/operations/debian.sh",
        "file": FILE,
        "wrong": wrong,
        "source": packed(tmp_path / "greenr.tar.gz"),
        "picture": picture,
        "certificates": options.get("cert", "/etc/ssl/certs/ca-certificates.crt"),
        "names": NAMES,
        "environment": f"[Manager]\nDefaultEnvironment={environment}",
    }
    prepare = PREPARE.format(**{name: shlex.quote(str(value)) for name, value in given.items()})
    words = ["--resolv-conf=off", f"--network-namespace-path={place}/net"]
    words += [f"--bind-ro={path}" for path in sorted(shown)]
    with nspawn.held(place, prepare, words) as held:
        yield held


class Visitor:
    """Who comes to the machine by its name."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def get(self, path: str, *more: str) -> tuple[int, str]:
        words = ["curl", "-s", "-w", "\n%{http_code}", "--resolve", f"example.org:80:{ADDRESS}", *more]
        told = self.machine.run(*words, f"http://example.org{path}", check=False).stdout
        body, _, status = told.rpartition("\n")
        return int(status), body

    def release(self) -> str | None:
        status, body = self.get("/app/api/model")
        return str(json.loads(body)["release"]) if status == 200 else None


@pytest.mark.slow
@pytest.mark.machine
@pytest.mark.timeout(1500)
def test_a_machine_ends_with_both_pages_and_comes_back_with_them(machine: Machine) -> None:
    machine.start()
    assert machine.run("cloud-init", "schema", "-c", "/var/lib/cloud/seed/nocloud/user-data").returncode == 0
    assert machine.run("cloud-init", "schema", "-c", "/var/lib/cloud/wrong.yaml", check=False).returncode != 0
    until(lambda: machine.says("cloud-init", "status") in ("status: done", "status: error"), 1200)
    told = machine.run("cloud-init", "status", "--long", check=False).stdout
    log = machine.run("tail", "-n40", "/var/log/cloud-init-output.log").stdout
    assert told.startswith("status: done"), f"{told}\n{log}"
    visitor = Visitor(machine)
    release = visitor.release()
    assert release is not None
    both_pages_answer(visitor)
    assert runs(machine) == ["deployed"]
    is_closed(machine)
    set_up_again_changes_nothing(machine)
    no_service_comes_along(machine)

    # A night that it was off.
    (timer,) = machine.run("sh", "-c", "cd /etc/systemd/system && ls greenr-*.timer").stdout.split()
    machine.run("touch", "--date=2 days ago", f"/var/lib/systemd/timers/stamp-{timer}")
    machine.stop()
    machine.start()
    until(lambda: runs(machine) == ["deployed", "unchanged", "unchanged"], 120)
    until(lambda: visitor.release() == release, 60)
    both_pages_answer(visitor)
    assert machine.says("cloud-init", "status") == "status: done"


def runs(machine: Machine) -> list[str]:
    told = machine.run(
        "sh", "-c", "cd /srv/greenr && runuser -u greenr -- /usr/local/bin/greenr history --json"
    )
    return [event["outcome"] for event in json.loads(told.stdout) if event["kind"] == "run"]


def both_pages_answer(visitor: Visitor) -> None:
    assert visitor.get("/")[0] == 302
    assert "dandelion" in visitor.get("/app/")[1]
    status, body = visitor.get("/app/api/predict", "-F", "file=@/root/picture.jpg")
    assert status == 200 and set(json.loads(body)["probabilities"]) == {"dandelion", "grass"}
    assert visitor.get("/app/readyz")[0] == visitor.get("/app/metrics")[0] == 403
    assert visitor.get("/dashboard/")[0] == visitor.get("/dashboard/runs")[0] == 401
    # It may be starting, with the machine.
    door = ["-u", "greenr:" + visitor.machine.run("cat", "/etc/greenr/password").stdout.strip()]
    until(lambda: "Luigi Task Visualiser" in visitor.get("/dashboard/", "--location", *door)[1], 60)
    status, page = visitor.get("/dashboard/runs", *door)
    assert status == 200 and '<h3><span class="deployed">' in page


def is_closed(machine: Machine) -> None:
    listening = machine.run("ss", "-Hltn").stdout.splitlines()
    addresses = {line.split()[3] for line in listening}
    assert {one for one in addresses if not one.startswith(("127.", "[::1]"))} == {"0.0.0.0:80", "[::]:80"}
    owned = machine.run("find", "/srv/greenr", "/opt/greenr", "-maxdepth", "1", "-printf", "%u %p\n").stdout
    assert {line.split("/")[1] + " " + line.split()[0] for line in owned.splitlines()} == {
        "srv greenr",
        "opt root",
    }
    for path in ("/etc/greenr/password", "/srv/greenr/data/releases"):
        assert machine.run("runuser", "-u", "nobody", "--", "cat", path, check=False).returncode != 0
    # Nothing of ours runs as root.
    started = machine.run("ps", "-eo", "user=,args=").stdout.splitlines()
    assert {line.split()[0] for line in started if "greenr_luigi" in line} == {"greenr"}


def set_up_again_changes_nothing(machine: Machine) -> None:
    look = [
        "sha256sum",
        "/srv/greenr/luigi.cfg",
        "/etc/nginx/greenr.password",
        "/etc/nginx/conf.d/greenr.conf",
    ]
    before = machine.run(*look).stdout
    machine.run("systemd-run", "--quiet", "--wait", "/etc/greenr/set-up", timeout=600)
    assert machine.run(*look).stdout == before
    assert runs(machine) == ["deployed", "unchanged"]


def no_service_comes_along(machine: Machine) -> None:
    """With what setup.sh installs for the tests."""
    function = "/^apt_install()/,/^started_at_boot()/p"
    line = f"eval \"$(sed -n '{function}' /opt/greenr/setup.sh)\"; set -eu; apt_install rpcbind"
    machine.run("sh", "-c", line)
    assert machine.says("systemctl", "is-active", "rpcbind.service", "rpcbind.socket") == "inactive\ninactive"
    assert (
        machine.says("systemctl", "is-enabled", "rpcbind.service", "rpcbind.socket") == "disabled\ndisabled"
    )
    assert machine.run("test", "-e", "/usr/sbin/policy-rc.d", check=False).returncode == 1
