"""Families over whole numbers: sums over a range, rounding, limits."""

from __future__ import annotations

from random import Random
from typing import Any

from pipeline.sources.builtin.family import Arguments, Facts, Family
from pipeline.sources.builtin.words import EMPTY, NUMBERS


def _choose_range(random: Random) -> Facts:
    return {"first": random.randint(1, 12)}


def _range_inputs(random: Random, facts: Facts) -> list[Arguments]:
    first = facts["first"]
    return [[last] for last in (-1, first - 1, first, first + 1, first + random.randint(2, 9))]


def _range_sum(facts: Facts, last: int) -> int:
    if last < facts["first"]:
        raise ValueError
    return sum(term * term for term in range(last, facts["first"] - 1, -1))


RANGE_SUM = Family(
    name="range-sum",
    verbs=("sum", "add", "collect", "gather"),
    parameters={"n": NUMBERS},
    requests=(
        "adds up the squares from {first} to `{n}` and raises ValueError if `{n}` is below {first}",
        "returns the sum of the squares from {first} up to and including `{n}`, with ValueError below {first}",
    ),
    summary="adds up the squares from {first} to `{n}`",
    remark="Add up the squares from {first} to {n}.",
    code=(
        "def {name}({n}):\n"
        "{note}"
        "    if {n} < {first}:\n"
        '        raise ValueError("too small")\n'
        "    total = 0\n"
        "    for i in range({first}, {n} + 1):\n"
        "        total += i ** 2\n"
        "    return total\n"
    ),
    explanations=(
        "The range ends at `{n}` because of the + 1.",
        "It takes O(n) time.",
    ),
    choose=_choose_range,
    inputs=_range_inputs,
    solve=_range_sum,
)


def _choose_boxes(random: Random) -> Facts:
    return {"part": random.randint(2, 12)}


def _boxes_inputs(random: Random, facts: Facts) -> list[Arguments]:
    part = facts["part"]
    return [[amount] for amount in (-1, 0, 1, part - 1, part, part + 1, random.randint(2, 9) * part + 1)]


def _boxes(facts: Facts, amount: int) -> int:
    if amount < 0:
        raise ValueError
    whole, rest = divmod(amount, facts["part"])
    return whole + 1 + int(rest > 0)


BOXES = Family(
    name="boxes",
    verbs=("pack", "fit", "split", "share"),
    parameters={"n": NUMBERS},
    requests=(
        "divides `{n}` by {part}, rounds up and adds 1, with ValueError if `{n}` is negative",
        "returns `{n}` over {part} rounded up plus 1 and raises ValueError below 0",
    ),
    summary="divides by {part}, rounds up and adds 1",
    remark="Divide by {part}, round up and add 1.",
    code=(
        "import math\n"
        "\n"
        "def {name}({n}):\n"
        "{note}"
        "    if {n} < 0:\n"
        '        raise ValueError("negative")\n'
        "    return math.ceil({n} / {part}) + 1\n"
    ),
    explanations=(
        "`math.ceil` rounds up.",
        "At 0 the result is 1.",
    ),
    choose=_choose_boxes,
    inputs=_boxes_inputs,
    solve=_boxes,
)


def _choose_clamp(random: Random) -> Facts:
    return {"high": random.randint(2, 15), "below": random.choice(EMPTY)}


def _clamp_inputs(random: Random, facts: Facts) -> list[Arguments]:
    high = facts["high"]
    return [[number] for number in (-9, -2, 0, 1, high - 1, high, high + 1, high + random.randint(2, 20))]


def _clamp(facts: Facts, number: int) -> Any:
    return facts["below"] if number < 0 else sorted((number, facts["high"]))[0]


CLAMP = Family(
    name="clamp",
    verbs=("clamp", "bound", "cap", "restrict"),
    parameters={"n": NUMBERS},
    requests=(
        "returns {below} if `{n}` is below 0 and limits it to at most {high}",
        "returns {below} below 0, {high} above {high} and else `{n}` itself",
    ),
    summary="returns {below} below 0 and at most {high}",
    remark="Return {n}, but at most {high}.",
    code=(
        "def {name}({n}):\n"
        "{note}"
        "    if {n} < 0:\n"
        "        return {below}\n"
        "    if {n} > {high}:\n"
        "        return {high}\n"
        "    return {n}\n"
    ),
    explanations=(
        "Less than 0 gives {below}.",
        "It takes O(1) time.",
    ),
    choose=_choose_clamp,
    inputs=_clamp_inputs,
    solve=_clamp,
)
