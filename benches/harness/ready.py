"""Waiting until a proxy serves."""

from __future__ import annotations

import http.client
import socket
import time

from .processes import Gone, Process
from .scenarios import Scenario

READY_SECONDS = 15.0


def await_ready(scenario: Scenario, port: int, process: Process, pause_seconds: float = 0.02) -> None:
    """Until its port answers: REST with a prediction, gRPC with a connection."""
    deadline = time.monotonic() + READY_SECONDS
    said = "nothing"
    while time.monotonic() < deadline:
        process.check()
        try:
            if scenario.protocol == "grpc":
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            status = ask(scenario, port)
            if status == 200:
                return
            said = f"answers {status}"
        except (OSError, http.client.HTTPException) as error:
            said = str(error)
        time.sleep(pause_seconds)
    raise Gone(f"it does not serve: {said}")


def ask(scenario: Scenario, port: int) -> int:
    """The status of one prediction."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        headers = {"host": scenario.host, "content-type": scenario.content_type}
        client.request("POST", scenario.path, scenario.body, headers)
        return client.getresponse().status
    finally:
        client.close()
