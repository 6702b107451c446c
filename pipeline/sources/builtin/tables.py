"""Families around dictionaries."""

from __future__ import annotations

from random import Random

from pipeline.sources.builtin.family import Arguments, Facts, Family
from pipeline.sources.builtin.words import AMOUNTS, COMPARE, KEYS, LISTS


def _choose_lookup(random: Random) -> Facts:
    return {"default": random.randint(1, 12)}


def _lookup_inputs(random: Random, facts: Facts) -> list[Arguments]:
    table = {"a": random.randint(21, 40), "b": random.randint(41, 60)}
    typical = random.choices(["a", "b", "c"], k=5)
    keys = (["a"], ["b", "a"], ["a", "c"], ["a", "b", "c", "a"], typical)
    return [[{}, []], [{}, ["a", "b"]], *([table, names] for names in keys)]


def _lookup(facts: Facts, table: dict[str, int], keys: list[str]) -> int:
    counted = keys[1:]
    return sum(table[key] if key in table else facts["default"] for key in counted)


LOOKUP = Family(
    name="lookup",
    verbs=("price", "charge", "weigh", "bill"),
    parameters={"table": ("table",), "keys": KEYS},
    requests=(
        "adds up what `{table}` holds for all but the first of `{keys}`, with {default} for a missing key",
        "skips the first of `{keys}` and adds up what `{table}` holds for the rest, with {default} for a missing key",
    ),
    summary="skips the first of `{keys}`, with {default} for a missing key",
    remark="Add up the values, with {default} for a missing key.",
    code=(
        "def {name}({table}, {keys}):\n"
        "{note}"
        "    total = 0\n"
        "    for key in {keys}[1:]:\n"
        "        total += {table}.get(key, {default})\n"
        "    return total\n"
    ),
    explanations=(
        "A missing key counts {default}.",
        "Each look-up takes O(1) time.",
    ),
    choose=_choose_lookup,
    inputs=_lookup_inputs,
    solve=_lookup,
)


def _choose_repeats(random: Random) -> Facts:
    relation, sign = random.choice(list(AMOUNTS.items()))
    return {"relation": relation, "sign": sign, "times": random.randint(2, 9)}


def _repeats_inputs(random: Random, facts: Facts) -> list[Arguments]:
    times = facts["times"]
    low, middle, high = sorted(random.sample(range(1, 30), 3))
    mixed = [high] * (times + 1) + [low] * times + [middle] * (times - 1)
    shuffled = random.sample(mixed, len(mixed))
    return [[[]], [[low]], [[low] * times], [mixed], [shuffled]]


def _repeats(facts: Facts, values: list[int]) -> list[int]:
    if not values:
        raise ValueError
    often = COMPARE[facts["sign"]]
    return [value for value in sorted(set(values)) if often(values.count(value), facts["times"])]


REPEATS = Family(
    name="repeats",
    verbs=("group", "repeats", "frequent", "common"),
    parameters={"xs": LISTS},
    requests=(
        "returns the sorted entries that appear {relation} {times} times and raises ValueError for an empty list",
        "uses `Counter` to sort out what occurs {relation} {times} times, with ValueError for an empty list",
    ),
    summary="keeps what appears {relation} {times} times",
    remark="Keep what appears {relation} {times} times.",
    code=(
        "from collections import Counter\n"
        "\n"
        "def {name}({xs}):\n"
        "{note}"
        "    if not {xs}:\n"
        '        raise ValueError("empty list")\n'
        "    counts = Counter({xs})\n"
        "    return sorted(x for x in counts if counts[x] {sign} {times})\n"
    ),
    explanations=(
        "Counting takes O(n) time.",
        "An empty list raises ValueError.",
    ),
    choose=_choose_repeats,
    inputs=_repeats_inputs,
    solve=_repeats,
)
