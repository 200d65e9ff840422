"""Medians, and how far to trust them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from statistics import median

RESAMPLES = 10_000


@dataclass(frozen=True)
class Bounded:
    """A median over rounds, and the bounds that hold 95 % of its bootstrap distribution."""

    median: float
    low: float
    high: float
    pairs: int
    """Rounds that it was made from."""


def paired_ratio(ours: list[float], theirs: list[float]) -> Bounded:
    """Each round's ratio is taken within the round, so what slows both is in neither; then their median."""
    return bounded([our / their for our, their in zip(ours, theirs, strict=True)])


def bounded(values: list[float]) -> Bounded:
    """The bounds come from drawing whole rounds again, with the same dice each time: a report can be repeated."""
    if len(values) == 1:
        return Bounded(values[0], values[0], values[0], 1)
    medians = sorted(middle([values[place] for place in drawn]) for drawn in draws(len(values)))
    edge = int(0.025 * RESAMPLES)
    return Bounded(median(values), medians[edge], medians[-edge - 1], len(values))


@cache
def draws(count: int) -> list[list[int]]:
    dice = random.Random(0)
    return [dice.choices(range(count), k=count) for _ in range(RESAMPLES)]


def middle(values: list[float]) -> float:
    """The median, without the checks of `statistics`, as it is taken ten thousand times for each ratio."""
    values.sort()
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2
