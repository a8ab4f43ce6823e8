"""Who gets in: a browser that asks this machine by a name of its own, and programs. A page elsewhere can give its name
the address of this machine (DNS rebinding), or have a browser ask here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import tornado.httputil
import tornado.routing
import tornado.web

from greenr_luigi.http_security import HEADERS
from greenr_luigi.web.hosts import is_ours, requested

#: For Luigi's own pages, whose styles stand in them: nothing from another host, and no script that came with a name.
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

#: What changes nothing of Luigi's API.
READS = {
    "task_list",
    "task_search",
    "worker_list",
    "resource_list",
    "dep_graph",
    "inverse_dep_graph",
    "graph",
    "fetch_error",
    "get_task_status_message",
    "get_task_progress_percentage",
    "get_scheduler_message_response",
    "is_paused",
    "is_pause_enabled",
    "has_task_history",
}


class Door(tornado.routing.Router):
    """Passes on to `inside` what may come in. `names`: of this machine, and allowed ones."""

    def __init__(self, inside: tornado.routing.Router, names: Collection[str]) -> None:
        self.inside, self.names = inside, names

    def find_handler(self, request: tornado.httputil.HTTPServerRequest, **more: Any) -> Any:
        if words := self.why_not(request):
            refusing = tornado.web.Application([(".*", Refused, {"words": words})], transforms=[Closed])
            return refusing.find_handler(request, **more)
        return self.inside.find_handler(request, **more)

    def why_not(self, request: tornado.httputil.HTTPServerRequest) -> str | None:
        name = requested(request.headers.get_list("Host"))
        if not is_ours(name, self.names):
            return (
                f"this dashboard does not know that it goes by the name {name}. If it does, set allowed_hosts = {name} "
                "under [server] in luigi.cfg, and start it again"
            )
        # A link elsewhere may lead to a page; what changes something is asked for by our own pages and programs.
        if "/api/" in request.path and from_elsewhere(request):
            return "another page asks this"
        return None


def from_elsewhere(request: tornado.httputil.HTTPServerRequest) -> bool:
    """Whether it may be a page elsewhere that has a browser ask this. At plain http a browser does not say so: there
    our pages' scripts say that they are such, and a form names its page. Programs use POST for what changes."""
    headers = request.headers
    if site := headers.get("Sec-Fetch-Site"):
        return site not in ("none", "same-origin")
    if "X-Requested-With" in headers:
        return False
    if origin := headers.get("Origin"):
        return requested([origin.partition("://")[2]]) != requested(headers.get_list("Host"))
    return request.method == "GET" and request.path.rpartition("/")[2] not in READS


class Refused(tornado.web.RequestHandler):
    """Answers 403, and why."""

    def initialize(self, words: str) -> None:
        self.words = words

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{self.words}\n")


class Closed(tornado.web.OutputTransform):
    """Gives every answer the headers that keep other pages away, unless it has its own."""

    def transform_first_chunk(
        self, status_code: int, headers: tornado.httputil.HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, tornado.httputil.HTTPHeaders, bytes]:
        for name, value in {**HEADERS, "Content-Security-Policy": POLICY}.items():
            if name not in headers:
                headers[name] = value
        return status_code, headers, chunk
