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

_CLASSES = {
    "digits": ("digits", "4"),
    "capitals": ("ascii_uppercase", "R"),
    "punctuation marks": ("punctuation", "!"),
    "spaces": ("whitespace", " "),
}
"""What is counted -> its name in `string`, and one such character."""


def _choose_characters(random: Random) -> Facts:
    relation, sign = random.choice(list(AMOUNTS.items()))
    kind, (group, _) = random.choice(list(_CLASSES.items()))
    return {"relation": relation, "sign": sign, "kind": kind, "group": group, "limit": random.randint(2, 12)}


def _characters_inputs(random: Random, facts: Facts) -> list[Arguments]:
    limit, mark = facts["limit"], _CLASSES[facts["kind"]][1]
    everything = "".join(mark for _, mark in _CLASSES.values())
    lengths = (0, 1, limit - 1, limit, limit + 1)
    return [*([mark * length] for length in lengths), [everything * (limit + random.choice((-1, 0, 1)))]]


def _characters(facts: Facts, text: str) -> bool:
    mark = _CLASSES[facts["kind"]][1]
    return COMPARE[facts["sign"]](text.count(mark), facts["limit"])


CHARACTERS = Family(
    name="characters",
    verbs=("check", "verify", "probe", "inspect"),
    parameters={"text": TEXTS},
    requests=(
        "tells whether `{text}` has {relation} {limit} {kind}",
        "uses `string` to return True if there are {relation} {limit} {kind} in `{text}` and else False",
    ),
    summary="tells whether there are {relation} {limit} {kind}",
    remark="Tell whether there are {relation} {limit} {kind}.",
    code=(
        "import string\n"
        "\n"
        "def {name}({text}):\n"
        "{note}"
        "    count = 0\n"
        "    for letter in {text}:\n"
        "        if letter in string.{group}:\n"
        "            count += 1\n"
        "    return count {sign} {limit}\n"
    ),
    explanations=(
        "It looks at each character once, so it takes O(n) time.",
        "An empty string has 0 {kind}.",
    ),
    choose=_choose_characters,
    inputs=_characters_inputs,
    solve=_characters,
)
