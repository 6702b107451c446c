"""Inconsistent terminology: what was called a list so far is an array for some mentions, in prose.

Recognised in the answer alone, by both forms of one term; with a good answer, forms that it mixes as well do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, in_order
from pipeline.errors.prose import Prose, cased, fenced_code, prose_of, replaced
from pipeline.errors.terms import TERMS, Mention, mentions, plural
from pipeline.records import FunctionTest
from pipeline.spans import Edit

NAME = "inconsistent-terminology"

FEWEST = 3
"""Mentions of a term that make a habit."""

MOST = 12
"""Mentions of one term that are considered; the first ones."""


class InconsistentTerms:
    """Renames one later mention of a term, or all from some mention on, but never the first."""

    name: str = NAME
    level: Level = "static"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        prose = prose_of(response)
        found = mentions(prose)
        return in_order(edits for pair in range(len(TERMS)) for edits in _renamings(prose, found, pair))

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where one term came in one form and now comes in both, outside unchanged code."""
        if fenced_code(case.good) != fenced_code(case.bad):
            return Verification(False, self.level, "the code is different")
        before, after = mentions(prose_of(case.good)), mentions(prose_of(case.bad))
        mixed = sorted(_mixed(after) - _mixed(before))
        if not mixed:
            return Verification(False, self.level, "no term comes in two forms that came in one")
        if len(before) != len(after) or sum(mention.pair == mixed[0] for mention in before) < FEWEST:
            return Verification(False, self.level, "the terms are not those of the good answer")
        one, other = TERMS[mixed[0]]
        return Verification(True, self.level, f"both '{one}' and '{other}', where one of them was enough")

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        found = mentions(prose_of(response))
        allowed = _mixed(mentions(prose_of(reference))) if reference is not None else set()
        for pair in sorted(_mixed(found) - allowed):
            of_pair = [mention for mention in found if mention.pair == pair]
            if len(of_pair) >= FEWEST:
                stray = next(mention for mention in of_pair if mention.form != of_pair[0].form)
                one, other = TERMS[pair]
                return Finding(True, f"both '{one}' and '{other}' in one text", stray.start, stray.end)
        return Finding(False, "every term keeps its form")


def _mixed(found: Sequence[Mention]) -> set[int]:
    """The pairs of which both forms occur."""
    forms = {(mention.pair, mention.form) for mention in found}
    return {pair for pair, form in forms if (pair, 1 - form) in forms}


def _renamings(prose: Prose, found: Sequence[Mention], pair: int) -> Iterator[Proposal]:
    of_pair = [mention for mention in found if mention.pair == pair][:MOST]
    if len(of_pair) < FEWEST or len({mention.form for mention in of_pair}) > 1:
        return
    edits = [_renamed(prose, mention) for mention in of_pair]
    for index in range(1, len(edits)):
        yield (edits[index],)
        if index < len(edits) - 1:
            yield tuple(edits[index:])


def _renamed(prose: Prose, mention: Mention) -> Edit:
    term = TERMS[mention.pair][1 - mention.form]
    new = cased(plural(term) if mention.plural else term, prose.answer[mention.start])
    return replaced(prose, mention.start, mention.end, new, NAME)
