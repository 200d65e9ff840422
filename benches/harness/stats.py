"""Medians, and how far to trust them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import median

RESAMPLES = 10_000


@dataclass(frozen=True)
class Ratio:
    """A median of paired ratios, and the bounds that hold 95 % of its bootstrap distribution."""

    median: float
    low: float
    high: float
    pairs: int


def paired_ratio(ours: list[float], theirs: list[float]) -> Ratio:
    """Each round's ratio is taken within the round, so what slows both is in neither; then their median.

    The bounds come from drawing whole rounds again, with the same dice each time: a report can be repeated."""
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    dice = random.Random(0)
    medians = sorted(median(dice.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    edge = int(0.025 * RESAMPLES)
    return Ratio(median(ratios), medians[edge], medians[-edge - 1], len(ratios))
