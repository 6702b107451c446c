"""Families that go through a list and compare."""

from __future__ import annotations

from random import Random

from pipeline.sources.builtin.family import Arguments, Facts, Family
from pipeline.sources.builtin.words import COMPARE, EMPTY, LISTS, RELATIONS, integers


def _choose_threshold(random: Random) -> Facts:
    relation, sign = random.choice(list(RELATIONS.items()))
    return {"relation": relation, "sign": sign, "limit": random.randint(2, 12), "empty": random.choice(EMPTY)}


def _threshold_inputs(random: Random, facts: Facts) -> list[Arguments]:
    limit = facts["limit"]
    boundaries = [[], [limit], [limit - 1, limit, limit + 1], [limit, limit, 0]]
    return [[values] for values in [*boundaries, integers(random, 0, 2 * limit, 7)]]


def _count(facts: Facts, values: list[int]) -> int | None:
    inside = COMPARE[facts["sign"]]
    return len([value for value in values if inside(value, facts["limit"])]) if values else facts["empty"]


THRESHOLD_COUNT = Family(
    name="threshold-count",
    verbs=("count", "register", "tally", "measure"),
    parameters={"xs": LISTS},
    requests=(
        "counts the entries {relation} {limit} and returns {empty} for an empty list",
        "tells how many entries {relation} {limit} there are, or {empty} for an empty list",
    ),
    summary="counts the entries {relation} {limit}, or gives {empty}",
    remark="Count the entries {relation} {limit}.",
    code=(
        "def {name}({xs}):\n"
        "{note}"
        "    if not {xs}:\n"
        "        return {empty}\n"
        "    total = 0\n"
        "    for value in {xs}:\n"
        "        if value {sign} {limit}:\n"
        "            total += 1\n"
        "    return total\n"
    ),
    explanations=(
        "It looks at each entry once, so it takes O(n) time.",
        "An empty list gives {empty}.",
    ),
    choose=_choose_threshold,
    inputs=_threshold_inputs,
    solve=_count,
)


def _choose_change(random: Random) -> Facts:
    relation, sign = random.choice((("more than", ">"), ("at least", ">=")))
    step = random.randint(1, 12)
    return {"relation": relation, "sign": sign, "step": step}


def _change_inputs(random: Random, facts: Facts) -> list[Arguments]:
    step = facts["step"]
    boundaries = [[], [step], [0, step, 0], [0, step - 1, 2 * step, 0, step + 1, 0]]
    return [[values] for values in [*boundaries, integers(random, 0, 3 * step, 7)]]


def _count_changes(facts: Facts, values: list[int]) -> int:
    changes = [values[place] - values[place - 1] for place in range(1, len(values))]
    return sum(COMPARE[facts["sign"]](change, facts["step"]) for change in changes)


NEIGHBOURS = Family(
    name="neighbours",
    verbs=("compare", "watch", "jump", "trace"),
    parameters={"xs": LISTS},
    requests=(
        "counts how often a list rises by {relation} {step} from one entry to the next",
        "uses `pairwise` to count where the next entry rises by {relation} {step}",
    ),
    summary="counts where a list rises by {relation} {step}",
    remark="Count where the next entry rises by {relation} {step}.",
    code=(
        "from itertools import pairwise\n"
        "\n"
        "def {name}({xs}):\n"
        "{note}"
        "    total = 0\n"
        "    for left, right in pairwise({xs}):\n"
        "        if right - left {sign} {step}:\n"
        "            total += 1\n"
        "    return total\n"
    ),
    explanations=(
        "It looks at each pair once, so it takes O(n) time.",
        "A single entry has no neighbours and gives 0.",
    ),
    choose=_choose_change,
    inputs=_change_inputs,
    solve=_count_changes,
)
