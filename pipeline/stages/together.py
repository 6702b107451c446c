"""Several errors in one answer: which go together, and whether each still shows where the others are.

Every error is verified twice: alone on the good answer, and among the others. Among the others means: the answer with
all other errors is taken for good, what its functions give is what they should give, and this error must show against
that. An error that hides behind another one (a wrong result after a NameError, say) does not pass, and is not embedded.

An error that leaves no program to run, a syntax error or a broken fence, would hide everything that shows by running.
It goes with errors that show without, and those are looked at where it is not.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline import spans
from pipeline.errors.answers import Code, code_of, compiles, lines_of, program_of
from pipeline.errors.base import Case, ErrorType, Execute, Proposal, Verification
from pipeline.records import FunctionTest
from pipeline.sandbox.run import Execution
from pipeline.spans import Edit

_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Embedded:
    """One error that was verified alone on the good answer."""

    kind: ErrorType
    edits: Proposal
    seen: Verification


def alone(kind: ErrorType, edits: Proposal, whole: Case, execute: Execute | None) -> Embedded | str:
    """The error by itself in the good answer; a text says why it does not show."""
    seen = kind.verify(replace(whole, bad=spans.apply(edits, whole.good), edits=edits), execute)
    return Embedded(kind, edits, seen) if seen.confirmed else seen.reason


def stops(edits: Proposal, good: str) -> bool:
    """Whether edits leave no program in place of the good one: it does not compile, or was lost on the way."""
    before, after = code_of(good), code_of(spans.apply(edits, good))
    if before is None or after is None or not compiles(after):
        return True
    inside = [edit for edit in edits if _is_inside(edit, before)]
    grown = sum(len(_BREAK.findall(edit.new)) - len(_BREAK.findall(edit.old)) for edit in inside)
    return len(after.lines) != len(before.lines) + grown


def _is_inside(edit: Edit, code: Code) -> bool:
    return any(line.start <= edit.start <= line.end for line in code.lines)


def refused(new: Embedded, found: Sequence[Embedded], whole: Case, execute: Execute | None) -> str:
    """Why an error cannot join those that were found, or nothing."""
    if not found:
        return ""
    if any(clash(new.edits, other.edits, whole.good) for other in found):
        return "another error is in the same statement or line"
    errors = [*found, new]
    running = [one for one in errors if not stops(one.edits, whole.good)]
    if len(running) < len(errors) and any(one.kind.level == "executed" for one in errors):
        return "nothing runs where the program is broken"
    hidden = next((one for one in errors if not shows_among(one, running, whole, execute)), None)
    return f"{hidden.kind.name} does not show beside the others" if hidden else ""


def clash(one: Proposal, other: Proposal, answer: str) -> bool:
    """Whether two errors touch the same statement or line."""
    return bool(touched(one, answer) & touched(other, answer))


def touched(edits: Proposal, answer: str) -> set[int]:
    """The numbers of the lines that edits touch, whole statements where they touch code (of a block, its head)."""
    starts = [line.start for line in lines_of(answer)]
    lines: set[int] = set()
    for edit in edits:
        lines |= set(_numbers(starts, edit.start, edit.end))
    code = code_of(answer)
    for first, last in _statements(code) if code else ():
        statement = _numbers(starts, first, last)
        if lines.intersection(statement):
            lines |= set(statement)
    return lines


def _numbers(starts: Sequence[int], start: int, end: int) -> range:
    """The lines of ``[start, end)``; of an empty stretch the line that it stands in."""
    return range(bisect_right(starts, start) - 1, bisect_right(starts, max(start, end - 1)))


def _statements(code: Code) -> list[tuple[int, int]]:
    """From where to where each simple statement reaches, and the head of each that has a body."""
    found = []
    for node in ast.walk(code.tree):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None) or getattr(node, "cases", None)
            found.append((code.start(node), _head_end(code, node, body[0]) if body else code.end(node)))
    return found


def _head_end(code: Code, node: ast.stmt, first: ast.stmt | ast.match_case) -> int:
    """Where a head ends: before the line of its body's first statement, or with its own line."""
    line = (first.pattern if isinstance(first, ast.match_case) else first).lineno
    return code.lines[max(line - 2, node.lineno - 1)].end


def shows_among(one: Embedded, running: Sequence[Embedded], whole: Case, execute: Execute | None) -> bool:
    """Whether an error shows against the answer that has all the others which leave a program."""
    others = [edit for other in running if other is not one for edit in other.edits]
    good = spans.apply(others, whole.good)
    edits = moved(one.edits, others)
    tests = expecting(whole.tests, execute(program_of(good), whole.tests)) if execute and whole.tests else whole.tests
    if tests is None:
        return False
    case = Case(whole.prompt, good, spans.apply(edits, good), edits, tests)
    seen = one.kind.verify(case, execute)
    return seen.confirmed and seen.level == one.seen.level


def moved(edits: Proposal, others: Sequence[Edit]) -> Proposal:
    """Edits of the good answer as edits of the answer in which the others were made."""

    def shift(edit: Edit) -> int:
        return sum(len(other.new) - len(other.old) for other in others if other.start < edit.start)

    return tuple(replace(edit, start=edit.start + shift(edit), end=edit.end + shift(edit)) for edit in edits)


def expecting(tests: Sequence[FunctionTest], execution: Execution) -> tuple[FunctionTest, ...] | None:
    """The tests with what a program gave as what is expected; None where it did not come to an end."""
    if execution.status != "completed":
        return None
    return tuple(
        replace(test, expected="null" if outcome.value is None else outcome.value, raises=outcome.raised)
        for test, outcome in zip(tests, execution.outcomes, strict=True)
    )


def numbered(found: Sequence[Embedded]) -> tuple[Edit, ...]:
    """The edits of all errors by position, each with its error's number, level and evidence. Errors count from 0."""
    errors = sorted(found, key=lambda one: one.edits[0].start)
    edits = [
        replace(edit, error=number, level=one.seen.level, evidence=one.seen.reason)
        for number, one in enumerate(errors)
        for edit in one.edits
    ]
    return tuple(sorted(edits, key=lambda edit: (edit.start, edit.end)))
