"""Families that call themselves."""

from __future__ import annotations

from random import Random

from pipeline.sources.builtin.family import Arguments, Facts, Family
from pipeline.sources.builtin.words import NUMBERS


def _choose_steps(random: Random) -> Facts:
    action, sign = random.choice((("multiplies by", "*"), ("adds", "+")))
    return {"action": action, "sign": sign, "change": random.randint(2, 12), "start": random.randint(1, 12)}


def _steps_inputs(random: Random, facts: Facts) -> list[Arguments]:
    return [[count] for count in (-2, 0, 1, 2, random.randint(3, 8))]


def _steps(facts: Facts, count: int) -> int:
    steps = max(count, 0)
    start, change = facts["start"], facts["change"]
    return int(start * change**steps if facts["sign"] == "*" else start + change * steps)


STEPS = Family(
    name="steps",
    verbs=("grow", "repeat", "build", "climb"),
    parameters={"n": NUMBERS},
    requests=(
        "starts at {start} and {action} {change} in each of `{n}` recursive steps, with {start} if `{n}` is 0 or less",
        "is recursive: it returns {start} if `{n}` is 0 or less and else {action} {change} after the smaller case",
    ),
    summary="starts at {start} and {action} {change} in each step",
    remark="Start at {start}; each step {action} {change}.",
    code=(
        "def {name}({n}):\n{note}    if {n} <= 0:\n        return {start}\n    return {name}({n} - 1) {sign} {change}\n"
    ),
    explanations=(
        "The base case returns {start} when `{n}` is 0 or less. It makes O(n) calls.",
        "Each call goes down by 1 until the base case returns {start}, so it takes O(n) time.",
    ),
    choose=_choose_steps,
    inputs=_steps_inputs,
    solve=_steps,
)


def _choose_memo(random: Random) -> Facts:
    return {"back": random.randint(2, 9), "start": random.randint(1, 12)}


def _memo_inputs(random: Random, facts: Facts) -> list[Arguments]:
    back = facts["back"]
    return [[place] for place in (-1, 0, back - 1, back, back + 1, 2 * back, back + random.randint(2, 9))]


def _memo(facts: Facts, place: int) -> int:
    back = facts["back"]
    terms = [facts["start"]] * back
    while len(terms) <= place:
        terms.append(terms[-1] + terms[-back])
    return int(terms[max(place, 0)])


MEMO = Family(
    name="memo",
    verbs=("term", "series", "chain", "recall"),
    parameters={"n": NUMBERS},
    requests=(
        "returns {start} if `{n}` is below {back} and else the cached sum of the terms 1 and {back} places before",
        "uses `cache`: a term is {start} below place {back}, and later the sum of the terms 1 and {back} places before",
    ),
    summary="adds the terms 1 and {back} places before",
    remark="Add the terms 1 and {back} places before.",
    code=(
        "from functools import cache\n"
        "\n"
        "@cache\n"
        "def {name}({n}):\n"
        "{note}"
        "    if {n} < {back}:\n"
        "        return {start}\n"
        "    return {name}({n} - 1) + {name}({n} - {back})\n"
    ),
    explanations=(
        "The cache keeps each term, so it takes O(n) time. Below {back} the base case returns {start}.",
        "Without the cache the calls would grow fast. The base case returns {start}.",
    ),
    choose=_choose_memo,
    inputs=_memo_inputs,
    solve=_memo,
)
