"""From rounds to a table and to JSON; and whether a target is met."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Literal

from .measure import Contender, Round
from .proxies import BASELINE, CANDIDATE
from .scenarios import Scenario, Target
from .stats import Ratio, paired_ratio

MIB = 1024 * 1024
# Above this share of the proxy's core used by others, a figure deserves no trust.
NOISY = 0.05
# With fewer the bounds are too narrow to mean what they say.
ROUNDS_TO_JUDGE = 10

Verdict = Literal["met", "open", "missed"]


@dataclass(frozen=True)
class Summary:
    """A proxy's row: medians over its rounds, and the worst of memory and failures."""

    proxy: str
    requests_per_second: float
    cpu_us_per_request: float
    p50_ms: float
    p99_ms: float
    peak_pss_mib: float
    peak_rss_mib: float
    failures: int
    minority_share: float
    proxy_core_used: float
    proxy_core_foreign: float
    load_core_busy: float
    backend_us_per_request: float
    steal: float
    ratio: Ratio | None
    """Its CPU per request over the baseline's, if both served."""


def summarize(contender: Contender, baseline: Contender | None) -> Summary | None:
    """None if it served nothing at all."""
    rounds = contender.served
    if not rounds:
        return None

    def middle(figure: str) -> float:
        return float(median(getattr(done, figure) for done in rounds))

    return Summary(
        proxy=contender.name,
        requests_per_second=median(done.load.per_second for done in rounds),
        cpu_us_per_request=middle("cpu_us_per_request"),
        p50_ms=median(done.load.p50_ms for done in rounds),
        p99_ms=median(done.load.p99_ms for done in rounds),
        peak_pss_mib=max(done.peak_pss_bytes for done in rounds) / MIB,
        peak_rss_mib=contender.peak_rss_bytes / MIB,
        failures=contender.failures,
        minority_share=middle("minority_share"),
        proxy_core_used=median(done.cpu_seconds / done.wall_seconds for done in rounds),
        proxy_core_foreign=middle("proxy_core_foreign"),
        load_core_busy=middle("load_core_busy"),
        backend_us_per_request=median(done.backend_cpu_seconds * 1e6 / done.load.succeeded for done in rounds),
        steal=middle("steal"),
        ratio=ratio_between(contender, baseline) if baseline not in (None, contender) else None,
    )


def ratio_between(ours: Contender, theirs: Contender) -> Ratio | None:
    """Over the rounds that both served."""
    pairs = [
        (our.cpu_us_per_request, their.cpu_us_per_request)
        for our, their in zip(ours.rounds, theirs.rounds, strict=True)
        if our and their and our.load.succeeded and their.load.succeeded
    ]
    return paired_ratio([our for our, _ in pairs], [their for _, their in pairs]) if pairs else None


def verdict(target: Target, summary: Summary) -> Verdict:
    """`met` only if the whole interval is within the target, `missed` only if none of it is; a proxy that fails
    requests does less work, and its figures are worth nothing."""
    if summary.failures:
        return "missed"
    if target.pss_mib is not None and summary.peak_pss_mib > target.pss_mib:
        return "missed"
    if summary.ratio is None or summary.ratio.pairs < ROUNDS_TO_JUDGE:
        return "open"
    if summary.ratio.high <= target.cpu_ratio:
        return "met"
    return "missed" if summary.ratio.low > target.cpu_ratio else "open"


COLUMNS = (
    ("", "proxy"),
    ("req/s", "requests_per_second"),
    ("CPU us/req", "cpu_us_per_request"),
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("PSS MiB", "peak_pss_mib"),
    ("failures", "failures"),
    ("to v2", "minority_share"),
    ("its core", "proxy_core_used"),
    ("others", "proxy_core_foreign"),
    ("load core", "load_core_busy"),
    ("CPU / haproxy's", "ratio"),
)


def cell(summary: Summary, figure: str) -> str:
    value = getattr(summary, figure)
    match figure:
        case "proxy":
            return str(value)
        case "requests_per_second":
            return f"{value:,.0f}"
        case "failures":
            return str(value)
        case "minority_share":
            return f"{value:.2%}"
        case "proxy_core_used" | "proxy_core_foreign" | "load_core_busy":
            return f"{value:.0%}"
        case "p50_ms" | "p99_ms":
            return f"{value:.2f}"
        case "ratio":
            return f"{value.median:.2f} [{value.low:.2f}, {value.high:.2f}]" if value else "-"
        case _:
            return f"{value:.1f}"


def table(summaries: list[Summary]) -> str:
    """A Markdown table, aligned for the eye."""
    rows = [[head for head, _ in COLUMNS]]
    rows += [[cell(summary, figure) for _, figure in COLUMNS] for summary in summaries]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]

    def line(row: list[str]) -> str:
        first, *others = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        return "| " + " | ".join([row[0].ljust(len(first)), *others]) + " |"

    ruler = "|" + "|".join("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), ruler, *map(line, rows[1:])])


def judgement(scenario: Scenario, summaries: list[Summary]) -> str | None:
    """The sentence below a table; None if the candidate was not there to be judged."""
    ours = next((summary for summary in summaries if summary.proxy == CANDIDATE), None)
    if ours is None:
        return None
    target = scenario.target
    asked = f"at most {target.cpu_ratio} x {BASELINE}'s CPU per request"
    if target.pss_mib is not None:
        asked += f", peak PSS at most {target.pss_mib:g} MiB"
    why_open = "nothing to compare with"
    if ours.ratio:
        few = ours.ratio.pairs < ROUNDS_TO_JUDGE
        why_open = f"fewer than {ROUNDS_TO_JUDGE} rounds" if few else "the bounds are on both sides of it"
    words = {"met": "met", "missed": "MISSED", "open": f"open, {why_open}"}
    return f"target ({asked}, no failures): {words[verdict(target, ours)]}"


def doubts(contender: Contender, summary: Summary) -> list[str]:
    """What a reader must know before trusting the row."""
    found = []
    if summary.proxy_core_foreign > NOISY:
        found.append(f"{summary.proxy_core_foreign:.0%} of its core was used by others")
    if summary.steal > NOISY:
        found.append(f"the host kept {summary.steal:.0%} of its core")
    if summary.proxy_core_used + summary.proxy_core_foreign + summary.steal < 0.85:
        found.append("its core was not full: load or backend were the limit, req/s says little")
    if any(abs(done.cpu_ticks - done.cpu_seconds) > 0.04 + 0.03 * done.cpu_seconds for done in contender.served):
        found.append("the two clocks of its CPU time disagree: a thread ended within a round?")
    return found


def as_json(
    scenario: Scenario, contenders: list[Contender], summaries: list[Summary], judged: bool
) -> dict[str, object]:
    """All that the table has, and every round it was made from."""
    ours = next((summary for summary in summaries if summary.proxy == CANDIDATE), None)
    return {
        "name": scenario.name,
        "title": scenario.title,
        "protocol": scenario.protocol,
        "connections": scenario.connections,
        "streams": scenario.streams,
        "body_bytes": len(scenario.body),
        "target": asdict(scenario.target),
        "verdict": verdict(scenario.target, ours) if judged and ours else None,
        "proxies": [asdict(summary) for summary in summaries],
        "faults": {contender.name: contender.faults for contender in contenders if contender.faults},
        "rounds": {contender.name: [flat(done) for done in contender.rounds] for contender in contenders},
    }


def flat(done: Round | None) -> dict[str, object] | None:
    if done is None:
        return None
    return {**asdict(done), "cpu_us_per_request": done.cpu_us_per_request}
