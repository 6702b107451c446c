"""Families that cut lists: windows, trimmed ends, the middle of what remains."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

from pipeline.sources.builtin.family import Arguments, Facts, Family
from pipeline.sources.builtin.words import EMPTY, LISTS, integers

_FOLDS: dict[str, tuple[str, Callable[[list[int]], int]]] = {
    "sum": ("sum", sum),
    "max": ("largest entry", max),
    "min": ("smallest entry", min),
}
"""What Python calls it -> what the prompt calls it, and the function itself."""


def _choose_window(random: Random) -> Facts:
    fold, (result, _) = random.choice(list(_FOLDS.items()))
    return {"fold": fold, "result": result, "width": random.randint(2, 9)}


def _window_inputs(random: Random, facts: Facts) -> list[Arguments]:
    width = facts["width"]
    lengths = (0, 1, width - 1, width, width + 1, width + 4)
    return [[random.sample(range(1, 40), length)] for length in lengths]


def _windows(facts: Facts, values: list[int]) -> list[int]:
    width = facts["width"]
    if len(values) < width:
        raise ValueError
    fold = _FOLDS[facts["fold"]][1]
    return [fold(values[end - width : end]) for end in range(width, len(values) + 1)]


WINDOWS = Family(
    name="windows",
    verbs=("slide", "window", "roll", "scan"),
    parameters={"xs": LISTS},
    requests=(
        "returns the {result} of each window of {width} entries and raises ValueError for a shorter list",
        "slides a window of {width} entries over a list and gives the {result} of each, "
        "with ValueError for a shorter list",
    ),
    summary="gives the {result} of each window of {width} entries",
    remark="Give the {result} of each window of {width} entries.",
    code=(
        "def {name}({xs}):\n"
        "{note}"
        "    if len({xs}) < {width}:\n"
        '        raise ValueError("too short")\n'
        "    starts = range(len({xs}) - {width} + 1)\n"
        "    return [{fold}({xs}[i:i + {width}]) for i in starts]\n"
    ),
    explanations=(
        "A list of n entries has n - {width} + 1 windows.",
        "A list of fewer than {width} entries raises ValueError.",
    ),
    choose=_choose_window,
    inputs=_window_inputs,
    solve=_windows,
)


def _choose_trim(random: Random) -> Facts:
    return {"width": random.randint(2, 12)}


def _trim_inputs(random: Random, facts: Facts) -> list[Arguments]:
    ends = 2 * facts["width"]
    return [[random.sample(range(2, 32), length)] for length in (0, 1, ends, ends + 1, ends + 3)]


def _trimmed_product(facts: Facts, values: list[int]) -> int:
    if not values:
        raise ValueError
    kept = range(facts["width"], len(values) - facts["width"])
    return math.prod(values[index] for index in kept)


TRIM = Family(
    name="trim",
    verbs=("trim", "cut", "crop", "shorten"),
    parameters={"xs": LISTS},
    requests=(
        "multiplies all but the first and last {width} entries and raises ValueError for an empty list",
        "drops the first and last {width} entries and multiplies the rest, with ValueError for an empty list",
    ),
    summary="multiplies all but the first and last {width} entries",
    remark="Multiply all but the first and last {width} entries.",
    code=(
        "from math import prod\n"
        "\n"
        "def {name}({xs}):\n"
        "{note}"
        "    if not {xs}:\n"
        '        raise ValueError("empty list")\n'
        "    return prod({xs}[{width}:-{width}])\n"
    ),
    explanations=(
        "An empty list raises ValueError.",
        "The product of no entries is 1.",
    ),
    choose=_choose_trim,
    inputs=_trim_inputs,
    solve=_trimmed_product,
)


def _choose_middle(random: Random) -> Facts:
    return {"skip": random.randint(2, 12), "empty": random.choice(EMPTY)}


def _middle_inputs(random: Random, facts: Facts) -> list[Arguments]:
    lead = list(range(50, 50 + facts["skip"]))
    rests: tuple[list[int], ...] = ([], [4], [7, 3], [9, 2, 5, 2], integers(random, 0, 9, 5))
    return [[[]], *([lead + rest] for rest in rests)]


def _middle(facts: Facts, values: list[int]) -> Any:
    rest = values[facts["skip"] :]
    if not rest:
        return facts["empty"]
    return sorted(rest)[(len(rest) - 1) // 2]


MIDDLE = Family(
    name="middle",
    verbs=("centre", "middle", "rank", "judge"),
    parameters={"xs": LISTS},
    requests=(
        "returns the low median after the first {skip} entries, or {empty} if none are left",
        "skips the first {skip} entries and gives the low median of the rest, or {empty} if none are left",
    ),
    summary="gives the low median after the first {skip} entries, or {empty}",
    remark="Give the low median after the first {skip} entries.",
    code=(
        "from statistics import median_low\n"
        "\n"
        "def {name}({xs}):\n"
        "{note}"
        "    if len({xs}) <= {skip}:\n"
        "        return {empty}\n"
        "    return median_low({xs}[{skip}:])\n"
    ),
    explanations=(
        "It returns {empty} when nothing is left.",
        "A list of at most {skip} entries gives {empty}.",
    ),
    choose=_choose_middle,
    inputs=_middle_inputs,
    solve=_middle,
)
