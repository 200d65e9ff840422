"""Runs the rounds of a scenario and keeps what each proxy used and did."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .backend import Backend
from .load import Finished, Load, Loader, result
from .processes import CoreTime, Gone, PeakPss, Process, free_port
from .proxies import Proxy, Site
from .scenarios import Scenario

T = TypeVar("T")

READY_SECONDS = 15.0
# Bursts before the first round, for caches, pools and buffers to fill; the last one's pace sets the requests a round.
WARM_UPS = 2


@dataclass(frozen=True)
class Settings:
    rounds: int
    seconds: float
    """How long one proxy's part of a round is to last; 0 asks for the scenario's smoke requests, without warm-up."""
    load_core: int
    proxy_core: int

    @property
    def deadline_seconds(self) -> float:
        return 10 + 5 * self.seconds


@dataclass(frozen=True)
class Round:
    """One proxy's part of a round: a run of the load, and what it cost."""

    load: Load
    failures: int
    cpu_seconds: float
    """User and system time of the proxy, of all its threads and children."""
    cpu_ticks: float
    """The same by the kernel's 10 ms ticks, as a check."""
    peak_pss_bytes: int
    minority_share: float
    """Requests that reached v2, of those that reached any version."""
    wall_seconds: float
    proxy_core_busy: float
    """Share of the time that the proxy's core worked, for whomever."""
    proxy_core_foreign: float
    """Of that, what the proxy did not use: the noise."""
    load_core_busy: float
    backend_cpu_seconds: float
    steal: float
    """Share of the time that the machine's host kept the proxy's core for itself."""

    @property
    def cpu_us_per_request(self) -> float:
        return self.cpu_seconds * 1e6 / self.load.succeeded if self.load.succeeded else 0.0


@dataclass
class Contender:
    """A proxy in a scenario: running, or gone."""

    proxy: Proxy
    binary: Path
    rounds: list[Round | None] = field(default_factory=list)
    """One a round, None where it served nothing."""
    peak_rss_bytes: int = 0
    faults: list[str] = field(default_factory=list)
    process: Process | None = None
    port: int = 0
    requests: int = 0
    """What one round sends."""

    @property
    def name(self) -> str:
        return self.proxy.name

    @property
    def served(self) -> list[Round]:
        return [done for done in self.rounds if done is not None and done.load.succeeded]

    @property
    def failures(self) -> int:
        """Requests that failed, and one for each fault of the proxy itself."""
        return sum(done.failures for done in self.rounds if done is not None) + len(self.faults)


class Bench:
    """What all scenarios share: the backend, the load, the cores, a folder for configurations and logs."""

    def __init__(self, settings: Settings, backend: Backend, loader: Loader, folder: Path) -> None:
        self.settings = settings
        self.backend = backend
        self.loader = loader
        self.folder = folder

    def run(self, scenario: Scenario, contenders: list[Contender], tell: Callable[[str], None]) -> None:
        """All rounds of a scenario. The order turns round each time (A B, B A, A B ...), so that neither a slow drift
        nor a fixed place favours anybody."""
        try:
            for contender in contenders:
                self._guarded(self._start, scenario, contender)
            for number in range(self.settings.rounds):
                tell(f"round {number + 1} of {self.settings.rounds}")
                for contender in contenders if number % 2 == 0 else contenders[::-1]:
                    contender.rounds.append(self._guarded(self._round, scenario, contender))
        finally:
            for contender in contenders:
                if contender.process is not None:
                    contender.peak_rss_bytes = contender.process.peak_rss_bytes()
                    contender.process.stop()
                    contender.process = None

    def _guarded(self, step: Callable[[Scenario, Contender], T], scenario: Scenario, contender: Contender) -> T | None:
        """A proxy that ends, or never serves, is out of the scenario; the others go on."""
        if contender.faults:
            return None
        try:
            return step(scenario, contender)
        except Gone as fault:
            contender.faults.append(str(fault))
            return None

    def _start(self, scenario: Scenario, contender: Contender) -> None:
        folder = self.folder / f"{scenario.name}-{contender.name}"
        folder.mkdir()
        contender.port = free_port()
        site = Site(contender.binary, folder, contender.port, scenario.protocol, self.backend)
        command = contender.proxy.configure(site)
        contender.process = Process(command, self.settings.proxy_core, folder / "log")
        self._await_ready(scenario, contender)
        contender.requests = scenario.smoke_requests
        if self.settings.seconds:
            for _ in range(WARM_UPS):
                load = result(self._load(scenario, contender))
            contender.requests = max(scenario.smoke_requests, round(load.per_second * self.settings.seconds))

    def _await_ready(self, scenario: Scenario, contender: Contender) -> None:
        """Until its port answers: REST with a prediction, gRPC with a connection."""
        assert contender.process is not None
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            contender.process.check()
            try:
                if scenario.protocol == "grpc":
                    socket.create_connection(("127.0.0.1", contender.port), timeout=1).close()
                    return
                client = http.client.HTTPConnection("127.0.0.1", contender.port, timeout=2)
                client.request("POST", scenario.path, scenario.body)
                status = client.getresponse().status
                client.close()
                if status == 200:
                    return
                said = f"answers {status}"
            except (OSError, http.client.HTTPException) as error:
                said = str(error)
            time.sleep(0.05)
        raise Gone(f"{contender.name} does not serve: {said}")

    def _load(self, scenario: Scenario, contender: Contender) -> Finished:
        """A run without a result puts the proxy out: a stall must not look like a fast round."""
        finished = self.loader.run(scenario, contender.port, contender.requests, self.settings.deadline_seconds)
        assert contender.process is not None
        contender.process.check()
        if finished.fault:
            raise Gone(f"h2load: {finished.fault}")
        return finished

    def _round(self, scenario: Scenario, contender: Contender) -> Round:
        process, backend, settings = contender.process, self.backend, self.settings
        assert process is not None
        arrived_before = backend.arrived(scenario.protocol)
        proxy_core_before = CoreTime.now(settings.proxy_core)
        load_core_before = CoreTime.now(settings.load_core)
        backend_before = backend.process.cpu_seconds()
        ticks_before = process.cpu_ticks()
        cpu_before, started = process.cpu_seconds(), time.monotonic()
        with PeakPss(process) as pss:
            finished = self._load(scenario, contender)
        wall, cpu = time.monotonic() - started, process.cpu_seconds() - cpu_before
        ticks = process.cpu_ticks() - ticks_before
        proxy_core = CoreTime.now(settings.proxy_core).since(proxy_core_before)
        load_core = CoreTime.now(settings.load_core).since(load_core_before)
        backend_cpu = backend.process.cpu_seconds() - backend_before
        arrived = {
            version: counts.requests - arrived_before[version].requests
            for version, counts in backend.arrived(scenario.protocol).items()
        }
        total, load = sum(arrived.values()), result(finished)
        return Round(
            load=load,
            failures=load.failures(scenario, total),
            cpu_seconds=cpu,
            cpu_ticks=ticks,
            peak_pss_bytes=pss.bytes,
            minority_share=arrived["v2"] / total if total else 0.0,
            wall_seconds=wall,
            proxy_core_busy=proxy_core.busy_seconds / wall,
            proxy_core_foreign=max(0.0, proxy_core.busy_seconds - cpu) / wall,
            load_core_busy=load_core.busy_seconds / wall,
            backend_cpu_seconds=backend_cpu,
            steal=proxy_core.steal_seconds / wall,
        )
