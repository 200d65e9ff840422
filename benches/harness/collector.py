"""A collector that takes every span and looks at none: what Weir's tracing costs is measured, not what becomes of it."""

from __future__ import annotations

import http.server
import threading
from functools import cache


class Taking(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """A measurement is not to be written over."""


@cache
def collector() -> str:
    """Where it listens, from the first call on and as long as the measurement lasts."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"
