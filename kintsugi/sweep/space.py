"""Settings out of a space: drawn or listed, by arm, as pure functions of the sweep's seed."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping

from kintsugi.sweep.config import Dimension

Setting = dict[str, float]
DIGITS = 3
"""Drawn values have three digits: as fine as a sweep can tell, and short enough to read and to copy."""

DRAWS = 100
"""Draws for each setting, before a small space is taken to be used up."""


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def drawn(space: Mapping[str, Dimension], seed: int, arm: str, count: int) -> list[Setting]:
    """The settings of an arm's trials under random search. Asking for more does not change the first.

    None comes twice, unless the space has no more.
    """
    found: list[Setting] = []
    for attempt in range(DRAWS * count):
        draw = random.Random(f"{seed}:{arm}:{attempt}")
        setting = {name: _drawn_value(dimension, draw) for name, dimension in space.items()}
        if setting not in found:
            found.append(setting)
        if len(found) == count:
            return found
    return [found[index % len(found)] for index in range(count)]


def _drawn_value(dimension: Dimension, draw: random.Random) -> float:
    if dimension.choice is not None:
        return draw.choice(dimension.choice)
    if dimension.uniform is not None:
        return rounded(draw.uniform(*dimension.uniform))
    assert dimension.log_uniform is not None
    low, high = dimension.log_uniform
    return rounded(math.exp(draw.uniform(math.log(low), math.log(high))))


def grid(space: Mapping[str, Dimension], seed: int, arm: str) -> list[Setting]:
    """Every combination of the listed values, in an order drawn by seed and arm, so that its start is a fair sample."""
    values = [dimension.choice or [] for dimension in space.values()]
    settings = [dict(zip(space, combination, strict=True)) for combination in itertools.product(*values)]
    random.Random(f"{seed}:{arm}").shuffle(settings)
    return settings
