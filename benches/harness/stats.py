"""Medians, and how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from statistics import median

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Bounded:
    """A median over rounds, and bounds between which the true one is with at least 95 %."""

    median: float
    low: float
    high: float
    pairs: int
    """Rounds that it was made from."""


def paired_ratio(ours: list[float], theirs: list[float]) -> Bounded:
    """Each round's ratio is taken within the round, so what slows both is in neither; then their median."""
    return bounded([our / their for our, their in zip(ours, theirs, strict=True)])


def bounded(values: list[float]) -> Bounded:
    """The bounds are two of the values themselves (those of the sign test): whatever the distribution, and however few
    they are, they hold the median as often as they say. A bootstrap of ten rounds does so in 92 of 100 only."""
    ordered = sorted(values)
    left_out = beyond(len(ordered))
    return Bounded(median(ordered), ordered[left_out], ordered[-1 - left_out], len(ordered))


def beyond(count: int) -> int:
    """How many of so many values may be left out on either side. Of fewer than six none may, and the bounds are less
    sure than they say: `targets.ROUNDS_TO_JUDGE` is above that."""
    tail, found = 0.0, 0
    for left_out in range((count + 1) // 2):
        tail += comb(count, left_out) / 2**count
        if 2 * tail > 1 - CONFIDENCE:
            break
        found = left_out
    return found
