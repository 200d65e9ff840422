"""The rounds of a scenario: who takes part, in which order, at which rate."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .measure import MIB, Bench, Contender, Round
from .processes import Gone, Process, stop_all
from .proxies import CANDIDATE, Proxy
from .ready import await_ready
from .scenarios import Scenario

T = TypeVar("T")

# Of an open loop, by what the slowest of the field serves in a closed one.
RATE_SHARE = 0.3
# How many rounds one process lasts. What it came to by chance (the places of its memory, the seeds of its hashes) would
# otherwise be in all rounds, and the bounds would not know.
FRESH_ROUNDS = 4
# How long a proxy that was just started is left alone before its memory is looked at.
SETTLE_SECONDS = 0.5


def contenders(scenario: Scenario, proxies: list[Proxy], binaries: dict[str, Path], copies: Path) -> list[Contender]:
    """The field; or Weir twice, set up in two ways, where it is compared with itself.

    Everybody runs a copy of its own: PSS shares out the pages of a program among all that run it, whoever they are."""
    found = field_of(scenario, proxies, binaries)
    for contender in found:
        copy = copies / contender.name
        if not copy.exists():
            shutil.copy2(contender.binary, copy)
        contender.binary = copy
    return found


def field_of(scenario: Scenario, proxies: list[Proxy], binaries: dict[str, Path]) -> list[Contender]:
    if scenario.against is not None:
        weir = next((proxy for proxy in proxies if proxy.name == CANDIDATE), None)
        if weir is None:
            return []
        binary, other = binaries[CANDIDATE], scenario.against
        found = [
            Contender(CANDIDATE, weir, binary, scenario.shape, is_candidate=True),
            Contender(other.name, weir, binary, other.shape),
        ]
        for proxy in proxies:
            if proxy.name in other.peers:
                found.append(Contender(proxy.name, proxy, binaries[proxy.name], scenario.shape))
                found.append(Contender(other.of(proxy.name), proxy, binaries[proxy.name], other.shape))
        return found
    found = []
    for proxy in proxies:
        if proxy.images_only and "image" not in scenario.name:
            continue
        contender = Contender(proxy.name, proxy, binaries[proxy.name], scenario.shape, proxy.name == CANDIDATE)
        found.append(contender)
    return found


def run(bench: Bench, scenario: Scenario, field: list[Contender], tell: Callable[[str], None]) -> float:
    """All rounds; the rate of an open loop, else 0. The order turns round each time (A B, B A, A B ...), so that
    neither a slow drift nor a fixed place favours anybody."""
    rate = 0.0
    try:
        for number in range(bench.settings.rounds):
            if scenario.mode != "start" and number % FRESH_ROUNDS == 0:
                stop_all([one.process for one in field if one.process is not None], grace_seconds=0.0)
                for contender in field:
                    tell(f"{scenario.name}: {contender.name} starts")
                    guarded(contender, lambda one: start(bench, scenario, one))
                if scenario.mode == "open":
                    # The same all along: the first are as good as the next.
                    rate = rate or common_rate(field)
            tell(f"{scenario.name}: round {number + 1} of {bench.settings.rounds}")
            for contender in field if number % 2 == 0 else field[::-1]:
                if scenario.mode == "start":
                    done = guarded(contender, lambda one: start_once(bench, scenario, one))
                else:
                    done = guarded(contender, lambda one: bench.round(scenario, one, rate))
                contender.rounds.append(done)
    finally:
        stop_all([contender.process for contender in field if contender.process is not None])
    return rate


def guarded(contender: Contender, step: Callable[[Contender], T]) -> T | None:
    """A proxy that ends, or never serves, is out of the scenario; the others go on."""
    if contender.faults:
        return None
    try:
        return step(contender)
    except Gone as fault:
        contender.faults.append(str(fault))
        return None


def start(bench: Bench, scenario: Scenario, contender: Contender) -> None:
    bench.start(scenario, contender)
    bench.warm(scenario, contender)


def common_rate(field: list[Contender]) -> float:
    """The same for all, and a moderate one for each: by the slowest. By the fastest, the others would be compared near
    their saturation, and the load itself be the limit."""
    return RATE_SHARE * min((one.saturation for one in field if one.saturation), default=0.0)


def start_once(bench: Bench, scenario: Scenario, contender: Contender) -> Round:
    """From the moment of starting it to its first answer; then its memory when idle."""
    site, command = bench.set_up(scenario, contender, f"{scenario.name}-{contender.name}-{len(contender.rounds)}")
    started = time.monotonic()
    process = Process(command, bench.cores(scenario), site.folder / "output")
    try:
        await_ready(scenario, site.port, process, pause_seconds=0.0005)
        ready_ms = (time.monotonic() - started) * 1e3
        time.sleep(SETTLE_SECONDS)
        process.check()
        pss_mib = process.pss_bytes() / MIB
    finally:
        stop_all([process], grace_seconds=0.0)
    return Round({"ready": ready_ms, "pss": pss_mib}, 0, {})
