"""Misleading comments: a comment or docstring gives another number or the opposite, or two comments are swapped.

Recognised relative to a good answer with the same code. Absolute where a note contradicts the code it stands at: a
documented parameter that is none, another returned constant, `increment` at a `-= 1`, `descending` at a plain sort.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pipeline.errors.answers import Code, code_of, compiles
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, in_order
from pipeline.errors.facts import contradicted_note
from pipeline.errors.flips import contradiction, flips
from pipeline.errors.notes import Note, notes_of, without_docstrings
from pipeline.errors.prose import LONGEST
from pipeline.records import FunctionTest
from pipeline.spans import Edit

NAME = "misleading-comments-in-code"


class MisleadingComments:
    """Turns one statement of a comment or docstring, or swaps two comments that follow each other."""

    name: str = NAME
    level: Level = "static"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        notes = notes_of(response)
        turned = [(edit,) for note in notes for edit in _turned(response, note)]
        return in_order([*turned, *_swapped(response, notes)])

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where a note differs and the syntax trees do not, docstrings aside. Nothing is run."""
        good, bad = code_of(case.good), code_of(case.bad)
        if good is None or bad is None or not compiles(bad):
            return Verification(False, self.level, "the Python does not compile")
        if without_docstrings(good) != without_docstrings(bad):
            return Verification(False, self.level, "more than comments and docstrings is different")
        if _outside(good) != _outside(bad):
            return Verification(False, self.level, "the text around the code is different")
        before, after = _texts(case.good), _texts(case.bad)
        if len(before) != len(after):
            return Verification(False, self.level, f"there are {len(after)} notes instead of {len(before)}")
        different = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
        if not different:
            return Verification(False, self.level, "no comment or docstring is different")
        return Verification(True, self.level, f"the same code, and {different[0][1]!r} instead of {different[0][0]!r}")

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        code = code_of(response)
        if code is None:
            return Unscored("the answer holds no Python that parses")
        if len(response) > LONGEST:
            return Unscored("the answer is too long")
        notes = notes_of(response)
        if not notes:
            return Finding(False, "the code has no comments and no docstrings")
        compared = _compared(code, notes, reference)
        if isinstance(compared, Finding):
            return compared
        return contradicted_note(code, notes) or compared


def _turned(answer: str, note: Note) -> Iterator[Edit]:
    for flip in flips(answer, answer, note.start, note.end):
        yield Edit(flip.start, flip.end, answer[flip.start : flip.end], flip.new, NAME)


def _swapped(answer: str, notes: Sequence[Note]) -> Iterator[Proposal]:
    """Neighbouring comments that say different things, each in the other's place."""
    comments = [note for note in notes if note.kind == "comment"]
    for first, second in pairwise(comments):
        one, other = answer[first.start : first.end], answer[second.start : second.end]
        if one.lower() != other.lower() and second.line > first.line + 1:
            yield Edit(first.start, first.end, one, other, NAME), Edit(second.start, second.end, other, one, NAME)


def _texts(answer: str) -> list[str]:
    return [answer[note.start : note.end] for note in notes_of(answer)]


def _outside(code: Code) -> str:
    """The answer without the lines of its code."""
    pieces, reached = [], 0
    for line in code.lines:
        pieces.append(code.answer[reached : line.start])
        reached = line.next
    return "".join([*pieces, code.answer[reached:]])


def _compared(code: Code, notes: Sequence[Note], reference: str | None) -> Finding | Unscored:
    """What the good answer's notes say about these, if its code is the same and they correspond one to one."""
    good = code_of(reference) if reference is not None else None
    if reference is None or good is None:
        return Unscored("there is no good answer's code to compare with")
    if without_docstrings(good) != without_docstrings(code):
        return Unscored("the code is not the good answer's")
    before, after = _texts(reference), [code.answer[note.start : note.end] for note in notes]
    if before == after:
        return Finding(False, "comments and docstrings are the good answer's")
    if len(before) != len(after):
        return Unscored("the comments do not correspond to the good answer's")
    return _first_difference(notes, before, after)


def _first_difference(notes: Sequence[Note], before: Sequence[str], after: Sequence[str]) -> Finding | Unscored:
    reworded = False
    for note, good, text in zip(notes, before, after, strict=True):
        if good == text:
            continue
        if text in before and good in after:
            return Finding(True, f"{text!r} stands where the good answer has {good!r}", note.start, note.end)
        found = contradiction(good, text)
        if found is not None:
            start, end, explanation = found
            return Finding(True, explanation, note.start + start, note.start + end)
        reworded = True
    return Unscored("the comments are worded differently") if reworded else Finding(False, "the comments agree")
