"""What the commands of `greenr` do: each calls one function of `operations`, and prints what it returns."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from greenr_luigi import contracts, run_history
from greenr_luigi.errors import GreenrError
from greenr_luigi.staleness import data_root
from greenr_luigi.text import without_part

# What imports Luigi is imported in functions: where luigi.cfg does not parse, `import luigi` ends in a traceback.

#: Returns the exit status; None for 0.
Command = Callable[[argparse.Namespace], int | None]


def init_folder(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import init

    named, rest = named_first(arguments.rest)
    folder = "." if named is None else named
    path = init.init(Path(folder), [*root_option(arguments), *rest], arguments.module)
    print(f"{path} is written. Next:")
    for command in (
        f"cd {shlex.quote(folder)}",
        f"luigi --module {arguments.module} DeployApp",
        "greenr status",
    ):
        print(f"  {command}")


def named_first(words: list[str]) -> tuple[str | None, list[str]]:
    """What is named before the options for luigi, if anything is, and these."""
    return (words[0], words[1:]) if words and not words[0].startswith("-") else (None, words)


def root_option(arguments: argparse.Namespace) -> list[str]:
    return [f"--root={arguments.root}"] if arguments.root_named else []


Row = TypeVar("Row")


def in_groups(
    rows: Iterable[Row], title: Callable[[Row], str], state: Callable[[Row], object]
) -> list[tuple[str, str, list[Row]]]:
    """Each row with its title; but together those that tell of parts of one class and say the same, and how many."""
    groups: dict[object, list[Row]] = {}
    for number, row in enumerate(rows):
        name, part = without_part(title(row))
        groups.setdefault((name, state(row)) if part else number, []).append(row)
    named = ((*without_part(title(first)), [first, *others]) for first, *others in groups.values())
    return [
        (name, f"{len(same)} part{'s' * (len(same) > 1)}" if part else "", same) for name, part, same in named
    ]


def show_status(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import last_run, status

    stage, options = named_first(arguments.rest)
    if not arguments.rest and (options := last_run.options(arguments.root, arguments.module)):
        print(f"as last deployed, with {shlex.join(options)}", file=sys.stderr)
    rows = status.status(stage, options, arguments.root, arguments.module)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    groups = in_groups(rows, lambda row: row["stage"], lambda row: row["state"])
    width = max(len(name) for name, _, _ in groups)
    for name, parts, (row, *_) in groups:
        accepted = f"accepted without a rerun: {', '.join(row['accepted'])}" if row["accepted"] else ""
        words = [parts, row["cause"], accepted, row["warning"] and f"warning: {row['warning']}"]
        print(f"{name:{width}}  {row['state']:8}  {'; '.join(filter(None, words))}".rstrip())


def accept_stage(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import status

    for row, accepted in status.accept(arguments.stage, arguments.rest, arguments.root, arguments.module):
        words = f"accepted: {', '.join(accepted)}" if accepted else "nothing to accept"
        print(f"{row['stage']}  {words}{'' if row['cause'] is None else '; stale still: ' + row['cause']}")


def show_history(arguments: argparse.Namespace) -> None:
    lost = f"{arguments.root / run_history.FILE}: what cannot be read as a line of the history, and is passed over:"
    events = run_history.read(arguments.root, lambda number: print(lost, number, file=sys.stderr))
    if arguments.json:
        print(json.dumps([contracts.plain(event) for event in events], indent=2))
        return
    for run, of_run in run_history.by_run(events):
        shown = run or of_run[-1]
        print(
            f"{local_time(shown.ended)}  {told(run) if run else 'has not ended, or was not asked to deploy'}"
        )
        for name, parts, (event, *_) in in_groups(of_run, lambda one: one.name, lambda one: one.outcome):
            print(f"{'':16}  - {name}  {parts and f'{parts}, first: '}{told(event)}")
    if not events:
        print("nothing has run yet")


def told(event: run_history.Event) -> str:
    # Which engines are asked again the warning says, too.
    values = {name: value for name, value in event.summary.items() if name not in ("searched", "retry")}
    summary = ", ".join(f"{name} {_shown(name, value)}" for name, value in values.items())
    return "  ".join(filter(None, [event.outcome, f"{event.seconds:.1f} s", summary, event.because]))


def _shown(name: str, value: object) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{key} {number}' for key, number in value.items())})"
    return f"{value:.1%}" if name == "accuracy" and isinstance(value, int | float) else str(value)


def local_time(iso: str) -> str:
    """As it is, if somebody has written something else there."""
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")
    return iso


def show_usage(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import usage

    rows = usage.usage(arguments.root, arguments.module)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    for name, parts, of_name in in_groups(rows, lambda row: row["stage"], lambda row: row["live"]):
        size, live = megabytes(sum(row["bytes"] for row in of_name)), "live" if of_name[0]["live"] else "    "
        print(f"{size}  {of_name[0]['finished']}  {live}  {name}  {parts or of_name[0]['place']}")
    print(f"{megabytes(usage.room(arguments.root, rows))}  in all: what several link to counts once")


def prune_outputs(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import prune

    removals = prune.prune(arguments.root, arguments.keep, arguments.dry_run, arguments.module)
    verb = "would remove" if arguments.dry_run else "removed"
    for removal in removals:
        paths = " ".join(str(path.relative_to(arguments.root)) for path in removal.paths)
        print(f"{verb}  {megabytes(removal.bytes)}  {removal.what}  {paths}")
    if not removals:
        print("nothing to remove")


def megabytes(count: int) -> str:
    return f"{count / 2**20:>9,.1f} MB"


def curate(action: str) -> Command:
    def run(arguments: argparse.Namespace) -> None:
        from greenr_luigi.operations import curation, last_run

        root, module, label = arguments.root, arguments.module, ""
        if "label" in arguments:
            label = curation.known_label(root, arguments.label, arguments.new, module)
        curation.decide(root, action, arguments.pictures, label)
        again = last_run.command_to_run_again(root, module)
        print(f"{action}: {len(arguments.pictures)} noted; the next run takes it in: {again}")

    return run


def review_pictures(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import curation

    curation.review(arguments.root, arguments.port, arguments.module)


def run_dashboard(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import dashboard

    if arguments.action == "stop":
        print("stopped" if dashboard.stop(arguments.root) else "no dashboard was running")
    elif arguments.stay:
        dashboard.stay(arguments.root, arguments.module, arguments.port)
    else:
        found, there_before = dashboard.start(arguments.root, arguments.module, arguments.port)
        words = f"runs already (process {found.pid})" if there_before else "shows each stage as it runs"
        print(f"{found.url} {words}; the runs so far: {found.url}/runs")


def rollback(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import start
    from greenr_luigi.serving import elsewhere, processes, rollout, server

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
        served = server.wait_for_release(run_dir, earlier, 10)
        print(f"{served.url} now serves release {earlier} in all {len(served.workers)} workers")
    print("it stays until there is another model, or until you name the stage: --force DeployApp")


def run_pipeline(arguments: argparse.Namespace) -> int:
    from greenr_luigi.operations.terminal import Show
    from greenr_luigi.operations.unattended import run_unattended

    return run_unattended(arguments.root, arguments.rest, arguments.module, Show())


def predict(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations.predict import predict

    predict(arguments.root, arguments.pictures, arguments.form)


def send_test(arguments: argparse.Namespace) -> int:
    from greenr_luigi.operations import notifier, notify

    refused = 0
    for address in notifier.needed():
        address.check()
        why_not = address.send(*notify.TEST)
        print(f"{address.name}: {why_not or 'sent'}")
        refused += why_not is not None
    # Where no crontab can be read, none is told of.
    with contextlib.suppress(GreenrError):
        tell_of_variables()
    return min(refused, 1)


def tell_of_variables() -> None:
    """Which of those in luigi.cfg the schedule of this folder runs without: nobody would hear of that run."""
    from greenr_luigi import luigi_cfg
    from greenr_luigi.operations import schedule

    if names := ", ".join(schedule.unset(Path(), luigi_cfg.variables())):
        print(
            f"luigi.cfg takes {names} from the environment, where the schedule has none: {OTHERS}",
            file=sys.stderr,
        )


OTHERS = "set it in the crontab (NAME=value, above our lines) or the units (`systemctl edit`)"
LEFT_BEHIND = (
    "GREENR_* are lines under [server] in luigi.cfg; others go into the crontab (NAME=value, above the lines) or the "
    "units (`systemctl edit`)"
)


def schedule_runs(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import dashboard, plan, schedule

    here, nothing = Path(), "nothing is scheduled for this folder"
    if arguments.action == "install":
        module = [] if arguments.module == "tasks" else [f"--module={arguments.module}"]
        words = [*root_option(arguments), *module]
        wanted = bool(dashboard.settings(arguments.module).boot)
        if wanted:
            # A unit may write below it, if it is there.
            data_root.mark(arguments.root)
        print(schedule.install(here, arguments.root, words, arguments.at, arguments.systemd, wanted), end="")
        if names := ", ".join(plan.left_behind()):
            print(f"{names}: set here, and not where the schedule runs. {LEFT_BEHIND}", file=sys.stderr)
        tell_of_variables()
    elif arguments.action == "show":
        print((schedule.installed(here) or nothing).rstrip())
    else:
        print("removed" if schedule.remove(here) else nothing)


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
        workers = f"{len(row['workers'])} of {row['workers_wanted']}: {', '.join(map(str, row['workers']))}"
        shown = {**row, "workers": workers, "releases": ", ".join(row["releases"]) or "none yet"}
        for name in ("address", "releases", "since", "pid", "workers", "log"):
            print(f"{name:9} {shown[name]}")
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
    return f"accuracy {measured.accuracy:.1%} of {measured.pictures.test} held-out pictures"


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
