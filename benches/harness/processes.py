"""Programs that the comparison starts, pinned to a core, and what the kernel tells about them.

Everything is read from /proc. The CPU of a process is its time on a core, user and system, in nanoseconds
(`schedstat` of each thread of each child); the 10 ms ticks of `stat` are too coarse for short rounds.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
# Weir waits five seconds for its callers to notice; here there are none any more.
STOP_SECONDS = 0.5


class Gone(Exception):
    """A program ended, or never served."""


def free_port() -> int:
    """A port of loopback that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A running program on one core (or on several, as `taskset` lists them). Its output is in `log`, but for stdout if
    `piped`."""

    def __init__(self, argv: list[str], core: int | str, log: Path, piped: bool = False) -> None:
        self.name = Path(argv[0]).name
        self.log = log
        with log.open("wb") as output:
            self.child = subprocess.Popen(
                ["taskset", "-c", str(core), *argv],  # taskset becomes the program: the process id stays
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        return self.child.pid

    def check(self) -> None:
        """Raises `Gone`, with what the program said last, if it has ended."""
        if self.child.poll() is not None:
            said = self.log.read_text(errors="replace").strip().splitlines()
            raise Gone(f"{self.name} ended with {self.child.returncode}: " + " / ".join(said[-5:]))

    def stop(self) -> None:
        """Ends it and its children: politely first, as a master must end its workers."""
        stop_all([self])

    def family(self) -> list[int]:
        """The process and all that it started and that still live."""
        found = [self.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found.extend(int(child) for child in read(children).split())
        return found

    def cpu_seconds(self) -> float:
        """Time on a core so far. What ended threads used is missing: `cpu_ticks` has it."""
        nanoseconds = 0
        for pid in self.family():
            for threads in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                nanoseconds += int((read(threads) or "0").split()[0])
        return nanoseconds / 1e9 or self.cpu_ticks()

    def cpu_ticks(self) -> float:
        """The same in seconds by 10 ms ticks, ended threads included."""
        ticks = 0
        for pid in self.family():
            fields = read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
            if fields:
                ticks += int(fields[11]) + int(fields[12])
        return ticks * TICK_SECONDS

    def pss_bytes(self) -> int:
        """Memory now: its own, and its share of what it shares."""
        total = 0
        for pid in self.family():
            for line in read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def peak_rss_bytes(self) -> int:
        """The kernel's own high-water mark: no sample misses it, but shared pages count in full."""
        total = 0
        for pid in self.family():
            for line in read(Path(f"/proc/{pid}/status")).splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
        return total


def read(path: Path) -> str:
    """A file of /proc, empty if its process went away meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def stop_all(processes: list[Process], grace_seconds: float = STOP_SECONDS) -> None:
    """Ends all of them and their children; those that take their time have it together."""
    families = [process.family() for process in processes]
    for process in processes:
        if process.child.poll() is None:
            process.child.terminate()
    deadline = time.monotonic() + grace_seconds
    for process in processes:
        try:
            process.child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.child.kill()
            process.child.wait()
    for pid in (child for family in families for child in family[1:]):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class PeakPss:
    """Samples a process's memory ten times a second, while a `with` block runs."""

    INTERVAL_SECONDS = 0.1

    def __init__(self, process: Process) -> None:
        self.process = process
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, self.process.pss_bytes())
            if self._done.wait(self.INTERVAL_SECONDS):
                return

    def __enter__(self) -> PeakPss:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@dataclass(frozen=True)
class CoreTime:
    """What a core has done since the machine started, by the clock that all its processes share."""

    busy_seconds: float
    steal_seconds: float

    @classmethod
    def now(cls, core: int) -> CoreTime:
        for line in read(Path("/proc/stat")).splitlines():
            name, *ticks = line.split()
            if name == f"cpu{core}":
                user, nice, system, _idle, _wait, irq, softirq, steal = (int(tick) for tick in ticks[:8])
                busy = user + nice + system + irq + softirq
                return cls(busy * TICK_SECONDS, steal * TICK_SECONDS)
        raise Gone(f"this machine has no core {core}")

    def since(self, earlier: CoreTime) -> CoreTime:
        return CoreTime(self.busy_seconds - earlier.busy_seconds, self.steal_seconds - earlier.steal_seconds)
