"""What the judging must hold to, as tests without a proxy: `benches/compare --smoke` runs them first."""

from __future__ import annotations

import json
import random
import tempfile
import unittest
from dataclasses import replace
from math import log
from pathlib import Path

from . import counts
from .load import Load
from .measure import Contender, Round, off_split
from .outcome import Outcome
from .payloads import grpc_predict
from .profile import costs, part
from .proxies import PROXIES
from .report import section, verdicts
from .scenarios import SCENARIOS, Scenario, Shape
from .stats import bounded, paired_ratio
from .targets import BEST, ROUNDS_TO_JUDGE, Target, decide
from .weir import NOBODY, rules

ROUNDS = 12


def contender(name: str, cpu: list[float], failures: int = 0) -> Contender:
    proxy = next(proxy for proxy in PROXIES if proxy.name == name)
    found = Contender(name, proxy, Path(name), Shape(), is_candidate=name == "weir")
    # What every row has; here only the CPU differs.
    others = {"p50": 1.0, "p99": 2.0, "p999": 3.0, "pss": 10.0, "core": 1.0, "foreign": 0.0, "steal": 0.0}
    found.rounds = [Round({"cpu": value, **others}, failures, {}) for value in cpu]
    return found


def scenario() -> Scenario:
    return next(one for one in SCENARIOS if one.name == "rest-predict")


class Ratios(unittest.TestCase):
    def test_what_slows_both_is_in_neither(self) -> None:
        slow = [1.0 + 0.5 * (number % 3) for number in range(ROUNDS)]
        ratio = paired_ratio([11 * factor for factor in slow], [10 * factor for factor in slow])
        self.assertAlmostEqual(ratio.low, 1.1)
        self.assertAlmostEqual(ratio.high, 1.1)

    def test_bounds_widen_with_the_spread_and_hold_the_median(self) -> None:
        calm, wild = bounded([1.0, 1.01] * 6), bounded([0.5, 1.5] * 6)
        self.assertLess(calm.high - calm.low, wild.high - wild.low)
        self.assertTrue(wild.low <= wild.median <= wild.high)

    def test_bounds_hold_the_true_median_as_often_as_they_say(self) -> None:
        dice = random.Random(7)
        for count in (ROUNDS_TO_JUDGE, ROUNDS, 20):
            drawn = (bounded([dice.expovariate(1.0) for _ in range(count)]) for _ in range(2_000))
            held = sum(one.low <= log(2) <= one.high for one in drawn)
            self.assertGreater(held, 0.94 * 2_000, f"{count} rounds")


class Verdicts(unittest.TestCase):
    TARGET = Target("cpu", 1.1, BEST)

    def verdict(self, values: list[float]) -> str:
        return decide(self.TARGET, bounded(values))[0]

    def test_met_only_if_all_of_the_interval_is_within(self) -> None:
        self.assertEqual(self.verdict([1.0] * ROUNDS), "met")
        self.assertEqual(self.verdict([1.0, 1.2] * 6), "open")
        self.assertEqual(self.verdict([1.2] * ROUNDS), "MISSED")

    def test_a_few_rounds_judge_nothing(self) -> None:
        self.assertEqual(self.verdict([1.0] * 9), "open")
        self.assertEqual(self.verdict([9.0] * 9), "open")

    def test_a_failure_misses_every_target(self) -> None:
        ours, theirs = contender("weir", [1.0] * ROUNDS, failures=1), contender("haproxy", [2.0] * ROUNDS)
        outcome = Outcome(scenario(), [ours, theirs], 0.0)
        self.assertEqual({one.verdict for one in outcome.judged}, {"MISSED"})


    def test_so_does_a_failure_of_whom_it_is_compared_with_by_name(self) -> None:
        one = next(one for one in SCENARIOS if one.against)
        assert one.against is not None
        ours, other = contender("weir", [1.0] * ROUNDS), contender("haproxy", [1.0] * ROUNDS, failures=1)
        other.name = one.against.name
        judged = [of for of in Outcome(one, [ours, other], 0.0).judged if of.target.against]
        self.assertEqual({of.verdict for of in judged}, {"MISSED"})

    def test_no_latency_is_judged_where_the_load_was_the_limit(self) -> None:
        one = next(one for one in SCENARIOS if one.mode == "open" and not one.against)
        for figure, value in (("load_core", 0.9), ("late", 0.02), ("load_core", 0.5)):
            field = [contender("weir", [1.0] * ROUNDS), contender("haproxy", [1.0] * ROUNDS)]
            for served in field[1].served:
                served.figures[figure] = value
            found = {of.verdict for of in Outcome(one, field, 1.0).judged if of.target.figure in ("p99", "p999")}
            self.assertEqual(found, {"met" if value == 0.5 else "open"}, f"{figure} {value}")


