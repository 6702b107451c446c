"""Settings out of a space: drawn or listed, by arm, as pure functions of the sweep's seed."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping

from kintsugi.sweep.config import Dimension

Setting = dict[str, float]
DIGITS = 3
"""Drawn values have three digits: as fine as a sweep can tell, and short enough to read and to copy."""

DRAWS = 100
"""Points for each setting, before a small space is taken to be used up."""


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def drawn(space: Mapping[str, Dimension], seed: int, arm: str, count: int) -> list[Setting]:
    """The settings of an arm's trials under random search. Asking for more does not change the first.

    Points are spread by a low-discrepancy sequence from a random start: three independent draws often lie side by
    side, and then say nothing about the rest of the range. None comes twice, unless the space has no more.
    """
    found: list[Setting] = []
    for point in _spread(len(space), random.Random(f"{seed}:{arm}"), DRAWS * count):
        shares = zip(space.items(), point, strict=True)
        setting = {name: _value_at(dimension, share) for (name, dimension), share in shares}
        if setting not in found:
            found.append(setting)
        if len(found) == count:
            return found
    return [found[index % len(found)] for index in range(count)]


def _spread(dimensions: int, draw: random.Random, count: int) -> Iterator[list[float]]:
    """Points of the unit cube: the R sequence (Roberts 2018, "The unreasonable effectiveness of quasirandom
    sequences"), shifted. Its steps are powers of 1/g, where ``g^(d+1) = g + 1``: the golden ratio for d = 1."""
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (dimensions + 1))
    start = [draw.random() for _ in range(dimensions)]
    for number in range(count):
        yield [(first + number * root ** -(axis + 1)) % 1 for axis, first in enumerate(start)]


def _value_at(dimension: Dimension, share: float) -> float:
    """The value that lies at a share of the way from the first to the last."""
    if dimension.choice is not None:
        return dimension.choice[int(share * len(dimension.choice))]
    if dimension.uniform is not None:
        low, high = dimension.uniform
        return rounded(low + share * (high - low))
    assert dimension.log_uniform is not None
    low, high = (math.log(value) for value in dimension.log_uniform)
    return rounded(math.exp(low + share * (high - low)))


def grid(space: Mapping[str, Dimension], seed: int, arm: str) -> list[Setting]:
    """Every combination of the listed values, in an order drawn by seed and arm, so that its start is a fair sample."""
    values = [dimension.choice or [] for dimension in space.values()]
    settings = [dict(zip(space, combination, strict=True)) for combination in itertools.product(*values)]
    random.Random(f"{seed}:{arm}").shuffle(settings)
    return settings
