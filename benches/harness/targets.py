"""What Weir promises for a scenario, and whether it is kept.

A ratio is judged by its 95 % bounds: met only if all of the interval is within the target, missed only if none is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .stats import Bounded

Figure = Literal["cpu", "p50", "p99", "p999", "pss", "ready"]
Verdict = Literal["met", "open", "MISSED"]

# Whom Weir may be compared with, beside a proxy by its name.
BEST, FLOOR, ITSELF = "best", "floor", "itself"
# With fewer rounds the bounds are too narrow to mean what they say.
ROUNDS_TO_JUDGE = 10
# Above this share of its core the load makes others wait for it, and latencies are its own.
LOAD_CORE_FULL = 0.8
LATE_SHARE = 0.01

WORDS: dict[Figure, str] = {
    "cpu": "CPU/request",
    "p50": "p50",
    "p99": "p99",
    "p999": "p99.9",
    "pss": "peak PSS",
    "ready": "exec to ready",
}
UNITS: dict[Figure, str] = {"pss": "MiB", "ready": "ms"}


@dataclass(frozen=True)
class Target:
    figure: Figure
    must: float
    """At most so many times what the other has; without another, at most so much."""
    against: str | None
    """BEST: the peer with the lowest median of this figure. ITSELF: Weir set up otherwise."""
    aim: tuple[float, str] | None = None
    """Where it is to go, beyond what it must."""


@dataclass(frozen=True)
class Compared:
    """Weir's figure by that of another proxy, which is named."""

    other: str
    ratio: Bounded


@dataclass(frozen=True)
class Judged:
    """A target with what was found."""

    target: Target
    verdict: Verdict
    why_open: str
    value: Bounded | None
    other: str
    """With whom it was compared; empty if with nobody."""
    aim: Compared | None

    def wanted(self) -> str:
        target = self.target
        whose = f"x {named(target.against, self.other)}" if target.against else UNITS.get(target.figure, "")
        return f"{WORDS[target.figure]} at most {target.must:g} {whose}"

    def found(self) -> str:
        if self.value is None:
            return "-"
        if self.target.against is None:
            return f"{self.value.high:.1f} {UNITS.get(self.target.figure, '')}"
        return shown(self.value)

    def judgement(self) -> str:
        return self.verdict + (f" ({self.why_open})" if self.why_open else "")

    def aimed(self) -> str:
        """Where it is to go, and where it is to that; empty if nowhere further."""
        if self.target.aim is None:
            return ""
        value, against = self.target.aim
        whom = named(against, self.aim.other if self.aim else "")
        return f"{value:g} x {whom}" + (f": {shown(self.aim.ratio)}" if self.aim else "")

    def sentence(self) -> str:
        aimed = self.aimed()
        return f"{self.wanted()}: {self.found()}, {self.judgement()}" + (f"; aim {aimed}" if aimed else "")


def named(against: str, other: str) -> str:
    """Whom a target is about, and who that turned out to be."""
    match against:
        case "best":
            return f"the best peer's ({other})" if other else "the best peer's"
        case "floor":
            return "the L4 floor's"
        case "itself":
            return f"{other or 'its own without'}'s"
        case name:
            return f"{name}'s"


def shown(ratio: Bounded) -> str:
    return f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def judge(
    target: Target,
    failures: int,
    doubt: str,
    compare: Callable[[Figure, str], Compared | None],
    worst: Callable[[Figure], Bounded | None],
) -> Judged:
    """`compare` finds Weir's ratio to somebody, `worst` its own figure with the bounds that count.

    A proxy that fails requests does less work: its figures are worth nothing, and every target is missed, whether it is
    Weir or whom Weir is compared with. A `doubt` leaves it open."""
    compared = compare(target.figure, target.against) if target.against else None
    value = compared.ratio if compared else None
    if target.against is None:
        value = worst(target.figure)
    aim = compare(target.figure, target.aim[1]) if target.aim else None
    verdict, why = decide(target, value)
    if doubt:
        verdict, why = "open", doubt
    if failures:
        verdict, why = "MISSED", f"{failures} failures"
    return Judged(target, verdict, why, value, compared.other if compared else "", aim)


def load_was_the_limit(figures: dict[str, float]) -> str:
    """Of an open loop: why its latencies are the load's and not the proxy's; empty if they are not."""
    if figures.get("load_core", 0.0) > LOAD_CORE_FULL:
        return f"the load's core was more than {LOAD_CORE_FULL:.0%} busy"
    if figures.get("late", 0.0) > LATE_SHARE:
        return f"more than {LATE_SHARE:.0%} of its requests were sent over a millisecond late"
    return ""


def decide(target: Target, value: Bounded | None) -> tuple[Verdict, str]:
    if value is None:
        return "open", "nothing to compare with"
    if value.pairs < ROUNDS_TO_JUDGE:
        return "open", f"fewer than {ROUNDS_TO_JUDGE} rounds"
    if value.low > target.must:
        return "MISSED", ""
    if value.high <= target.must:
        return "met", ""
    return "open", "the bounds are on both sides of it"
