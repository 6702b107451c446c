"""Irrelevant information: a paragraph that has nothing to do with the question or the answer.

Recognised in the answer alone, by similarity: a paragraph that shares next to no word with the rest of the answer, the
prompt or the language of programming. What a good answer says as well does not count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from functools import cache, lru_cache
from zlib import crc32

from pipeline.errors.asides import ASIDES, COMPUTING
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, in_order
from pipeline.errors.prose import fenced_code, prose_of
from pipeline.records import FunctionTest
from pipeline.spans import Edit, apply

NAME = "irrelevant-information"

RELATED = 0.2
"""The share of a paragraph's content words that are known, below which it counts as irrelevant.

The lowest share of any paragraph was 0.4 in the built-in corpus, 0.25 in 600 made-up answers and 1.0 in HumanEval's
docstrings; of 6,000 asides put into such answers 98 % lie below 0.2.
"""

FEWEST_WORDS = 4
"""Content words without which nothing can be said about a paragraph."""

PER_PLACE = 4
"""Sentences proposed for one place. Which ones depends on the answer, so all of them come up over many rows."""

_WORD = re.compile("[A-Za-z]{2,}")
_STOP_WORDS = """
    a about above after again all almost along also always am an and another any are as at be because been before
    being below best between both but by can cannot come common could did do does doing done down during each even
    ever every few for from gave get gets give given gives had has have he help helps her here hers him his how i
    if in into is it its itself just keep keeps large larger largest last later leave leaves leaving left long
    longer low lower made make makes many may me might mine more most move moving much must my near never no nor
    not now of off often old older oldest on once only onto open opened opening or other our out over own part
    parts per perhaps quite rather same several shall she short shorter shortly should so some soon still such take
    taken takes than that the their them then there these they this those though through till to too toward turn
    turning turns two under until up upon us very wait was way we well were what when where whether which while who
    whole whom why will with within without would yet you your
"""
_STOP = frozenset(_STOP_WORDS.split())


class IrrelevantInformation:
    """Puts a paragraph on something else after a paragraph of the answer."""

    name: str = NAME
    level: Level = "by construction"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        prose = prose_of(response)
        places = [passage.end for passage in prose.passages if passage.kind == "paragraph" and not passage.depth]
        if not places:
            return []
        known, gap = stems(response) | stems(prompt), prose.line_break * 2
        fresh = [aside for aside, words in _aside_stems() if words.isdisjoint(known)]
        first = crc32(response.encode(errors="replace"))
        return in_order(
            (Edit(at, at, "", gap + fresh[(first + index * PER_PLACE + more) % len(fresh)], NAME),)
            for index, at in enumerate(places)
            for more in range(min(PER_PLACE, len(fresh)))
        )

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where one paragraph is added that has to do with neither prompt nor answer, and no code changed."""
        if fenced_code(case.good) != fenced_code(case.bad):
            return Verification(False, self.level, "the code is different")
        if len(case.edits) != 1 or case.edits[0].old or apply(case.edits, case.good) != case.bad:
            return Verification(False, self.level, "something else than one insertion is different")
        share = _share(stems(case.edits[0].new), stems(case.good) | stems(case.prompt) | _COMPUTING)
        if share is None or share >= RELATED:
            return Verification(False, self.level, "what is added has to do with the rest, or says too little")
        return Verification(True, self.level, f"{share:.0%} of its words have to do with prompt and answer")

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        prose = prose_of(response)
        allowed = _said(reference) if reference is not None else set()
        known = stems(prompt or "") | stems(reference or "") | _COMPUTING
        everywhere = Counter(_each_stem(response))
        for passage in prose.passages:
            if passage.kind == "heading" or " ".join(prose.words(passage)) in allowed:
                continue
            here = Counter(_each_stem(prose.text(passage)))
            around = {word for word, count in here.items() if everywhere[word] > count}
            share = _share(here.keys(), known | around)
            if share is not None and share < RELATED:
                why = f"{share:.0%} of its words have to do with the rest, under {RELATED:.0%}"
                return Finding(True, why, passage.start, passage.end)
        return Finding(False, "every paragraph has to do with the rest")


def _said(answer: str) -> set[str]:
    """The paragraphs of an answer, as their words."""
    prose = prose_of(answer)
    return {" ".join(prose.words(passage)) for passage in prose.passages}


def _share(words: Set[str], known: Set[str]) -> float | None:
    """The share of a text's content words that are known; None where it has too few of them."""
    return len(words & known) / len(words) if len(words) >= FEWEST_WORDS else None


def _each_stem(text: str) -> Iterator[str]:
    """The content words of a text, code included, each in one form; other scripts than Latin are not judged."""
    return (stem(word) for word in map(str.lower, _WORD.findall(text)) if word not in _STOP)


def stems(text: str) -> frozenset[str]:
    """The content words of a text, each in one form."""
    return frozenset(_each_stem(text))


@cache
def _aside_stems() -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((aside, stems(aside)) for aside in ASIDES)


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word without its most common endings; crude, but the same for all of its forms in most cases."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + instead
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


_ENDINGS = (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("ly", ""), ("e", ""))
_COMPUTING = frozenset(map(stem, COMPUTING))
