"""Families that call themselves."""

from __future__ import annotations

from random import Random

from pipeline.sources.builtin.family import Arguments, Facts, Family
from pipeline.sources.builtin.words import NUMBERS


def _choose_steps(random: Random) -> Facts:
    action, sign = random.choice((("multiplies by", "*"), ("adds", "+")))
    return {"action": action, "sign": sign, "change": random.randint(2, 12)}


def _steps_inputs(random: Random, facts: Facts) -> list[Arguments]:
    return [[count] for count in (-2, 0, 1, 2, random.randint(3, 8))]


def _steps(facts: Facts, count: int) -> int:
    steps = max(count, 0)
    change = facts["change"]
    return int(change**steps if facts["sign"] == "*" else 1 + change * steps)


STEPS = Family(
    name="steps",
    verbs=("grow", "repeat", "build", "climb"),
    parameters={"n": NUMBERS},
    requests=(
        "starts at 1 and {action} {change} in each of `{n}` recursive steps, if there are any",
        "is recursive, starts at 1 if `{n}` is 0 or less and {action} {change} in each step above",
    ),
    summary="starts at 1 and {action} {change} in each step",
    remark="Start at 1; each step {action} {change}.",
    code=("def {name}({n}):\n{note}    if {n} <= 0:\n        return 1\n    return {name}({n} - 1) {sign} {change}\n"),
    explanations=(
        "The base case returns 1.",
        "It makes O(n) calls.",
    ),
    choose=_choose_steps,
    inputs=_steps_inputs,
    solve=_steps,
)


def _choose_memo(random: Random) -> Facts:
    return {"back": random.randint(2, 9)}


def _memo_inputs(random: Random, facts: Facts) -> list[Arguments]:
    back = facts["back"]
    return [[place] for place in (-1, 0, back - 1, back, back + 1, 2 * back, back + random.randint(2, 9))]


def _memo(facts: Facts, place: int) -> int:
    back = facts["back"]
    terms = [1] * back
    while len(terms) <= place:
        terms.append(terms[-1] + terms[-back])
    return int(terms[max(place, 0)])


MEMO = Family(
    name="memo",
    verbs=("term", "series", "chain", "recall"),
    parameters={"n": NUMBERS},
    requests=(
        "returns 1 if `{n}` is below {back} and else the cached sum of the terms 1 and {back} before",
        "uses `cache` and returns 1 below {back} and else the sum of the terms 1 and {back} before",
    ),
    summary="returns 1 below {back} and else adds two terms",
    remark="Add the terms 1 and {back} before.",
    code=(
        "from functools import cache\n"
        "\n"
        "@cache\n"
        "def {name}({n}):\n"
        "{note}"
        "    if {n} < {back}:\n"
        "        return 1\n"
        "    return {name}({n} - 1) + {name}({n} - {back})\n"
    ),
    explanations=(
        "The cache keeps each term, so it takes O(n) time.",
        "The base case returns 1.",
    ),
    choose=_choose_memo,
    inputs=_memo_inputs,
    solve=_memo,
)
