"""The model servers behind every proxy: one process, a pair of ports for each endpoint of each version."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from .processes import Gone, Process
from .scenarios import WEIGHTS, Protocol

ONE_EACH = dict.fromkeys(WEIGHTS, 1)


@dataclass(frozen=True)
class Arrived:
    """What reached one version."""

    requests: int
    body_bytes: int


class Backend:
    """`endpoints` says how many of each version: every one listens on ports of its own."""

    def __init__(self, binary: Path, core: int, folder: Path, endpoints: dict[str, int] = ONE_EACH) -> None:
        names = [f"{version}/{number}" for version, count in endpoints.items() for number in range(count)]
        self.process = Process([str(binary), *names], core, folder / "backend.log", piped=True)
        assert self.process.child.stdout is not None
        line = self.process.child.stdout.readline()
        if not line:
            self.process.child.wait()
            self.process.check()
        places = json.loads(line)
        self._control = places["control"]
        self._endpoints: dict[str, dict[Protocol, str]] = places["versions"]

    def addresses(self, version: str, protocol: Protocol) -> list[str]:
        """Where this version takes this protocol, each as `IP:port`."""
        return [place[protocol] for name, place in self._endpoints.items() if version_of(name) == version]

    def arrived(self, protocol: Protocol) -> dict[str, Arrived]:
        """What has reached each version since the start."""
        host, port = self._control.split(":")
        try:
            with socket.create_connection((host, int(port)), timeout=5) as control:
                said = control.makefile().read()
        except OSError as error:
            raise Gone(f"the backend does not answer: {error}") from error
        found = dict.fromkeys(WEIGHTS, Arrived(0, 0))
        for name, counts in json.loads(said).items():
            version, more = version_of(name), counts[protocol]
            sofar = found[version]
            found[version] = Arrived(sofar.requests + more["requests"], sofar.body_bytes + more["body_bytes"])
        return found

    def stop(self) -> None:
        self.process.stop()


def version_of(name: str) -> str:
    return name.partition("/")[0]
