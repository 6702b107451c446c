"""Families over strings, with `re` and `string`."""

from __future__ import annotations

from random import Random

from pipeline.sources.builtin.family import Arguments, Facts, Family
from pipeline.sources.builtin.words import AMOUNTS, COMPARE, SAMPLE, TEXTS


def _choose_words(random: Random) -> Facts:
    relation, sign = random.choice(list(AMOUNTS.items()))
    kind, pattern, unit = random.choice((("words", "[a-z]+", "letters"), ("numbers", "[0-9]+", "digits")))
    length = random.randint(2, 9)
    return {"relation": relation, "sign": sign, "kind": kind, "pattern": pattern, "unit": unit, "length": length}


def _words_inputs(random: Random, facts: Facts) -> list[Arguments]:
    length = facts["length"]
    mark = "e" if facts["kind"] == "words" else "7"
    edges = [mark * length, f"{mark * (length - 1)}, {mark * length}; {mark * (length + 1)}!"]
    typical = " ".join([*random.sample(SAMPLE, 4), *(str(10**power) for power in random.sample(range(9), 3))])
    return [[text] for text in ["", mark, *edges, typical]]


def _words(facts: Facts, text: str) -> list[str]:
    wanted = str.isalpha if facts["kind"] == "words" else str.isdigit
    pieces = "".join(letter if wanted(letter) else " " for letter in text).split()
    return [piece for piece in pieces if COMPARE[facts["sign"]](len(piece), facts["length"])]


WORDS = Family(
    name="words",
    verbs=("extract", "pick", "filter", "parse"),
    parameters={"text": TEXTS},
    requests=(
        "lists the {kind} in `{text}` that have {relation} {length} {unit}",
        "uses `re` to find all {kind} of {relation} {length} {unit} in `{text}`",
    ),
    summary="lists the {kind} with {relation} {length} {unit}",
    remark="List the {kind} with {relation} {length} {unit}.",
    code=(
        "import re\n"
        "\n"
        "def {name}({text}):\n"
        "{note}"
        '    found = re.findall("{pattern}", {text})\n'
        "    return [part for part in found if len(part) {sign} {length}]\n"
    ),
    explanations=(
        "The {kind} keep their order.",
        "It takes O(n) time.",
    ),
    choose=_choose_words,
    inputs=_words_inputs,
    solve=_words,
)


def _choose_characters(random: Random) -> Facts:
    relation, sign = random.choice(list(AMOUNTS.items()))
    return {"relation": relation, "sign": sign, "limit": random.randint(2, 12)}


def _characters_inputs(random: Random, facts: Facts) -> list[Arguments]:
    limit = facts["limit"]
    lengths = (0, 1, limit - 1, limit, limit + 1)
    return [*(["R" * length] for length in lengths), ["R4! a" * (limit + random.choice((-1, 0, 1)))]]


def _characters(facts: Facts, text: str) -> bool:
    return COMPARE[facts["sign"]](sum(map(str.isupper, text)), facts["limit"])


CHARACTERS = Family(
    name="characters",
    verbs=("check", "verify", "probe", "inspect"),
    parameters={"text": TEXTS},
    requests=(
        "tells whether `{text}` has {relation} {limit} capitals",
        "uses `string` to return True if there are {relation} {limit} capitals in `{text}` and else False",
    ),
    summary="tells whether there are {relation} {limit} capitals",
    remark="Tell whether there are {relation} {limit} capitals.",
    code=(
        "import string\n"
        "\n"
        "def {name}({text}):\n"
        "{note}"
        "    count = 0\n"
        "    for letter in {text}:\n"
        "        if letter in string.ascii_uppercase:\n"
        "            count += 1\n"
        "    return count {sign} {limit}\n"
    ),
    explanations=(
        "It looks at each character once, so it takes O(n) time.",
        "An empty string has 0 capitals.",
    ),
    choose=_choose_characters,
    inputs=_characters_inputs,
    solve=_characters,
)
