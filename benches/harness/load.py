"""One run of h2load, a closed loop: each connection keeps its streams busy until the requests are used up.

Runs are bounded by a count of requests, never by h2load's own clock (`-D`), which can hang on large HTTP/1 bodies,
and by a deadline of ours.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .backend import REPLY_BYTES
from .scenarios import Scenario


@dataclass(frozen=True)
class Load:
    """What the callers saw."""

    asked: int
    succeeded: int
    """Answered with a 2xx; for gRPC, too, this is HTTP's status only."""
    body_bytes: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.succeeded / self.seconds if self.seconds else 0.0

    def failures(self, scenario: Scenario, arrived: int) -> int:
        """Requests that did not get their whole answer, or were answered without (or more than once by) a model
        server: a gRPC error is a 200 without a message."""
        whole = self.body_bytes // REPLY_BYTES[scenario.protocol]
        return max(self.asked - self.succeeded, self.asked - whole, abs(self.asked - arrived))


@dataclass(frozen=True)
class Finished:
    """A run that is over, but not looked at yet: reading a long log must not count as part of the run."""

    asked: int
    stdout: str
    log: Path
    fault: str
    """Why there is no result; empty if there is one."""


class Loader:
    def __init__(self, h2load: Path, core: int, folder: Path) -> None:
        self._h2load = h2load
        self._core = core
        self._folder = folder

    def run(self, scenario: Scenario, port: int, requests: int, deadline_seconds: float) -> Finished:
        """Sends `requests`, at least one a stream, and waits for the answers until the deadline."""
        requests = max(requests, scenario.connections * scenario.streams)
        body, log = self._folder / f"{scenario.name}.body", self._folder / "h2load.log"
        body.write_bytes(scenario.body)
        log.unlink(missing_ok=True)  # h2load appends
        argv = ["taskset", "-c", str(self._core), str(self._h2load), f"--requests={requests}", "--threads=1"]
        argv += [f"--clients={scenario.connections}", f"--max-concurrent-streams={scenario.streams}"]
        argv += [f"--data={body}", f"--log-file={log}"]
        argv += ["--h1"] if scenario.protocol == "rest" else []
        argv += [f"--header={header}" for header in scenario.headers]
        argv += [f"http://127.0.0.1:{port}{scenario.path}"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=deadline_seconds, check=False)
        except subprocess.TimeoutExpired:
            return Finished(requests, "", log, f"no end after {deadline_seconds:.0f} s")
        good = done.returncode == 0 and "finished in" in done.stdout
        return Finished(requests, done.stdout, log, "" if good else (done.stderr or done.stdout).strip()[-500:])


def result(finished: Finished) -> Load:
    """Reads what h2load printed and logged."""
    rows = (line.split("\t") for line in finished.log.read_text().splitlines())
    # start, status, microseconds; of a request without an answer the last is anything
    latencies = sorted(int(row[2]) for row in rows if row[1].startswith("2"))
    return Load(
        asked=finished.asked,
        succeeded=figure(r"status codes: (\d+) 2xx", finished.stdout),
        body_bytes=figure(r"\((\d+)\) data", finished.stdout),
        seconds=seconds(finished.stdout),
        p50_ms=percentile(latencies, 0.50) / 1e3,
        p99_ms=percentile(latencies, 0.99) / 1e3,
    )


def figure(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, f"h2load did not print {pattern!r}"
    return int(found[1])


def seconds(text: str) -> float:
    found = re.search(r"finished in ([\d.]+)(us|ms|s|m)\b", text)
    assert found, "h2load did not print how long it took"
    return float(found[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[found[2]]


def percentile(ordered: list[int], share: float) -> float:
    """By the nearest rank."""
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))]) if ordered else 0.0
