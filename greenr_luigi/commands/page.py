"""Commands about the page that answers visitors: start, stop, server, releases, rollback, nginx."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.commands.command import JSON, Command, local_time, option
from greenr_luigi.staleness import data_root
from greenr_luigi.text import percent


def rollback(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import start
    from greenr_luigi.serving import elsewhere, processes, readiness, rollout

    address, store = start.elsewhere(arguments.root, arguments.module), arguments.root / "releases"
    data_root.hold(arguments.root, print)
    earlier = rollout.rollback(store, print, arguments.release)
    run_dir = arguments.root / "server"
    if address:
        elsewhere.wait(address, store, earlier, 10)
        print(f"{address} now serves release {earlier}")
    elif not processes.servers(run_dir):
        print(f"release {earlier} will be served when a server runs: `greenr start` starts one")
    else:
        served = readiness.wait_for_release(run_dir, earlier, 10)
        print(f"{served.url} now serves release {earlier} in all {len(served.workers)} workers")
    print("it stays until there is another model, or until you name the stage: --force DeployApp")


def show_server(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import server_status, start
    from greenr_luigi.serving import elsewhere

    if address := start.elsewhere(arguments.root, arguments.module):
        said = {"address": address, **elsewhere.ask(address)}
        print(json.dumps(said, indent=2))
        return
    rows = server_status.server_status(arguments.root)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        wanted = f" of {row['workers_wanted']}" if row["user"] is None else ""
        workers = f"{len(row['workers'])}{wanted}: {', '.join(map(str, row['workers']))}"
        shown = {**row, "workers": workers, "releases": ", ".join(row["releases"]) or "none yet"}
        for name in ("address", "releases", "since", "pid", "workers", "log"):
            if shown[name] != "":
                print(f"{name:9} {shown[name]}")
        if row["user"] is not None:
            print(f"user      {row['user']}, who alone can see where it answers, and how it was started")
        for name, value in sorted(row["settings"].items()):
            print(f"{'settings':9} {name} {value}")


def print_nginx(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import dashboard, nginx, start

    page = start.service_of(arguments.root, arguments.module)
    front = nginx.Front(
        arguments.name,
        arguments.listen or nginx.Front.listen,
        arguments.dashboard,
        arguments.allow,
        arguments.passwords,
        arguments.resolver,
    )
    print(nginx.configuration(page, dashboard.address(arguments.root, arguments.module), front), end="")
    for line in nginx.lacking(page, front):
        print(f"set in luigi.cfg, run DeployApp, and start the dashboard anew: {line}", file=sys.stderr)


def list_releases(arguments: argparse.Namespace) -> None:
    """With what a choice between them needs."""
    from greenr_luigi.serving import history, releases, rollout

    store = arguments.root / "releases"
    current = rollout.current(store)
    since = {digest: local_time(when) for digest, when in history.since(store).items()}
    for digest in releases.releases(store):
        words = [digest, f"{since.get(digest, 'has not served'):16}", _accuracy(store / digest)]
        print("  ".join([*words, *(["serves now"] if digest == current else [])]).rstrip())


def _accuracy(release: Path) -> str:
    from greenr_luigi.export.model_card import read_card

    try:
        measured = read_card(release).metrics
    except (OSError, contracts.ContractError):
        return "its model.json cannot be read"
    if measured is None:
        return "not measured"
    return f"accuracy {percent(measured.accuracy, 1)} of {measured.pictures.test} held-out pictures"


def start_server(arguments: argparse.Namespace) -> None:
    from greenr_luigi.deployment import deploy
    from greenr_luigi.operations import start
    from greenr_luigi.serving import processes, server

    if arguments.stay:
        start.stay(arguments.root, arguments.module)
        return
    if arguments.unless_stopped and server.stays_stopped(arguments.root / "server"):
        print(deploy.STAYS_STOPPED)
        return
    data_root.hold(arguments.root, print)
    served = start.start(arguments.root, arguments.module)
    print(
        f"{served.url} serves release {served.digest}; its log: {arguments.root / 'server' / processes.LOG}"
    )


def stop_server(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import start
    from greenr_luigi.serving import server

    if address := start.elsewhere(arguments.root, arguments.module):
        raise start.not_ours(address)
    print("stopped" if server.stop(arguments.root / "server") else "no server was running")


ROLLBACK = "let the server serve the release before this one, or any other"
RELEASE = "one that `greenr releases` lists; the one before if absent"
RELEASES = "list the releases, the last to serve last: since when, and how accurate"
SERVER = "print where the page answers, since when, and how it was started"
STAYS = "and stay while it runs, as systemd wants it; a page that `greenr stop` has stopped is not started"
UNLESS = "as the schedule does at boot: a page that `greenr stop` has stopped is not started"
NGINX = (
    "print a configuration of nginx: the page, as it was deployed last, and the dashboard, closed by default"
)
NGINX_OPTIONS = (
    option("--name", action="append", default=[], help="such as example.org; besides [server] allowed_hosts"),
    option(
        "--listen", action="append", metavar="ADDRESS", help="80 on all addresses if absent; 127.0.0.1:8080"
    ),
    option("--dashboard", default="/dashboard", metavar="PATH", help="the dashboard's: /dashboard if absent"),
    option("--allow", default="", metavar="NETWORKS", help="10.1.0.0/16,...: who sees it without a password"),
    option(
        "--passwords",
        default="/etc/nginx/greenr.password",
        metavar="FILE",
        help="for all others, as of htpasswd",
    ),
    option(
        "--resolver",
        default="",
        metavar="ADDRESS",
        help="name server to ask again and again: 127.0.0.11 in Docker",
    ),
)

COMMANDS = (
    Command(
        "rollback",
        rollback,
        ROLLBACK,
        [option("release", nargs="?", metavar="RELEASE", help=RELEASE)],
        despite_mistakes=True,
    ),
    Command("releases", list_releases, RELEASES, despite_mistakes=True),
    Command("server", show_server, SERVER, [JSON], despite_mistakes=True),
    Command(
        "start",
        start_server,
        "serve the last good release, as after a reboot",
        [
            option("--stay", action="store_true", help=STAYS),
            option("--unless-stopped", action="store_true", help=UNLESS),
        ],
        despite_mistakes=True,
    ),
    Command("stop", stop_server, "stop the web classifier", despite_mistakes=True),
    Command("nginx", print_nginx, NGINX, NGINX_OPTIONS),
)