class BestPeer(unittest.TestCase):
    def test_it_is_the_cheapest_that_failed_nothing_and_is_a_peer(self) -> None:
        field = [
            contender("weir", [1.0] * ROUNDS),
            contender("floor", [0.1] * ROUNDS),
            contender("nginx", [0.5] * ROUNDS, failures=1),
            contender("haproxy", [2.0] * ROUNDS),
            contender("envoy", [5.0] * ROUNDS),
        ]
        outcome = Outcome(scenario(), field, 0.0)
        self.assertEqual(outcome.best["cpu"], "haproxy")
        compared = outcome.compare("cpu", BEST)
        assert compared is not None
        self.assertAlmostEqual(compared.ratio.median, 0.5)

    def test_a_report_names_it_and_says_what_was_met(self) -> None:
        field = [contender("weir", [1.0] * ROUNDS), contender("haproxy", [1.0] * ROUNDS)]
        outcome = Outcome(scenario(), field, 0.0)
        wanted = "CPU/request at most 1.15 x the best peer's (haproxy)"
        self.assertIn(f"target: {wanted}: 1.00 [1.00, 1.00], met", section(outcome, judged=True))
        self.assertIn(wanted, verdicts([outcome]))


class Failures(unittest.TestCase):
    def test_idle_connections_that_are_not_kept_are_failures(self) -> None:
        idle = next(one for one in SCENARIOS if one.idle)
        load = Load(10, 10, {}, 1.0, {}, 0, idle_opened=idle.idle, idle_closed=0)
        self.assertEqual(load.failures(idle, 10 + idle.idle), 0)
        self.assertEqual(replace(load, idle_closed=3).failures(idle, 10 + idle.idle), 3)
        self.assertEqual(replace(load, idle_opened=idle.idle - 2).failures(idle, 10 + idle.idle), 2)

    def test_a_split_is_as_configured_but_for_chance(self) -> None:
        self.assertFalse(off_split(1_000, 20_000))
        self.assertFalse(off_split(50, 640), "few, drawn by lot")
        for minority in (0, 20_000, 700, 1_300):
            self.assertTrue(off_split(minority, 20_000), f"{minority} of 20,000")


class Counts(unittest.TestCase):
    def test_other_tools_are_named(self) -> None:
        made = {"rustc": "rustc 1.95.0", "valgrind": "valgrind-3.19.0", "strace": "6.1"}
        self.assertEqual(counts.others(made, {**made, "strace": "6.2"}), [])
        self.assertEqual(counts.others(made, {**made, "rustc": "rustc 2"}), ["rustc 2 (the file: rustc 1.95.0)"])


class Work(unittest.TestCase):
    def test_bodies_are_of_their_length(self) -> None:
        for one in SCENARIOS:
            if one.protocol == "rest":
                self.assertTrue(json.loads(one.body))
        self.assertEqual(len(grpc_predict(500)), 505)

    def test_only_the_last_rule_of_a_service_takes_everybody(self) -> None:
        documents = [json.loads(text) for text in rules(["model-0"], 10).split("\n---\n")]
        self.assertEqual([("match" in document["spec"]) for document in documents], [True] * len(NOBODY) + [False])
        precedences = [document["spec"]["precedence"] for document in documents]
        self.assertEqual(precedences, sorted(precedences, reverse=True))

    def test_an_edition_changes_the_rules(self) -> None:
        self.assertNotEqual(rules(["model-0"], 10, edition=1), rules(["model-0"], 10, edition=2))


class Profiles(unittest.TestCase):
    def test_what_a_function_calls_is_not_its_own_cost(self) -> None:
        text = "fn=(1) weir::proxy::a\n1 10\ncfn=(2) h2::b\ncalls=1 0\n2 500\n+1 5\nfn=(1)\n* 1\n"
        with tempfile.NamedTemporaryFile("w+") as file:
            file.write(text)
            file.flush()
            found = list(costs(Path(file.name)))
        self.assertEqual(found, [("weir::proxy::a", 10), ("weir::proxy::a", 5), ("weir::proxy::a", 1)])
        self.assertEqual(part("weir::proxy::a"), "life of a request")


def hold() -> bool:
    """Says what does not."""
    found = unittest.defaultTestLoader.loadTestsFromName(__name__)
    return unittest.TextTestRunner(verbosity=0).run(found).wasSuccessful()
