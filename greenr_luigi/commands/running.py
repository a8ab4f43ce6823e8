"""Commands that set up runs, make them, and let them be seen: init, run, notify, schedule, dashboard."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from pathlib import Path

from greenr_luigi.commands.command import (
    Command,
    named_first,
    option,
    port,
    refuse_ignored,
    root_option,
)
from greenr_luigi.errors import GreenrError
from greenr_luigi.staleness import data_root


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


def run_dashboard(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import dashboard

    if arguments.action == "stop":
        refuse_ignored(arguments, "start", "port", "stay")
        print("stopped" if dashboard.stop(arguments.root) else "no dashboard was running")
    elif arguments.stay:
        dashboard.stay(arguments.root, arguments.module, arguments.port)
    else:
        found, there_before = dashboard.start(arguments.root, arguments.module, arguments.port)
        words = f"runs already (process {found.pid})" if there_before else "shows each stage as it runs"
        print(f"{found.url} {words}; the runs so far: {found.url}/runs")


def run_pipeline(arguments: argparse.Namespace) -> int:
    from greenr_luigi.operations.terminal import Show
    from greenr_luigi.operations.unattended import run_unattended

    named, _ = named_first(arguments.rest)
    if named is not None:
        raise GreenrError(
            f"{named}: expected options alone, for `greenr run` runs the deployment with all that it requires. A stage "
            f"alone: `luigi --module {arguments.module} {shlex.quote(named)}`"
        )
    return run_unattended(arguments.root, arguments.rest, arguments.module, Show())


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


ASLEEP = "no cron runs on this machine, and nothing before it does: start it, as by `service cron start`"
OTHERS = "set it in the crontab (NAME=value, above our lines) or the units (`systemctl edit`)"


LEFT_BEHIND = (
    "GREENR_* are lines under [server] in luigi.cfg; others go into the crontab (NAME=value, above the lines) or the "
    "units (`systemctl edit`)"
)


def schedule_runs(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import dashboard, plan, schedule

    here, nothing = Path(), "nothing is scheduled for this folder"
    if arguments.action != "install":
        refuse_ignored(arguments, "install", "at", "systemd")
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
    if schedule.asleep(here):
        print(ASLEEP, file=sys.stderr)


INIT = (
    "write a luigi.cfg with what is to be run, in this folder or one that is named first: --classes ripe,unripe "
    "--limit 150, or any as for luigi"
)
RUN = "run the pipeline unattended: again after a passing fault, with a log, pruning after; options as for luigi"
NOTIFY = "send a message to whom luigi.cfg names under [notify], to see that it comes"
SCHEDULE = (
    "have cron or systemd run this folder daily, and start its page at boot (and, as [dashboard] boot, that)"
)
AT = "when; at night, each folder at a time of its own, if absent"
SYSTEMD = "by a timer of systemd (root's is the system's) and not by cron"
DASHBOARD = "start luigid, whose page shows the stages as they run, with a page of all runs; runs here use it"

COMMANDS = (
    Command("init", init_folder, INIT, takes_luigi_options=True),
    Command("run", run_pipeline, RUN, takes_luigi_options=True, despite_mistakes=True),
    Command("notify", send_test, NOTIFY),
    Command(
        "schedule",
        schedule_runs,
        SCHEDULE,
        [
            option("action", choices=["install", "show", "remove"]),
            option("--at", metavar="HH:MM", help=AT),
            option("--systemd", action="store_true", help=SYSTEMD),
        ],
    ),
    Command(
        "dashboard",
        run_dashboard,
        DASHBOARD,
        [
            option("action", nargs="?", choices=["start", "stop"], default="start", help="start if absent"),
            option("--port", type=port, help="that of luigi.cfg if absent"),
            option("--stay", action="store_true", help="in the foreground, as systemd wants it"),
        ],
        despite_mistakes=True,
    ),
)
