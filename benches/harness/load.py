"""One run of bench-load (`benches/load`), our own generator: it checks each answer whole and counts faults by kind."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .scenarios import Scenario


@dataclass(frozen=True)
class Load:
    """What the callers saw."""

    asked: int
    succeeded: int
    failed: dict[str, int]
    """By kind: connect, status, grpc_status, closed, timeout, body."""
    seconds: float
    latency_us: dict[str, float]
    """min, mean, p50, p90, p99, p999, max; of an open loop from when each request was due."""
    late: int
    """Requests of an open loop that were sent more than a millisecond after they were due."""
    idle_opened: int = 0
    """Of the connections that only stay, those on which the one request was answered."""
    idle_closed: int = 0
    """Of them, those that were closed before the load was over: a proxy that drops them only looks small."""

    @property
    def per_second(self) -> float:
        return self.succeeded / self.seconds if self.seconds else 0.0

    def failures(self, scenario: Scenario, arrived: int) -> int:
        """Requests that did not get their whole answer, or were answered without (or more than once by) a model
        server; and idle connections that were not to be had, or were not kept."""
        wanted = self.asked + scenario.idle
        of_requests = max(self.asked - self.succeeded, sum(self.failed.values()), abs(wanted - arrived))
        return of_requests + max(0, scenario.idle - self.idle_opened) + self.idle_closed


@dataclass(frozen=True)
class Finished:
    """A run that is over, but not looked at yet."""

    stdout: str
    fault: str
    """Why there is no result; empty if there is one."""


class Loader:
    def __init__(self, program: Path, core: int, folder: Path) -> None:
        self._program = program
        self._core = core
        self._folder = folder

    def run(
        self,
        scenario: Scenario,
        port: int,
        requests: int = 0,
        deadline_seconds: float = 60.0,
        seconds: float = 0.0,
        rate: float = 0.0,
    ) -> Finished:
        """Sends `requests`, at least one a stream, or for `seconds`; in open loop if there is a rate. Waits for the
        answers until the deadline."""
        body = self._folder / f"{scenario.name}.body"
        if not body.exists():
            body.write_bytes(scenario.body)
        argv = ["taskset", "-c", str(self._core), str(self._program), f"--address=127.0.0.1:{port}"]
        argv += [f"--protocol={'grpc' if scenario.protocol == 'grpc' else 'http1'}", f"--path={scenario.path}"]
        argv += [f"--connections={scenario.connections}", f"--streams={scenario.streams}", f"--body={body}"]
        argv += [f"--host={scenario.host}", f"--content-type={scenario.content_type}"]
        argv += [f"--header={header}" for header in scenario.headers]
        argv += ["--new-connections"] if scenario.new_connections else []
        argv += [f"--idle={scenario.idle}"] if scenario.idle else []
        argv += [f"--rate={rate:.1f}"] if rate else []
        argv += [f"--seconds={seconds}"] if seconds else []
        argv += [f"--requests={max(requests, scenario.connections * scenario.streams)}"] if requests else []
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=deadline_seconds, check=False)
        except subprocess.TimeoutExpired:
            return Finished("", f"no end after {deadline_seconds:.0f} s")
        good = done.returncode == 0 and done.stdout.startswith("{")
        return Finished(done.stdout, "" if good else (done.stderr or done.stdout).strip()[-500:] or "nothing said")


def result(finished: Finished) -> Load:
    """Reads what bench-load printed."""
    said = json.loads(finished.stdout)
    return Load(
        asked=said["requests"],
        succeeded=said["succeeded"],
        failed={kind: count for kind, count in said["failed"].items() if count},
        seconds=said["seconds"],
        latency_us=said["latency_us"],
        late=said.get("late", 0),
        idle_opened=said["idle"]["opened"],
        idle_closed=said["idle"]["closed"],
    )
