"""The configuration of an nginx in front of the page and the dashboard, from the settings by which they run."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.nginx_texts import ERROR, RESOLVER, TEMPLATE
from greenr_luigi.serving import readiness, sockets
from greenr_luigi.serving.service import Service
from greenr_luigi.text import networks
from greenr_luigi.web import intake
from greenr_luigi.web.settings import Settings, from_environment, host_name, prefix

Value = TypeVar("Value")

PASSWORDS = "/etc/nginx/greenr.password"
#: Requests of one address at a time: nginx keeps what is uploaded on disk until it is whole.
AT_A_TIME = 32
#: MiB that may be sent to anything but the page.
OTHER_MEGABYTES = 1
#: Seconds that nginx waits longer than the page, whose words are better.
LONGER = 5


@dataclass(frozen=True)
class Front:
    """What nginx is told besides the page's settings. `names`: by which visitors reach it, besides those that the page
    is allowed; `listen`: addresses or ports; `dashboard`: the path of the dashboard; `allow`: networks from which it is
    reached without a password; none: with one of the file `passwords`; `resolver`: the name server that is asked again
    and again for the names of both; none: nginx asks once, when it starts."""

    names: Sequence[str] = ()
    listen: Sequence[str] = ("80", "[::]:80")
    dashboard: str = "/dashboard"
    allow: str = ""
    passwords: str = PASSWORDS
    resolver: str = ""


def settings_of(service: Service) -> Settings:
    """By which a server of the service runs."""
    note = service.note()
    texts = {name: text for name, text in note.settings.items() if text is not None}
    return from_environment({**texts, "GREENR_STORE": note.store})


def configuration(service: Service, dashboard_at: str, front: Front) -> str:
    """The file for nginx; the same for the same settings. `dashboard_at`: the address of the dashboard, without a slash
    behind it. Raises GreenrError for what cannot be written there."""
    settings = settings_of(service)
    if not (service.port or service.elsewhere):
        raise GreenrError(
            "port 0 is another one at each start: set port = 8008 under [DeployApp] in luigi.cfg"
        )
    root_path, dashboard = settings.root_path, _read("--dashboard", prefix, front.dashboard)
    if not dashboard or (root_path and _one_in_the_other(dashboard, root_path)):
        raise GreenrError(
            f"--dashboard {front.dashboard}: expected a path of its own, such as /dashboard, where nothing "
            f"of {root_path or 'the page'} lies"
        )
    errors = [
        *(
            (name, 413, "upload-too-large", f"too large: send at most {megabytes} MB at once", "")
            for name, megabytes in (
                ("@too_large_for_page", _upload(settings) >> 20),
                ("@too_large", OTHER_MEGABYTES),
            )
        ),
        ("@too_often", 429, "too-often", "too many requests at once from your address: wait a moment", "1"),
        ("@away", 503, "busy", "what answers here is not running, or starts: try again in a moment", "5"),
    ]
    names = dict.fromkeys([*settings.allowed_hosts, *_names(front)])
    page_at = (service.elsewhere or readiness.url(service.note())).removesuffix("/")
    if not re.fullmatch(r"https?://([\w.-]+|\[[\d.:A-Fa-f]+\])(:\d+)?", dashboard_at, re.ASCII):
        raise GreenrError(
            f"{dashboard_at}: expected the dashboard's address without a path, http://127.0.0.1:8082"
        )
    leading = f"    location = {root_path} {{ return 301 {root_path}/; }}\n"
    leading += f"    location = / {{ return 302 {root_path}/; }}\n    location / {{ return 404; }}\n"
    return TEMPLATE.format(
        zone=f"greenr_{service.port}",
        at_a_time=AT_A_TIME,
        listen="\n".join(
            f"    listen {_read('--listen', listening, one)};" for one in dict.fromkeys(front.listen)
        ),
        names=" ".join(map(bracketed, names)) or "_",
        header_seconds=math.ceil(settings.header_seconds),
        body_seconds=math.ceil(settings.body_seconds),
        answer_seconds=math.ceil(settings.answer_seconds) + LONGER,
        body_bytes=_upload(settings),
        other_megabytes=OTHER_MEGABYTES,
        root_path=root_path,
        **_upstreams(front, page_at, dashboard, dashboard_at),
        leading=leading if root_path else "",
        dashboard=dashboard,
        door=door(front),
        errors="\n".join(
            ERROR.format(
                name=name,
                status=status,
                code=code,
                message=message,
                more=f"\n        add_header Retry-After {again} always;" if again else "",
            )
            for name, status, code, message, again in errors
        ),
    )


def _upstreams(front: Front, page: str, prefix: str, dashboard: str) -> dict[str, str]:
    """The parts of the template that say where the page and the dashboard are. `prefix`: of the dashboard."""
    if not front.resolver:
        return {"resolver": "", "page_at": page, "dashboard_at": f"        proxy_pass {dashboard}/;"}
    resolver = bracketed(_read("--resolver", lambda text: str(ipaddress.ip_address(text)), front.resolver))
    # With a variable nginx takes no prefix off by itself. A path may have line ends, at its end too.
    rewritten = (
        f"        rewrite (?s)^{re.escape(prefix)}(/.*)\\z $1 break;\n        proxy_pass $greenr_dashboard;"
    )
    looked_up = RESOLVER.format(resolver=resolver, page=page, dashboard=dashboard)
    return {"resolver": looked_up, "page_at": "$greenr_page", "dashboard_at": rewritten}


def lacking(service: Service, front: Front) -> list[str]:
    """The lines that luigi.cfg lacks for page and dashboard to be right behind this nginx. Which settings a server has
    that others start, only they know."""
    settings = settings_of(service)
    lines = []
    if not service.elsewhere:
        # It asks this machine from the address that it asks for.
        host = ipaddress.ip_address(sockets.on_this_machine(service.host))
        if not any(host in network for network in settings.trusted_proxies):
            lines.append(f"[server] trusted_proxies = {host}")
    allowed = dict.fromkeys([*settings.allowed_hosts, *_names(front)])
    if len(allowed) > len(settings.allowed_hosts):
        lines.append(f"[server] allowed_hosts = {','.join(allowed)}")
    return lines


def _one_in_the_other(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _upload(settings: Settings) -> int:
    return intake.most_bytes(settings.batch)


def _names(front: Front) -> list[str]:
    return [_read("--name", host_name, name) for name in front.names]


def _read(option: str, read: Callable[[str], Value], text: str) -> Value:
    try:
        return read(text)
    except ValueError as error:
        raise GreenrError(f"{option} {text}: {error}") from None


def listening(text: str) -> str:
    found = re.fullmatch(r"(?:(?:[\w.-]+|\[[0-9A-Fa-f:]+\]):)?([0-9]{1,5})", text)
    if not found or not 1 <= int(found[1]) <= 65535:
        raise ValueError("expected a port or an address with one, such as 8080 or 127.0.0.1:8080")
    return text


def door(front: Front) -> str:
    if front.allow:
        allowed = _read("--allow", networks, front.allow)
        lines = [*(f"allow {network};" for network in allowed), "deny all;"]
    else:
        if not re.fullmatch(r"(/[\w.@+-]+)+", front.passwords, re.ASCII):
            raise GreenrError(f"--passwords {front.passwords}: expected an absolute path of plain letters")
        lines = [
            "# Nobody gets in until there is this file: docs/serving.md says how to write it.",
            'auth_basic "dashboard";',
            f"auth_basic_user_file {front.passwords};",
        ]
    return "\n".join(f"        {line}" for line in lines)


def bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name
