"""What one round of one proxy is: a run of the load, what it cost, and what else happened."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from .backend import Backend
from .during import Repeated, metric, reloading, scraping, watching
from .load import Load, Loader, result
from .processes import CoreTime, Gone, Process, free_port
from .proxies import Proxy, Site
from .ready import await_ready
from .scenarios import WEIGHTS, Scenario, Shape
from .weir import access_log

MIB = 1024 * 1024
# Requests on each stream in a smoke round.
SMOKE_TURNS = 10
# By then new rules have to be in force.
RELOAD_SECONDS = 1.5
# How long the log may take to be written once the load is over.
LOG_SECONDS = 2.0
# How far a share of the requests may be from the one that is configured.
SPLIT_SLACK = 0.01
RELOADS = 'weir_config_reloads_total{result="accepted"}'


@dataclass(frozen=True)
class Settings:
    rounds: int
    seconds: float
    """How long one proxy's part of a round lasts."""
    warm_seconds: float
    """Load before the first round, for caches, pools and buffers to fill."""
    smoke: bool
    """In closed loop a few requests in place of the seconds, in which a slow machine may get none done."""
    load_core: int
    proxy_core: int

    @property
    def deadline_seconds(self) -> float:
        return 20 + 10 * self.seconds


@dataclass(frozen=True)
class Round:
    """One proxy's part of a round."""

    figures: dict[str, float]
    """Named in `report.FIGURES`."""
    failures: int
    failed: dict[str, int]
    """By kind."""


@dataclass
class Contender:
    """A proxy in a scenario: running, or gone."""

    name: str
    proxy: Proxy
    binary: Path
    shape: Shape
    is_candidate: bool = False
    """What happens during a scenario happens to it alone."""
    rounds: list[Round | None] = field(default_factory=list)
    """One a round, None where it served nothing."""
    faults: list[str] = field(default_factory=list)
    process: Process | None = None
    site: Site | None = None
    saturation: float = 0.0
    """Requests a second in the warm-up, a closed loop."""
    warm_pss_mib: float = 0.0
    warm_failures: int = 0
    """Requests that failed in what is not measured; failures all the same."""

    @property
    def served(self) -> list[Round]:
        return [done for done in self.rounds if done is not None]

    @property
    def failures(self) -> int:
        """Requests that failed, and one for each fault of the proxy itself."""
        measured = sum(done.failures for done in self.rounds if done is not None)
        return measured + self.warm_failures + len(self.faults)

    def running(self) -> tuple[Process, Site]:
        if self.process is None or self.site is None:
            raise Gone(f"{self.name} was not started")
        return self.process, self.site


@dataclass(frozen=True)
class Meter:
    """All clocks at one moment."""

    at: float
    cpu: float
    ticks: float
    backend_cpu: float
    proxy_core: CoreTime
    load_core: CoreTime


