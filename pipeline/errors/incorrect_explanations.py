"""Incorrect explanations: the prose states another complexity, number or order, or the opposite of what is so.

Recognised relative to a good answer, sentence by sentence. Absolute where the code itself contradicts: the complexity
of a single loop, a returned constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.errors.answers import Code, code_of
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, in_order
from pipeline.errors.facts import constants, contradicted, contradicted_sentence, facts_of, names
from pipeline.errors.flips import contradiction, flips
from pipeline.errors.prose import Prose, Sentence, fenced_code, prose_of, replaced
from pipeline.errors.terms import one_form
from pipeline.records import FunctionTest
from pipeline.spans import Edit, apply

NAME = "incorrect-explanation"

MOST_SENTENCES = 16
"""Sentences of each answer compared at most, one by one, where they have different ones."""


class IncorrectExplanations:
    """Turns one statement of a sentence outside the code."""

    name: str = NAME
    level: Level = "static"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        prose = prose_of(response)
        return in_order([
            (replaced(prose, flip.start, flip.end, flip.new, NAME),)
            for sentence in prose.sentences
            if _states(prose, sentence)
            for flip in flips(response, prose.plain, sentence.start, sentence.end)
        ])  # fmt: skip

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed by construction; static where the code has what was said and not what is said now."""
        if fenced_code(case.good) != fenced_code(case.bad):
            return Verification(False, "static", "the code is different")
        if case.good == case.bad or not case.edits or apply(case.edits, case.good) != case.bad:
            return Verification(False, "by construction", "the edits are not all that is different")
        code, edit = code_of(case.good), case.edits[0]
        said = f"{edit.new.strip()!r} instead of {edit.old.strip()!r}"
        if code is None:
            return Verification(True, "by construction", said)
        return _by_its_facts(case.good, code, edit, said) or _by_its_words(code, edit, said)

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        prose = prose_of(response)
        if not prose.passages:
            return Finding(False, "there is no prose")
        compared = _compared(prose, reference)
        if isinstance(compared, Finding):
            return compared
        code = code_of(response)
        return (contradicted_sentence(code, prose) if code else None) or compared


def _states(prose: Prose, sentence: Sentence) -> bool:
    return not prose.is_heading(sentence) and prose.answer[sentence.end - 1] != "?"


def _by_its_facts(answer: str, code: Code, edit: Edit, said: str) -> Verification | None:
    """Static where the code contradicts the sentence as it is now, and not as it was."""
    prose, facts = prose_of(answer), facts_of(code)
    sentence = next((s for s in prose.sentences if s.start <= edit.start and edit.end <= s.end), None)
    if sentence is None:
        return None
    before = prose.text(sentence)
    after = before[: edit.start - sentence.start] + edit.new + before[edit.end - sentence.start :]
    if contradicted(after, facts) and not contradicted(before, facts):
        return Verification(True, "static", f"{said}: the code contradicts it")
    return None


def _by_its_words(code: Code, edit: Edit, said: str) -> Verification:
    """A number or an exception that stands in the code, for one that does not."""
    old, new = edit.old.strip(), edit.new.strip()
    if old.isdigit() and new.isdigit():
        known = constants(code)
        if int(old) in known and int(new) not in known:
            return Verification(True, "static", f"{said}: the code has {old}, and no {new}")
    if old.isidentifier() and new.isidentifier():
        used = names(code)
        if old in used and new not in used:
            return Verification(True, "static", f"{said}: the code has {old}, and no {new}")
    return Verification(True, "by construction", said)


def _compared(prose: Prose, reference: str | None) -> Finding | Unscored:
    """Sentences that the good answer does not have, against those of its own that this answer does not have."""
    if reference is None:
        return Unscored("there is no good answer to compare with")
    good = prose_of(reference)
    if not good.passages:
        return Unscored("the good answer has no prose")
    ours, theirs = [(s, _gist(prose, s)) for s in prose.sentences], [(s, _gist(good, s)) for s in good.sentences]
    new = _left(ours, [gist for _, gist in theirs])
    lost = _left(theirs, [gist for _, gist in ours])
    if not new or not lost:
        return Finding(False, "every sentence is the good answer's, or stands beside them")
    for sentence in new[:MOST_SENTENCES]:
        for other in lost[:MOST_SENTENCES]:
            found = contradiction(one_form(good.text(other)), one_form(prose.text(sentence)))
            if found is not None:
                return _finding(prose, sentence, good.text(other), found[2])
    return Unscored("the explanation is worded differently")


def _finding(prose: Prose, sentence: Sentence, good: str, explanation: str) -> Finding:
    """Where in the sentence itself it differs, and all of the sentence where its terms differ, too."""
    exact = contradiction(good, prose.text(sentence))
    if exact is None:
        return Finding(True, explanation, sentence.start, sentence.end)
    return Finding(True, exact[2], sentence.start + exact[0], sentence.start + exact[1])


def _gist(prose: Prose, sentence: Sentence) -> tuple[str, ...]:
    """What a sentence says: its words and numbers, in one form of every term, whatever the marks around it."""
    return tuple(one_form(prose.text(sentence)).lower().translate(_MARKS).split())


_MARKS = str.maketrans(dict.fromkeys("`*_#.,;:!?\"'>-", " ") | {"-": "-"})


def _left(sentences: Sequence[tuple[Sentence, tuple[str, ...]]], others: Sequence[tuple[str, ...]]) -> list[Sentence]:
    """The sentences that are none of the others, which count once each."""
    known, left = Counter(others), []
    for sentence, gist in sentences:
        if known[gist] > 0:
            known[gist] -= 1
        elif gist:
            left.append(sentence)
    return left
