"""What the units of a folder say: a timer, the run that it starts, the page, and the dashboard where that is wanted.

Root's are the system's, and run as whoever owns the folder; those of everybody else are their own manager's."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from greenr_luigi.about import PACKAGE
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.plan import Plan

RUN = """\
[Unit]
Description=greenr run in {told}
# However it ends, the page is seen to.
After={name}-page.service
OnSuccess={name}-page.service
OnFailure={name}-page.service
{network}
[Service]
Type=oneshot
{where}
ExecStart={greenr} run
# A page that the run has started stays when the run ends.
KillMode=process
{hardening}"""
TIMER = """\
[Unit]
Description=greenr daily in {told}

[Timer]
{when}
# One that was missed, since the machine was off, is made up for.
Persistent=true

[Install]
WantedBy=timers.target
"""
#: A server that a run or a person may have started already.
SERVER = """\
[Unit]
Description={what} of {told}
{bind}StartLimitIntervalSec=0

[Service]
Type=notify
{where}
ExecStart={greenr} {command} --stay
# {waits}
TimeoutStartSec=infinity
Restart=on-failure
RestartSec=30
{ending}{hardening}
[Install]
WantedBy={boot}
"""
PAGE = {
    "what": "the picture classifier",
    "command": "start",
    "waits": "It may wait for a deployment.",
    "ending": """\
# It ends the server itself, also one that a run or a person has started.
KillMode=mixed
TimeoutStopSec=60
""",
}
DASHBOARD = {
    "what": "the dashboard",
    "command": "dashboard",
    "waits": "It waits for one that a person has started.",
    "ending": "",
}
NETWORK = "Wants=network-online.target\nAfter=network-online.target\n"

#: For each of them. A run has the machine's /tmp and devices: a page that it has started outlives it, and a GPU is a
#: device. No unit has users of its own (PrivateUsers): the kernel would not tell others whose server it runs.
HARDENED = """\
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
"""
#: What others talk to. What is refused fails, as it does without the rights for it, and does not end the process. A
#: worker loads a new model at a lower priority than it answers; what root makes is given to whom the folder belongs.
PAGE_HARDENED = """\
LimitNOFILE=65536
MemoryMax=50%
MemoryDenyWriteExecute=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=setpriority @chown
SystemCallErrorNumber=EPERM
"""
#: A user's manager cannot do these.
SYSTEM_HARDENED = """\
ProtectSystem=full
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
"""
SYSTEM_PAGE_HARDENED = f"""{SYSTEM_HARDENED}\
ProtectSystem=strict
ReadWritePaths={{root}}
ProtectHome=read-only
ProtectProc=invisible
ProtectClock=yes
PrivateDevices=yes
PrivateMounts=yes
"""
#: One of its own is without what lies in the machine's.
OWN_TMP, THE_MACHINES_TMP = "PrivateTmp=yes\n", "ReadWritePaths=/tmp /var/tmp\n"


def texts(plan: Plan, timer: str = "") -> dict[str, str]:
    """The units by their names: the run, its timer, the page, the dashboard if the plan has it. They rely on no PATH,
    HOME, locale or time zone. `timer`: as it was, whose times stay unless a person asks for another."""
    edited = [] if plan.at_asked else re.findall(r"^OnCalendar=.+$", timer, re.MULTILINE)
    for text in (str(plan.folder), str(plan.root), *plan.greenr, *plan.environment.values()):
        if not text.isprintable():
            raise GreenrError(f"{text!r}: a unit of systemd has no way to name such a folder: rename it")
    system, owner = is_system(), owner_of(plan.folder)
    # Without the slash, a backslash at the end would take the next line in.
    told = f"{_percent(plan.folder)}/"
    where = [f"User={owner}"] if system else []
    where.append(f"WorkingDirectory={told}")
    where += [f"Environment={_quoted(f'{name}={value}')}" for name, value in plan.environment.items()]
    run, page = HARDENED, HARDENED + PAGE_HARDENED
    name, (program, *words) = name_of(plan.folder), plan.greenr
    if system:
        run += SYSTEM_HARDENED
        page += SYSTEM_PAGE_HARDENED.format(root=_quoted(f"-{plan.root}"))
        # Root's server may have been started with all capabilities, and who has fewer may not look into it.
        page += "CapabilityBoundingSet=\n" if owner else ""
        needed = (plan.folder, plan.root, Path(program), PACKAGE)
        in_tmp = any(path.is_relative_to(tmp) for path in needed for tmp in ("/tmp", "/var/tmp"))
        page += THE_MACHINES_TMP if in_tmp else OWN_TMP
    values = {
        "told": told,
        "name": name,
        "network": NETWORK if system else "",
        "bind": "After=network.target\n" if system else "",
        "where": "\n".join(where),
        # No variable is looked for in the first word.
        "greenr": " ".join([_quoted(program), *(_quoted(word).replace("$", "$$") for word in words)]),
        "when": "\n".join(edited) or f"OnCalendar=*-*-* {plan.hour:02}:{plan.minute:02}:00",
        "boot": "multi-user.target" if system else "default.target",
    }
    head = head_of(plan.folder)
    made = {
        f"{name}.service": head + RUN.format(**values, hardening=run),
        f"{name}.timer": head + TIMER.format(**values),
        f"{name}-page.service": head + SERVER.format(**values, **PAGE, hardening=page),
    }
    if plan.dashboard:
        made[f"{name}-dashboard.service"] = head + SERVER.format(**values, **DASHBOARD, hardening=page)
    return made


def is_system() -> bool:
    """Whether the units are the system's."""
    return os.geteuid() == 0


def owner_of(folder: Path) -> int:
    return folder.stat().st_uid


def name_of(folder: Path) -> str:
    """Of a folder's units: readable, and the folder's alone."""
    readable = re.sub("[^A-Za-z0-9]+", "-", folder.name).strip("-")[:40]
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    return "-".join(filter(None, ["greenr", readable, digest]))


def head_of(folder: Path) -> str:
    return f"# greenr in {folder}/: `greenr schedule remove` takes this file away\n"


def _percent(text: object) -> str:
    return str(text).replace("%", "%%")


def _quoted(text: str) -> str:
    """A word of a unit's line (systemd.syntax(7))."""
    escaped = _percent(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