class Bench:
    """What all scenarios share: the backend, the load, the cores, a folder for configurations and logs."""

    def __init__(self, settings: Settings, backend: Backend, loader: Loader, folder: Path) -> None:
        self.settings = settings
        self.backend = backend
        self.loader = loader
        self.folder = folder

    def cores(self, scenario: Scenario) -> str:
        """Where a proxy runs. The load and the backend stay on theirs."""
        settings = self.settings
        both = f"{settings.load_core},{settings.proxy_core}"
        return both if scenario.shape.workers > 1 else str(settings.proxy_core)

    def set_up(self, scenario: Scenario, contender: Contender, name: str) -> tuple[Site, list[str]]:
        """A folder with a configuration, and the command that uses it."""
        folder = self.folder / name
        folder.mkdir()
        site = Site(contender.binary, folder, free_port(), scenario.protocol, self.backend, contender.shape)
        return site, contender.proxy.configure(site)

    def start(self, scenario: Scenario, contender: Contender) -> None:
        name = f"{scenario.name}-{contender.name}-{len(contender.rounds)}"
        site, command = self.set_up(scenario, contender, name)
        process = Process(command, self.cores(scenario), site.folder / "output")
        contender.site, contender.process = site, process
        await_ready(scenario, site.port, process)

    def warm(self, scenario: Scenario, contender: Contender) -> None:
        """In closed loop, whatever the scenario: its pace is the saturation."""
        process, site = contender.running()
        load = self._load(replace(scenario, idle=0), contender, self.settings.warm_seconds, 0.0)
        contender.saturation = load.per_second
        contender.warm_failures += load.asked - load.succeeded
        contender.warm_pss_mib = process.pss_bytes() / MIB
        empty_log(site, load.asked)

    def round(self, scenario: Scenario, contender: Contender, rate: float) -> Round:
        process, site = contender.running()
        if scenario.rewarm_seconds:
            load = self._load(scenario, contender, scenario.rewarm_seconds, 0.0)
            contender.warm_failures += load.asked - load.succeeded
        arrived_before = self.backend.arrived(scenario.protocol)
        reloading_it = bool(scenario.changes_per_second) and contender.is_candidate
        reloads_before = metric(site, RELOADS) if reloading_it else 0.0
        process.forget_peak()
        before = self._read(process)
        with self._during(scenario, contender) as repeated:
            load = self._load(scenario, contender, self.settings.seconds * scenario.length, rate)
        after = self._read(process)
        arrived = {
            version: counts.requests - arrived_before[version].requests
            for version, counts in self.backend.arrived(scenario.protocol).items()
        }
        total = sum(arrived.values())
        figures = self._figures(scenario, load, before, after)
        figures["pss"] = process.peak_pss_bytes() / MIB
        figures["minority"] = arrived["v2"] / total if total else 0.0
        wrong: dict[str, int] = {}
        if contender.proxy.splits_requests and off_split(arrived["v2"], total):
            wrong["split"] = 1
        if scenario.idle:
            figures["pss_by_connection_kib"] = (figures["pss"] - contender.warm_pss_mib) * 1024 / scenario.idle
        if repeated is not None:
            if repeated.fault:
                raise Gone(repeated.fault)
            figures["changes" if reloading_it else "scrapes"] = repeated.times / load.seconds
            # A smoke round may be over before there is one.
            if not (repeated.times or self.settings.smoke):
                wrong["change" if reloading_it else "scrape"] = 1
        if reloading_it:
            figures["reloads"] = (metric(site, RELOADS) - reloads_before) / load.seconds
            if not figures["reloads"] and load.seconds >= RELOAD_SECONDS:
                wrong["reload"] = 1
        if contender.shape.access_log:
            lines = empty_log(site, total)
            figures["logged"] = lines / total if total else 0.0
            if lines < total:
                wrong["log line"] = total - lines
        failures = load.failures(scenario, total) + sum(wrong.values())
        return Round(figures, failures, {**load.failed, **wrong})

    def _during(self, scenario: Scenario, contender: Contender) -> AbstractContextManager[Repeated | None]:
        _, site = contender.running()
        if contender.is_candidate and scenario.changes_per_second:
            return reloading(scenario, site)
        if contender.is_candidate and scenario.watched:
            return watching(site)
        return scraping(site) if contender.is_candidate and scenario.scraped else nullcontext()

    def _load(self, scenario: Scenario, contender: Contender, seconds: float, rate: float) -> Load:
        """A run without a result puts the proxy out: a stall must not look like a fast round."""
        process, site = contender.running()
        few, deadline = 0, self.settings.deadline_seconds
        if self.settings.smoke and not rate:
            few, seconds = SMOKE_TURNS * scenario.connections * scenario.streams, 0.0
        finished = self.loader.run(scenario, site.port, few, deadline, seconds=seconds, rate=rate)
        process.check()
        if finished.fault:
            raise Gone(f"bench-load: {finished.fault}")
        load = result(finished)
        if not load.succeeded:
            raise Gone(f"none of {load.asked} requests succeeded: {load.failed}")
        return load

    def _read(self, process: Process) -> Meter:
        proxy_core, load_core = CoreTime.now(self.settings.proxy_core), CoreTime.now(self.settings.load_core)
        backend, ticks = self.backend.process.cpu_seconds(), process.cpu_ticks()
        return Meter(time.monotonic(), process.cpu_seconds(), ticks, backend, proxy_core, load_core)

    def _figures(self, scenario: Scenario, load: Load, before: Meter, after: Meter) -> dict[str, float]:
        wall, cpu = after.at - before.at, after.cpu - before.cpu
        proxy_core = after.proxy_core.since(before.proxy_core)
        count = max(1, load.succeeded)
        figures = {
            "per_second": load.per_second,
            "cpu": cpu * 1e6 / count,
            "p50": load.latency_us["p50"] / 1e3,
            "p99": load.latency_us["p99"] / 1e3,
            "p999": load.latency_us["p999"] / 1e3,
            "late": load.late / count,
            "core": cpu / wall,
            "load_core": after.load_core.since(before.load_core).busy_seconds / wall,
            "backend": (after.backend_cpu - before.backend_cpu) * 1e6 / count,
            "steal": proxy_core.steal_seconds / wall,
            "cpu_seconds": cpu,
            "cpu_ticks": after.ticks - before.ticks,
        }
        if scenario.shape.workers == 1:
            figures["foreign"] = max(0.0, proxy_core.busy_seconds - cpu) / wall
        return figures


def off_split(minority: int, total: int) -> bool:
    """Whether v2 got another share than it was to get. Where there are few requests, proxies that draw lots may be as far
    from it as chance alone takes them."""
    share = WEIGHTS["v2"] / sum(WEIGHTS.values())
    chance = 4 * (share * (1 - share) / total) ** 0.5 if total else 0.0
    return bool(total) and abs(minority / total - share) > max(SPLIT_SLACK, chance)


def empty_log(site: Site, wanted: int) -> int:
    """Lines of the access log, which is emptied: it grows by 20 MiB a second. The last of them may be yet to be
    written."""
    log = access_log(site.folder)
    if not log.exists():
        return 0
    deadline = time.monotonic() + LOG_SECONDS
    with log.open("r+b") as file:
        lines = 0
        while True:
            lines += sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(MIB), b""))
            if lines >= wanted or time.monotonic() > deadline:
                break
            time.sleep(0.01)
        file.truncate(0)
    return lines
