"""`benches/counts.json`: what a request may cost in instructions and system calls, and how the figures were made.

They are the least of the rounds, as chance only adds. A figure above the file's by more than its tolerance fails the
check; one below by as much should become the file's, so that it cannot creep back. The tolerances stand in the file, by
scenario, and an update keeps them.

`relations` bound what one scenario may cost by another: a thing that costs the plain request nothing, and itself no more
than so many times as much. They hold for the figures of one run, whatever tools made them, and an update keeps them, too.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

from .sites import REPOSITORY

FILE = REPOSITORY / "benches/counts.json"

# Where the file has none. Large bodies come in pieces of chance sizes; several streams share a call, as it happens.
TOLERANCE = {"instructions": 0.03, "syscalls": 0.15}
IMAGE_TOLERANCE = {"instructions": 0.08, "syscalls": 0.15}

Counts = dict[str, dict[str, float]]


def known() -> dict[str, Any]:
    return json.loads(FILE.read_text()) if FILE.exists() else {"relations": {}, "scenarios": {}}


def others(made: dict[str, str], tools: dict[str, str]) -> list[str]:
    """What now is not what the file's instructions were made with: another compiler makes other instructions, and
    another valgrind counts them otherwise."""
    wanted = {name: made.get(name, "unknown") for name in ("rustc", "valgrind")}
    return [f"{tools.get(name)} (the file: {was})" for name, was in wanted.items() if tools.get(name) != was]


def check(found: Counts, tools: dict[str, str]) -> int:
    """Says how each figure compares with the file's; 1 if one is too high, or has nothing to be compared with.

    Instructions are only warned about where other tools made them."""
    file = known()
    scenarios = file["scenarios"]
    worse = False
    print(f"\nagainst {FILE.relative_to(REPOSITORY)}:")
    other_tools = others(file.get("made", {}), tools)
    if other_tools:
        print(f"  WARNING: made with {', '.join(other_tools)}: instructions are not judged, system calls are")
    for scenario, figures in found.items():
        for name, figure in figures.items():
            before = scenarios.get(scenario, {}).get(name)
            if before is None:
                print(f"  {scenario}, {name}: not in the file; benches/instructions --update writes it")
                worse = True
                continue
            limit, change = scenarios[scenario]["tolerance"][name], figure / before - 1
            verdict = "as before"
            if change > limit:
                judged = name != "instructions" or not other_tools
                verdict = f"MORE THAN +{limit:.0%}" + ("" if judged else ", not judged: other tools")
                worse = worse or judged
            elif change < -limit:
                verdict = "lower: benches/instructions --update keeps it so"
            print(f"  {scenario}, {name}: {figure:,.2f}, was {before:,.2f} ({change:+.1%}): {verdict}")
    return int(too_dear(found, file.get("relations", {})) or worse)


def too_dear(found: Counts, relations: dict[str, dict[str, Any]]) -> bool:
    """Says what each of these scenarios costs by the one it is compared with; whether that is too much for one."""
    worse = False
    for scenario, relation in relations.items():
        base, most = relation["of"], relation["instructions"]
        figures = [found.get(name, {}).get("instructions") for name in (scenario, base)]
        if None in figures:
            continue  # not both were measured
        ratio = figures[0] / figures[1]
        # On a busy machine a round takes longer, and what is done each second is in it more often.
        is_worse = ratio > most + relation.get("tolerance", 0.0)
        verdict = "MORE THAN" if is_worse else "within" if ratio <= most else "as good as"
        worse = worse or is_worse
        print(f"  {scenario} by {base}, instructions: {ratio:.3f}, {verdict} {most:.2f}")
    return worse


def update(found: Counts, made: dict[str, str]) -> None:
    """Writes these scenarios' figures; the others stay."""
    scenarios = known()["scenarios"]
    for scenario, figures in found.items():
        tolerance = IMAGE_TOLERANCE if scenario.endswith("-image") else TOLERANCE
        before = scenarios.get(scenario, {})
        rounded = {name: round(figure, 2) if name == "syscalls" else round(figure) for name, figure in figures.items()}
        scenarios[scenario] = {**before, **rounded, "tolerance": before.get("tolerance", tolerance)}
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    command, build = "benches/instructions --update", "cargo build --release --bin weir"
    made = {"command": command, "date": date, "build": build, **made}
    relations = known().get("relations", {})
    FILE.write_text(json.dumps({"made": made, "relations": relations, "scenarios": scenarios}, indent=2) + "\n")
    print(f"written: {FILE.relative_to(REPOSITORY)}")
