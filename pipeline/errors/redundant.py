"""Redundant information: an earlier sentence is said again, as it was or in nearly the same words.

Recognised in the answer alone: two sentences that are nearly the same. With a good answer, pairs that it has as well do
not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz

from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, in_order
from pipeline.errors.flips import TURNING
from pipeline.errors.prose import Prose, Sentence, fenced_code, prose_of
from pipeline.records import FunctionTest
from pipeline.spans import Edit

NAME = "redundant-information"

SAME = 97.0
"""Token-set ratio from which two sentences count as the same.

Of 600 made-up answers 8 have two sentences of 95 or more (`Raise a ValueError for a negative number` in a plan, and the
same as a remark), none of 97; what is embedded here has 100.
"""

SHARE = 0.6
"""The shorter one's words over the longer one's: a ratio of 100 only says that one holds all words of the other."""

FEWEST_WORDS = 5
MOST_SENTENCES = 120
"""Compared pair by pair. An answer of 400 tokens has some 25."""

LEADS = ("", "In other words, ", "Again, ", "To repeat, ", "As mentioned, ", "Put differently, ")
"""How a sentence is taken up again."""

_LEAD = re.compile(rf"(?:{'|'.join(lead.strip() for lead in LEADS if lead)})\s+", re.IGNORECASE)
_EXACT = re.compile(r"`[^`\n]+`|\d+")
_LETTERS = re.compile(r"[a-z]+")


class RedundantInformation:
    """Says a sentence again at the end of its paragraph or of a later one."""

    name: str = NAME
    level: Level = "static"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        prose = prose_of(response)
        ends = [index for index, passage in enumerate(prose.passages) if _can_grow(prose, index)]
        return in_order(
            {(edit,) for place, said in enumerate(_repeatable(prose)) for edit in _repeats(prose, said, place, ends)}
        )

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where two sentences are nearly the same, and no two were; the code is unchanged."""
        if fenced_code(case.good) != fenced_code(case.bad):
            return Verification(False, self.level, "the code is different")
        if _first_pair(case.good) is not None:
            return Verification(False, self.level, "the good answer repeats itself")
        found = _first_pair(case.bad)
        if found is None:
            return Verification(False, self.level, "no sentence is nearly the same as another")
        return Verification(
            True, self.level, f"two sentences with a token-set ratio of {found.ratio:.0f}, and none before"
        )

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        prose = prose_of(response)
        if len(prose.sentences) > MOST_SENTENCES:
            return Unscored(f"more than {MOST_SENTENCES} sentences")
        known = {_gist(good.text(pair.second)) for good, pair in _known_pairs(reference)}
        for pair in _pairs(response):
            if _gist(prose.text(pair.second)) not in known:
                first = prose.text(pair.first)
                return Finding(True, f"says again: {first[:80]!r}", pair.second.start, pair.second.end)
        return Finding(False, "no sentence is said twice")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sentences that are nearly the same."""

    first: Sentence
    second: Sentence
    ratio: float


def _known_pairs(reference: str | None) -> list[tuple[Prose, Pair]]:
    return [(prose_of(reference), pair) for pair in _pairs(reference)] if reference is not None else []


def _first_pair(answer: str) -> Pair | None:
    return next(iter(_pairs(answer)), None)


@lru_cache(maxsize=64)
def _pairs(answer: str) -> tuple[Pair, ...]:
    """The near-duplicates among the first sentences of an answer, in order of the second one."""
    prose = prose_of(answer)
    said = [sentence for sentence in prose.sentences[:MOST_SENTENCES] if not prose.is_heading(sentence)]
    gists = [_gist(prose.text(sentence)) for sentence in said]
    long = [index for index, gist in enumerate(gists) if len(gist.words) >= FEWEST_WORDS - 1]
    return tuple(
        Pair(said[earlier], said[later], ratio)
        for place, later in enumerate(long)
        for earlier in long[:place]
        if (ratio := _ratio(gists[earlier], gists[later]))
    )


@dataclass(frozen=True, slots=True)
class Gist:
    """What a sentence says: its words, and what must be the same to the letter: numbers, code, `even` or `odd`."""

    words: tuple[str, ...]
    exact: frozenset[str]
    text: str


@lru_cache(maxsize=4096)
def _gist(sentence: str) -> Gist:
    bare = _LEAD.sub("", sentence, count=1).lower()
    words = tuple(_LETTERS.findall(bare))
    return Gist(words, frozenset(_EXACT.findall(bare)) | TURNING.intersection(words), " ".join(words))


def _ratio(one: Gist, other: Gist) -> float:
    """The token-set ratio where it reaches `SAME`, else 0."""
    shorter, longer = sorted((len(one.words), len(other.words)))
    if one.exact != other.exact or shorter < SHARE * longer:
        return 0.0
    return fuzz.token_set_ratio(one.text, other.text, score_cutoff=SAME)


def _repeatable(prose: Prose) -> Iterator[Sentence]:
    """Sentences worth repeating: whole statements of some length that stand on one line."""
    for sentence in prose.sentences:
        text = prose.text(sentence)
        plain = text.endswith(".") and "\n" not in text and "\r" not in text and not prose.is_heading(sentence)
        if plain and len(_gist(text).words) >= FEWEST_WORDS:
            yield sentence


def _can_grow(prose: Prose, index: int) -> bool:
    passage = prose.passages[index]
    return passage.kind == "paragraph" and passage.depth == 0 and prose.answer[passage.end - 1] in ".!"


def _repeats(prose: Prose, said: Sentence, place: int, ends: Sequence[int]) -> Iterator[Edit]:
    """The sentence again at the end of the first paragraph that can take it, and of the last one."""
    text = prose.text(said)
    later = [end for end in ends if end >= said.passage]
    for end in {later[0], later[-1]} if later else ():
        at = prose.passages[end].end
        leads = LEADS if at != said.end else LEADS[1:]
        lead = leads[(place + end) % len(leads)]
        yield Edit(at, at, "", f" {lead}{_taken_up(text) if lead else text}", NAME)


def _taken_up(sentence: str) -> str:
    """The sentence with a small first letter, where its first word is no name."""
    first = sentence.split(" ", 1)[0]
    return sentence[:1].lower() + sentence[1:] if first in _SMALL else sentence


_SMALL_WORDS = """
    A An The It This That These Those There If When While For In On At As By Each Every All Any No Note Here You We Its
    Both Since Because After Before Then First Finally Next Otherwise Only With Without To Nothing Counting
"""
_SMALL = frozenset(_SMALL_WORDS.split())
"""First words that lose their capital within a sentence."""
