"""From the rounds of a scenario to medians, to ratios between proxies, and to targets that are met or not."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median

from .measure import Contender
from .scenarios import Scenario
from .stats import Bounded, bounded, paired_ratio
from .targets import BEST, ITSELF, Compared, Figure, Target, judge, load_was_the_limit

COMPARED: tuple[Figure, ...] = ("cpu", "p50", "p99", "p999", "pss", "ready")


class Outcome:
    """What a scenario came to."""

    def __init__(self, scenario: Scenario, field: list[Contender], rate: float) -> None:
        self.scenario = scenario
        self.field = field
        self.rate = rate
        """Requests a second that were due, in an open loop."""
        self.candidate = next((one for one in field if one.is_candidate), None)
        self.rows = [one for one in field if one.served]
        self.medians = {one.name: medians(one) for one in self.rows}
        self.best = {figure: self._best(figure) for figure in COMPARED}
        """The peer with the lowest median, by figure."""
        self.ratios = {
            one.name: {figure: found for figure in COMPARED if (found := self._ratio(figure, one))}
            for one in self.rows
            if one is not self.candidate
        }
        """Weir's figure by theirs."""
        self.judged = [
            judge(target, self._failures(target), self._doubt(target), self.compare, self.worst)
            for target in scenario.targets
        ]

    def _best(self, figure: Figure) -> str:
        """A peer that failed requests did less work: it is not the best at anything."""
        known = [
            (self.medians[one.name][figure], one.name)
            for one in self.rows
            if one.proxy.peer and not one.failures and figure in self.medians[one.name]
        ]
        return min(known)[1] if known else ""

    def _concerned(self, target: Target) -> list[Contender]:
        """Weir, and with whom it is compared."""
        other = self._other(target.figure, target.against) if target.against else ""
        return [one for one in self.field if one is self.candidate or one.name == other]

    def _failures(self, target: Target) -> int:
        return sum(one.failures for one in self._concerned(target))

    def _doubt(self, target: Target) -> str:
        """Why a latency of an open loop says nothing of the proxy."""
        if self.scenario.mode != "open" or target.figure not in ("p50", "p99", "p999"):
            return ""
        whys = (load_was_the_limit(self.medians.get(one.name, {})) for one in self._concerned(target))
        return next((why for why in whys if why), "")

    def _other(self, figure: Figure, against: str) -> str:
        """Its name."""
        if against == BEST:
            return self.best[figure]
        if against == ITSELF:
            return self.scenario.against.name if self.scenario.against else ""
        return against

    def _ratio(self, figure: Figure, other: Contender) -> Bounded | None:
        return ratio(figure, self.candidate, other) if self.candidate else None

    def of_peers(self, figure: Figure) -> dict[str, Bounded]:
        """What the two ways differ by where a peer is set up in both."""
        against = self.scenario.against
        rows = {one.name: one for one in self.rows}
        found = {}
        for peer in against.peers if against else ():
            both = rows.get(peer), rows.get(against.of(peer)) if against else None
            if both[0] and both[1] and (known := ratio(figure, both[0], both[1])):
                found[f"{both[0].name} / {both[1].name}"] = known
        return found

    def compare(self, figure: Figure, against: str) -> Compared | None:
        """With somebody by name, with BEST or with ITSELF."""
        other = self._other(figure, against)
        found = self.ratios.get(other, {}).get(figure)
        return Compared(other, found) if found else None

    def worst(self, figure: Figure) -> Bounded | None:
        """Of memory the largest that was seen; of a time the median over rounds, with its bounds."""
        served = self.candidate.served if self.candidate else []
        values = [done.figures[figure] for done in served if figure in done.figures]
        if not values:
            return None
        return Bounded(max(values), max(values), max(values), len(values)) if figure == "pss" else bounded(values)

    def as_json(self, judged: bool) -> dict[str, object]:
        """All that the tables have, and every round they were made from."""
        scenario = self.scenario
        return {
            "name": scenario.name,
            "title": scenario.title,
            "protocol": scenario.protocol,
            "mode": scenario.mode,
            "rate": self.rate,
            "connections": scenario.connections,
            "streams": scenario.streams,
            "body_bytes": len(scenario.body),
            "medians": self.medians,
            "failures": {one.name: one.failures for one in self.field},
            "best_peer": self.best,
            "ratios": {name: {key: asdict(value) for key, value in row.items()} for name, row in self.ratios.items()},
            "of_peers": {name: asdict(value) for name, value in self.of_peers("cpu").items()},
            "targets": [{**asdict(one), "sentence": one.sentence()} for one in self.judged] if judged else [],
            "faults": {one.name: one.faults for one in self.field if one.faults},
            "rounds": {one.name: [asdict(done) if done else None for done in one.rounds] for one in self.field},
        }


def ratio(figure: Figure, one: Contender, other: Contender) -> Bounded | None:
    """Over the rounds that both served."""
    pairs = [
        (our.figures[figure], their.figures[figure])
        for our, their in zip(one.rounds, other.rounds, strict=True)
        if our and their and our.figures.get(figure) and their.figures.get(figure)
    ]
    return paired_ratio([our for our, _ in pairs], [their for _, their in pairs]) if pairs else None


def medians(contender: Contender) -> dict[str, float]:
    """Over the rounds; of memory the largest."""
    names = {name for done in contender.served for name in done.figures}
    values = {name: [done.figures[name] for done in contender.served if name in done.figures] for name in names}
    return {name: max(found) if name == "pss" else float(median(found)) for name, found in sorted(values.items())}
