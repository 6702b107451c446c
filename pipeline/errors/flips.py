"""Words that turn a statement about code into its opposite, or into another one: numbers, directions, complexities.

Shared by comments and explanations. `flips` finds what can be turned; `contradiction` finds where two texts differ by
such a turn and by nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

Kind = Literal["number", "word", "complexity", "negation", "value", "exception"]

PAIRS = (
    ("ascending", "descending"), ("increasing", "decreasing"), ("smallest", "largest"), ("minimum", "maximum"),
    ("lowest", "highest"), ("shortest", "longest"), ("smaller", "larger"), ("shorter", "longer"), ("higher", "lower"),
    ("first", "last"), ("before", "after"), ("at least", "at most"), ("greater than", "less than"),
    ("more than", "fewer than"), ("even number", "odd number"), ("even numbers", "odd numbers"),
    ("left to right", "right to left"), ("from the left", "from the right"), ("left side", "right side"),
    ("left half", "right half"), ("left pointer", "right pointer"), ("left child", "right child"),
    ("inclusive", "exclusive"), ("including", "excluding"), ("includes", "excludes"), ("include", "exclude"),
    ("adds", "subtracts"), ("added", "subtracted"), ("multiplies", "divides"), ("multiplied", "divided"),
    ("uppercase", "lowercase"), ("positive", "negative"), ("rows", "columns"), ("row", "column"),
    ("increments", "decrements"), ("increment", "decrement"), ("rounds up", "rounds down"), ("round up", "round down"),
    ("rounded up", "rounded down"), ("start of", "end of"), ("start index", "end index"), ("begins with", "ends with"),
    ("starts with", "ends with"), ("inner", "outer"), ("once", "twice"), ("earlier", "later"), ("always", "never"),
    ("empty", "non-empty"), ("valid", "invalid"), ("present in", "missing from"), ("ignores", "counts"),
    ("skips", "keeps"), ("iterative", "recursive"), ("mutable", "immutable"), ("returns", "prints"),
    ("push", "pop"), ("encode", "decode"), ("encodes", "decodes"), ("succeeds", "fails"), ("with", "without"),
    ("linear time", "quadratic time"), ("constant time", "linear time"), ("constant space", "linear space"),
    ("quadratic time", "linear time"), ("logarithmic time", "linear time"), ("linear space", "constant space"),
    ("two", "three"), ("three", "four"), ("four", "five"), ("five", "six"), ("six", "seven"), ("ten", "twelve"),
)  # fmt: skip
"""Each word becomes the other one, the first where a word stands in several pairs."""

EXCEPTIONS = (
    ("ValueError", "TypeError"), ("KeyError", "IndexError"), ("ZeroDivisionError", "OverflowError"),
    ("FileNotFoundError", "PermissionError"), ("StopIteration", "RuntimeError"), ("RecursionError", "MemoryError"),
)  # fmt: skip

COMPARED = 40_000
"""Pairs of words compared of two sentences at most; longer ones count as too different to tell."""

VALUES = (("True", "False"), ("None", "False"))

_PLACES = ("above", "below")
_UNTURNED = {"with", "without", "two", "three", "four", "five", "six", "ten"}
"""Too common as they stand: they are recognised, not embedded."""


def _both_ways(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    turned: dict[str, str] = {}
    for one, other in pairs:
        turned.setdefault(one, other)
        turned.setdefault(other, one)
    return turned


def _by_first_word(turned: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Phrases and what they become, the longest first: looking words up beats a pattern of a hundred branches."""
    phrases: dict[str, list[tuple[str, str]]] = {}
    for phrase in sorted(turned, key=len, reverse=True):
        if phrase not in _UNTURNED:
            phrases.setdefault(re.split("[ -]", phrase)[0], []).append((phrase, turned[phrase]))
    return phrases


_PHRASES = _by_first_word(_both_ways((*PAIRS, _PLACES)))
_NAMES = {**_both_ways(EXCEPTIONS), **_both_ways(VALUES)}

TURNING = frozenset(word for pair in PAIRS for phrase in pair for word in re.findall("[a-z]+", phrase)) - {
    "with",
    "to",
    "of",
    "from",
    "the",
    "in",
    "at",
    "than",
}
"""Single words that make two sentences differ, however much alike they are."""

_COMPLEXITY = re.compile(r"\bO\(([^()\n]*(?:\([^()\n]*\)[^()\n]*)?)\)")
_NAMED = re.compile(rf"\b(?:{'|'.join(_NAMES)})\b")
_NUMBER = re.compile(r"(?<![\w.,/#:^(+-])-?\d{1,6}(?![\w/:%^)-]|[.,]\d)")
_COUNTING = re.compile(
    r"\b(?:python|step|version|example|case|line|part|option|method|section|note|figure|chapter|pep|utf)[ -]$",
    re.IGNORECASE,
)
"""What a number after it only counts or names."""

_ENGLISH = re.compile("[A-Za-z]+")
_LIMIT = re.compile(r" (?:\d|\x01|zero|the (?:limit|threshold))")
_NOT = re.compile(r" not\b|n't\b|(?<=[Cc]an)not\b")
_STATED = re.compile(r" (?!not |be |a few |you |we |I )[a-z\d\x01]")
_DENIED = {"is", "are", "was", "were", "does", "do", "can", "will", "must", "should", "cannot"}
_DENIABLE = {"is", "are", "can", "will", "must"}
_POINTING = {"here", "there", "this", "that", "it", "what", "which", "below", "if", "how"}
"""`This is the function` is no statement about it."""

_COMPLEX = r"\bO\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)"
_TOKEN = re.compile(
    rf"{_COMPLEX}|left to right|right to left|[^\W\d_]+?(?=n't\b)|n't|[^\W\d_]+(?:-[^\W\d_]+)?|-?\d+(?:\.\d+)?|\S"
)


