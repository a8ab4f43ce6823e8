"""A Docker engine of a test's own: nothing of another one is seen or touched. It builds in this machine's network, and
runs containers in a network namespace, where it may do with addresses and rules as it likes."""

from __future__ import annotations

import configparser
import contextlib
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

BASE = "debian:12-slim"
#: Debian's, which comes with the engine; another one may want a plugin for BuildKit.
CLIENT = "/usr/bin/docker"
#: What the real one leaves out, too.
LEFT_OUT = (
    "usr/share/doc/*",
    "usr/share/man/*",
    "usr/share/locale/*",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
)
#: In memory, and gone with the shell. Nothing besides what is essential: no certificates, as that image has none.
MAKE_BASE = """
mount -t tmpfs -o mode=755 none "$1"
debootstrap --variant=minbase bookworm "$1" >&2
cd "$1"; shift
tar -c "$@" .
"""
#: pip's options that say where packages come from.
INDEXES = ("find-links", "extra-index-url", "index-url")
PLAIN = ["--iptables=false", "--bridge=none"]


def missing() -> str:
    """Why there can be no engine here; empty if there can."""
    for command in ("dockerd", "debootstrap", "iptables", "unshare", "nsenter", "ip"):
        if shutil.which(command) is None:
            return f"{command} is not there: `sh setup.sh test` installs it"
    if not Path(sys.executable).with_name("docker-compose").exists():
        return "docker-compose is not there: `sh setup.sh test` installs it"
    trial = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True)
    return f"needs root: {trial.stderr}" if trial.returncode else ""


class Engine:
    """`folder`: its data, which a later one may go on with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, isolated: bool) -> None:
        """`isolated`: in a network of its own, which leads nowhere."""
        self.folder.mkdir(exist_ok=True, parents=True)
        command = ["dockerd", f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec"]
        command += [f"--host=unix://{self.socket}", f"--pidfile={self.folder}/pid", "--oom-score-adjust=0"]
        alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
        command = [*alone, *command] if isolated else [*command, *PLAIN]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while self.docker("version", check=False).returncode:
            assert self.process.poll() is None and time.monotonic() < deadline, (
                self.folder / "log"
            ).read_text()[-2000:]
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def docker(self, *words: str, check: bool = True, **how: object) -> subprocess.CompletedProcess[str]:
        return _run([CLIENT, f"--host=unix://{self.socket}", *words], check, **how)

    def compose(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("docker-compose")
        return _run([str(program), *words], check, env=self.environment())

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "COMPOSE_ANSI": "never"}

    def inside(self, *words: str) -> list[str]:
        """A command in the network of the containers' host."""
        assert self.process is not None
        return ["nsenter", f"--target={self.process.pid}", "--net", *words]

    def import_base(self) -> None:
        """Debian, as its own image of that name has it."""
        if self.docker("image", "inspect", BASE, check=False).returncode == 0:
            return
        place = self.folder / "base"
        place.mkdir(exist_ok=True)
        without = [f"--exclude=./{pattern}" for pattern in LEFT_OUT]
        making = ["unshare", "--mount", "sh", "-euc", MAKE_BASE, "sh", str(place), *without]
        with (
            (self.folder / "log").open("ab") as log,
            subprocess.Popen(making, stdout=subprocess.PIPE, stderr=log) as made,
        ):
            image = self.docker("import", "-", stdin=made.stdout).stdout.split()[-1]
        assert made.returncode == 0, (self.folder / "log").read_text()[-2000:]
        self.docker("tag", image, BASE)

    def build(self, target: str, source: Path, secrets: Path) -> None:
        given = [f"--secret=id={name},src={secrets / name}" for name in ("pip_conf", "ca")]
        words = ["build", "--progress=plain", "--network=host", *given, f"--target={target}"]
        self.docker(
            *words,
            f"--tag=greenr-{target}",
            str(source),
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
            timeout=900,
        )


def _run(command: list[str], check: bool = True, **how: object) -> subprocess.CompletedProcess[str]:
    given: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "timeout": 300, **how}
    done = subprocess.run(command, text=True, **given)  # type: ignore[call-overload]
    assert not check or done.returncode == 0, f"{command}: {done.stdout[-3000:]}"
    return done  # type: ignore[no-any-return]


def pip_options() -> dict[str, str]:
    """How this machine's pip is set up."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    return {
        name.partition(".")[2]: value.strip("'").replace("\\n", " ")
        for name, _, value in (line.partition("=") for line in told.stdout.splitlines())
    }


def local_indexes(options: dict[str, str]) -> tuple[dict[str, Path], set[Path]]:
    """Which of pip's indexes lie in folders of this machine, and the folders that are read for them."""
    places = {word: Path(urlsplit(word).path) for option in INDEXES
              for word in options.get(option, "").split() if word.startswith(("/", "file:"))}  # fmt: skip
    # An index has its files beside it.
    return places, {path.parent if urlsplit(word).scheme else path for word, path in places.items()}


@contextlib.contextmanager
def pip_settings(folder: Path) -> Iterator[Path]:
    """As this machine's pip is set up, for a build: files `pip_conf` and `ca`. Folders of wheels come over loopback."""
    found = pip_options()
    places, shown = local_indexes(found)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            wanted = Path(super().translate_path(path))
            return str(wanted) if any(wanted.is_relative_to(place) for place in shown) else "/nothing"

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory="/")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        written = configparser.ConfigParser(interpolation=None)
        written["global"] = {"cert": "/run/secrets/ca", "disable-pip-version-check": "1"}
        for option in INDEXES:
            words = [f"http://127.0.0.1:{serving.server_port}{places[word]}" if word in places else word
                     for word in found.get(option, "").split()]  # fmt: skip
            if words:
                written["global"][option] = " ".join(words)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "pip_conf").open("w") as file:
            written.write(file)
        shutil.copy(found.get("cert", "/etc/ssl/certs/ca-certificates.crt"), folder / "ca")
        yield folder
        serving.shutdown()
