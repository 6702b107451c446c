"""Families that walk by index."""

from __future__ import annotations

from random import Random

from pipeline.sources.builtin.family import Arguments, Facts, Family
from pipeline.sources.builtin.words import COMPARE, EMPTY, LISTS, RELATIONS, SAMPLE, TEXTS, integers


def _choose_commas(random: Random) -> Facts:
    return {"first": random.randint(1, 9)}


def _comma_inputs(random: Random, facts: Facts) -> list[Arguments]:
    first = facts["first"]
    boundaries = ["", ",", "," * (first + 1), "x" * first + ",", "," * (first + 2) + "x"]
    return [[text] for text in [*boundaries, ",".join(random.sample(SAMPLE, 5))]]


def _comma_places(facts: Facts, text: str) -> list[int]:
    return [place for place, letter in enumerate(text) if letter == "," and place >= facts["first"]]


COMMA_WALK = Family(
    name="comma-walk",
    verbs=("walk", "locate", "spot", "mark"),
    parameters={"text": TEXTS},
    requests=(
        "lists each index of the commas in `{text}` from index {first} on",
        "collects where the commas stand in `{text}` from index {first} on",
    ),
    summary="lists the commas from index {first} on",
    remark="List the commas from index {first} on.",
    code=(
        "def {name}({text}):\n"
        "{note}"
        "    found = []\n"
        "    for i in range({first}, len({text})):\n"
        '        if {text}[i] == ",":\n'
        "            found.append(i)\n"
        "    return found\n"
    ),
    explanations=(
        "The walk takes O(n) time.",
        "Nothing before index {first} is looked at.",
    ),
    choose=_choose_commas,
    inputs=_comma_inputs,
    solve=_comma_places,
)


def _choose_search(random: Random) -> Facts:
    relation, sign = random.choice(list(RELATIONS.items()))
    return {"relation": relation, "sign": sign, "limit": random.randint(2, 12), "missing": random.choice(EMPTY)}


def _search_inputs(random: Random, facts: Facts) -> list[Arguments]:
    limit = facts["limit"]
    skipped, found = limit - 1, limit + 1
    boundaries = [[], [skipped], [limit, found], [skipped, skipped, limit, found], [skipped, skipped, found]]
    return [[values] for values in [*boundaries, integers(random, 0, 2 * limit, 6)]]


def _search(facts: Facts, values: list[int]) -> int | None:
    stop = COMPARE[facts["sign"]]
    found = [place for place, value in enumerate(values) if stop(value, facts["limit"])]
    return found[0] if found else facts["missing"]


WHILE_SEARCH = Family(
    name="while-search",
    verbs=("find", "seek", "search", "reach"),
    parameters={"xs": LISTS},
    requests=(
        "returns the index of the first entry {relation} {limit}, or {missing} if there is none",
        "uses a while loop to find the index of the first entry {relation} {limit}, or {missing} if there is none",
    ),
    summary="finds the first entry {relation} {limit}, or gives {missing}",
    remark="Find the first entry {relation} {limit}.",
    code=(
        "def {name}({xs}):\n"
        "{note}"
        "    i = 0\n"
        "    while i < len({xs}):\n"
        "        if {xs}[i] {sign} {limit}:\n"
        "            return i\n"
        "        i += 1\n"
        "    return {missing}\n"
    ),
    explanations=(
        "The loop stops at the first match.",
        "It takes O(n) time and gives {missing} without a match.",
    ),
    choose=_choose_search,
    inputs=_search_inputs,
    solve=_search,
)
