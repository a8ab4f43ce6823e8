"""A webhook on loopback, which hears what is sent to those whom [notify] names."""

from __future__ import annotations

import http.server
import json
import threading

SECRET = "hunter2-of-the-hook"


class Hook(http.server.BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if status := self.server.refuses:
            self.send_response(status)
        else:
            self.server.got.append((self.path, json.loads(body)))
            self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Webhook(http.server.ThreadingHTTPServer):
    """`got`: (path, what was posted); `refuses`: with which status, None if it does not."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.got: list[tuple[str, dict[str, str]]] = []
        self.refuses: int | None = None
        self.url = f"json://127.0.0.1:{self.server_port}/{SECRET}"
        threading.Thread(target=self.serve_forever, args=(0.02,)).start()

    def __exit__(self, *how: object) -> None:
        self.shutdown()
        super().__exit__(*how)
