"""The model servers behind every proxy: one process, a version of the service on each pair of ports."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from .processes import Gone, Process
from .scenarios import WEIGHTS, Protocol

# Lengths of what `benches/backend.rs` answers; h2load tells whether all of it came through.
REPLY_BYTES: dict[Protocol, int] = {"rest": 60, "grpc": 105}


@dataclass(frozen=True)
class Arrived:
    """What reached one version."""

    requests: int
    body_bytes: int


class Backend:
    def __init__(self, binary: Path, core: int, folder: Path) -> None:
        self.process = Process([str(binary), *WEIGHTS], core, folder / "backend.log", piped=True)
        assert self.process.child.stdout is not None
        line = self.process.child.stdout.readline()
        if not line:
            self.process.child.wait()
            self.process.check()
        places = json.loads(line)
        self._control = places["control"]
        self._versions: dict[str, dict[Protocol, str]] = places["versions"]

    def address(self, version: str, protocol: Protocol) -> str:
        """Where this version takes this protocol, as `IP:port`."""
        return self._versions[version][protocol]

    def arrived(self, protocol: Protocol) -> dict[str, Arrived]:
        """What has reached each version since the start."""
        host, port = self._control.split(":")
        try:
            with socket.create_connection((host, int(port)), timeout=5) as control:
                said = control.makefile().read()
        except OSError as error:
            raise Gone(f"the backend does not answer: {error}") from error
        return {version: Arrived(**counts[protocol]) for version, counts in json.loads(said).items()}

    def stop(self) -> None:
        self.process.stop()
