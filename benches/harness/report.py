"""What a reader sees of a scenario: tables in Markdown, what to doubt, and the targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .measure import Contender
from .outcome import COMPARED, Outcome
from .proxies import AGAIN
from .scenarios import Scenario
from .targets import ROUNDS_TO_JUDGE, WORDS, load_was_the_limit, shown

# Above this share of the proxy's core used by others, a figure deserves no trust.
NOISY = 0.05


@dataclass(frozen=True)
class Column:
    heading: str
    figure: str
    form: Callable[[float], str]


def number(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:,.{digits}f}"


def share(digits: int = 0) -> Callable[[float], str]:
    return lambda value: f"{value:.{digits}%}"


COLUMNS = (
    Column("ready ms", "ready", number(1)),
    Column("req/s", "per_second", number(0)),
    Column("CPU us/req", "cpu", number(1)),
    Column("p50 ms", "p50", number(3)),
    Column("p99 ms", "p99", number(3)),
    Column("p99.9 ms", "p999", number(3)),
    Column("PSS MiB", "pss", number(1)),
    Column("KiB/idle", "pss_by_connection_kib", number(1)),
    Column("changes/s", "changes", number(1)),
    Column("in force/s", "reloads", number(1)),
    Column("scrapes/s", "scrapes", number(1)),
    Column("logged", "logged", share(1)),
    Column("failures", "failures", number(0)),
    Column("to v2", "minority", share(2)),
    Column("its core", "core", share()),
    Column("others", "foreign", share()),
    Column("load core", "load_core", share()),
)


def section(outcome: Outcome, judged: bool) -> str:
    """A scenario, whole."""
    scenario = outcome.scenario
    parts = [f"## {scenario.title} ({scenario.name})"]
    if outcome.rate:
        parts.append(f"Open loop, {outcome.rate:,.0f} requests a second, latency from when each was due.")
    parts.append(figures_table(outcome))
    if len(outcome.rows) > 1 and outcome.ratios:
        parts.append(ratios_table(outcome))
    notes = [f"- {one.name}: {fault}" for one in outcome.field for fault in one.faults]
    notes += [f"- {one.name}: failed: {kinds}" for one in outcome.rows if (kinds := failed(one))]
    if judged:
        notes += [f"- note: {names}: {doubt}" for doubt, names in grouped(outcome).items()]
        notes += [f"- {pair}: CPU/request {shown(found)}" for pair, found in outcome.of_peers("cpu").items()]
        notes += [f"- target: {one.sentence()}" for one in outcome.judged]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def figures_table(outcome: Outcome) -> str:
    known = {name for row in outcome.medians.values() for name in row} | {"failures"}
    columns = [column for column in COLUMNS if column.figure in known]
    rows = [["", *(column.heading for column in columns)]]
    for one in outcome.rows:
        figures = {**outcome.medians[one.name], "failures": float(one.failures)}
        cells = [column.form(figures[column.figure]) if column.figure in figures else "-" for column in columns]
        rows.append([one.name, *cells])
    return table(rows)


def ratios_table(outcome: Outcome) -> str:
    """Weir's figure by each of the others'; the best peer's is bold."""
    figures = [figure for figure in COMPARED if any(figure in row for row in outcome.ratios.values())]
    ours = outcome.candidate.name if outcome.candidate else ""
    rows = [[f"{ours} / ...", *(WORDS[figure] for figure in figures)]]
    for name, row in outcome.ratios.items():
        cells = [shown(row[figure]) if figure in row else "-" for figure in figures]
        marked = [
            f"**{cell}**" if outcome.best[figure] == name else cell for figure, cell in zip(figures, cells, strict=True)
        ]
        rows.append([name, *marked])
    return table(rows)


def table(rows: list[list[str]]) -> str:
    """A Markdown table, aligned for the eye."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: list[str]) -> str:
        first, *others = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        return "| " + " | ".join([row[0].ljust(len(first)), *others]) + " |"

    ruler = "|" + "|".join("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), ruler, *map(line, rows[1:])])


def failed(contender: Contender) -> str:
    """The kinds of what failed, over all rounds."""
    kinds: dict[str, int] = {}
    for done in contender.rounds:
        for kind, count in done.failed.items() if done else ():
            kinds[kind] = kinds.get(kind, 0) + count
    return ", ".join(f"{kind} {count}" for kind, count in kinds.items())


def grouped(outcome: Outcome) -> dict[str, str]:
    """Doubts, with the names of those whom they concern."""
    found: dict[str, list[str]] = {}
    for one in outcome.rows:
        for doubt in doubts(outcome.scenario, one, outcome.medians[one.name]):
            found.setdefault(doubt, []).append(one.name)
    again = outcome.ratios.get(AGAIN, {}).get("cpu")
    if again and again.pairs >= ROUNDS_TO_JUDGE and not again.low <= 1.0 <= again.high:
        found[f"Weir differs from it by {shown(again)}; if both are one build, ratios nearer to 1 are noise"] = [AGAIN]
    return {doubt: ", ".join(names) for doubt, names in found.items()}


def doubts(scenario: Scenario, contender: Contender, figures: dict[str, float]) -> list[str]:
    """What a reader must know before trusting the row."""
    found = []
    if figures.get("foreign", 0.0) > NOISY:
        found.append("more than 5 % of its core was used by others")
    if figures.get("steal", 0.0) > NOISY:
        found.append("the host kept more than 5 % of its core")
    full = scenario.mode == "closed" and scenario.connections > 1 and scenario.shape.workers == 1
    if full and figures["core"] + figures["foreign"] + figures["steal"] < 0.85:
        found.append("its core was not full: load or backend were the limit, req/s says little")
    if scenario.mode == "open" and (why := load_was_the_limit(figures)):
        found.append(why)
    ticks = [(done.figures.get("cpu_ticks", 0.0), done.figures.get("cpu_seconds", 0.0)) for done in contender.served]
    if any(abs(tick - exact) > 0.04 + 0.03 * exact for tick, exact in ticks):
        found.append("the two clocks of its CPU time disagree: a thread ended within a round?")
    return found


def verdicts(outcomes: list[Outcome]) -> str:
    """All targets, on one page."""
    rows = [["scenario", "must", "found", "verdict", "aim, and where it is to that"]]
    for outcome in outcomes:
        for one in outcome.judged:
            rows.append([outcome.scenario.name, one.wanted(), one.found(), one.judgement(), one.aimed()])
    return "## Targets\n\n" + table(rows)