@dataclass(frozen=True, slots=True)
class Flip:
    """``text[start:end]`` becomes `new`."""

    start: int
    end: int
    new: str
    kind: Kind


def flips(text: str, plain: str, start: int, end: int) -> Iterator[Flip]:
    """What can be turned between two places of a text. `plain` is the same text with code hidden (`Prose.plain`).

    Complexities, values and exceptions are turned in code spans, too: `O(n)` usually stands in one.
    """
    previous = ""
    for word in _ENGLISH.finditer(plain, start, end):
        name = word[0].lower()
        if name in _PHRASES:
            yield from _turned(word, name, plain, end)
        elif name in _DENIED or name[:-1] in _DENIED:
            yield from _negated(word, name, plain, previous)
        previous = name
    for number in _NUMBER.finditer(plain, start, end):
        if not _counts(plain, start, number.start()):
            yield Flip(*number.span(), str(int(number[0]) + 1), "number")
    for found in _COMPLEXITY.finditer(text, start, end):
        yield Flip(*found.span(), _other_complexity(found[1]), "complexity")
    for found in _NAMED.finditer(text, start, end):
        yield Flip(*found.span(), _NAMES[found[0]], "value" if found[0] in ("True", "False", "None") else "exception")


def _turned(word: re.Match[str], name: str, plain: str, end: int) -> Iterator[Flip]:
    """The phrase that begins with this word and stands here, the longest of several."""
    start = word.start()
    if plain[start - 1 : start] == "-":
        return
    for phrase, other in _PHRASES[name]:
        stop = start + len(phrase)
        if plain[start:stop].lower() == phrase and stop <= end and not plain[stop : stop + 1].isalnum():
            if plain[stop : stop + 1] != "-" and (phrase not in _PLACES or _LIMIT.match(plain, stop)):
                yield Flip(start, stop, other[:1].upper() + other[1:] if word[0][:1].isupper() else other, "word")
            return


def _negated(word: re.Match[str], name: str, plain: str, previous: str) -> Iterator[Flip]:
    """`is not`, `isn't` and `cannot` without the negation; a plain `is` with one."""
    stop = word.end() - (3 if name == "cannot" else 0 if name in _DENIED else 1)
    denied = _NOT.match(plain, stop)
    if denied:
        yield Flip(*denied.span(), "", "negation")
    elif name in _DENIABLE and previous and previous not in _POINTING and _STATED.match(plain, stop):
        yield Flip(stop, stop, "not" if name == "can" else " not", "negation")


def _counts(plain: str, start: int, number: int) -> bool:
    """Whether a number numbers something: `Step 2`, `Python 3`, or the beginning of a line of a list."""
    return not plain[start:number].strip() or _COUNTING.search(plain[max(start, number - 10) : number]) is not None


def _other_complexity(inner: str) -> str:
    plain = inner.replace(" ", "").lower()
    if plain == "1" or plain.startswith("log") or plain.startswith("sqrt"):
        return "O(n)"
    return "O(n^2)" if re.fullmatch(r"[a-z]|[a-z]\*?log\(?[a-z]\)?|[a-z]\+[a-z]", plain) else "O(n)"


def contradiction(good: str, bad: str) -> tuple[int, int, str] | None:
    """Where `bad` says the opposite of `good`, or another number, if that is all in which they differ.

    Gives start, end and an explanation; None where the texts are equal or differ in another way as well.
    """
    left, right = list(_TOKEN.finditer(good)), list(_TOKEN.finditer(bad))
    if len(left) * len(right) > COMPARED:
        return None
    words, others = ([match[0].lower() for match in tokens] for tokens in (left, right))
    first: tuple[int, int, str] | None = None
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, words, others, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        before, after = _without_articles(words[i1:i2]), _without_articles(others[j1:j2])
        if before == after:
            continue
        if not _contradict(before, after):
            return None
        said = good[left[i1].start() : left[i2 - 1].end()] if i2 > i1 else ""
        start, end = _place(right, j1, j2, len(bad))
        first = first or (start, end, f"{bad[start:end]!r} where the good answer has {said!r}")
    return first


def _place(tokens: Sequence[re.Match[str]], first: int, last: int, length: int) -> tuple[int, int]:
    if last > first:
        return tokens[first].start(), tokens[last - 1].end()
    start = tokens[first].start() if first < len(tokens) else length
    return start, start


def _without_articles(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in words if word not in ("a", "an"))


def _contradict(before: tuple[str, ...], after: tuple[str, ...]) -> bool:
    if (before, after) in _OPPOSED or (() in (before, after) and {before, after} <= _NEGATIONS):
        return True
    if len(before) != 1 or len(after) != 1:
        return False
    one, other = before[0], after[0]
    numbers = all(re.fullmatch(r"-?\d+(?:\.\d+)?", word) for word in (one, other))
    return numbers or all(word.startswith("o(") for word in (one, other))


_NEGATIONS = {(), ("not",), ("n't",)}


def _opposed() -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Every pair, both ways, and what of it is left where the words that both have are taken off its ends."""
    found = set()
    for one, other in (*PAIRS, *EXCEPTIONS, *VALUES, _PLACES, ("can", "cannot")):
        left, right = ([match[0].lower() for match in _TOKEN.finditer(text)] for text in (one, other))
        found.add((tuple(left), tuple(right)))
        while left and right and left[-1] == right[-1]:
            left, right = left[:-1], right[:-1]
        while left and right and left[0] == right[0]:
            left, right = left[1:], right[1:]
        found.add((tuple(left), tuple(right)))
    return found | {(right, left) for left, right in found}


_OPPOSED = _opposed()
