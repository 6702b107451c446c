"""Infinite loops: a `while` loop has lost its step or a `break`, or goes the wrong way.

Recognised in the answer alone where nothing can make a loop's condition false, by running it where there are tests, and
relative to a good answer: the same tree but for a step or a break.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from pipeline.errors.answers import Code, code_of
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, alone
from pipeline.errors.compiling import sound_code
from pipeline.errors.executions import both_run, unrun
from pipeline.errors.loops import breaks, constant_step, never_ends, steps, while_loops
from pipeline.errors.trees import Difference, compare_answers
from pipeline.records import FunctionTest
from pipeline.sandbox import run
from pipeline.sandbox.run import Execution, Limits
from pipeline.spans import Edit, edit_at

NAME = "infinite-loops"

SHOWN = 60
"""Characters of a call that a reason shows."""


class InfiniteLoops:
    """Takes away what ends a `while` loop."""

    name: str = NAME
    level: Level = "executed"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        code = code_of(response)
        if code is None:
            return []
        edits = {edit for loop in while_loops(code.tree) for edit in _edits(code, loop)}
        return alone(edits)

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where the good answer passes its tests and the bad one runs into the CPU limit on one of them."""
        if execute is None:
            return unrun(case)
        ran = both_run(case, execute)
        if isinstance(ran, str):
            return Verification(False, self.level, ran)
        _, wrong = ran
        if wrong.status != "cpu-limit" or len(wrong.outcomes) >= len(case.tests):
            return Verification(False, self.level, f"every call ends ({wrong.status})")
        return Verification(True, self.level, _endless(case.tests, wrong) + ", the good answer does")

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        code = sound_code(response)
        if isinstance(code, str):
            return Unscored(code)
        if not while_loops(code.tree):
            return Finding(False, "there is no `while` loop")
        stuck = never_ends(code.tree)
        if stuck is not None:
            start = code.start(stuck)
            return Finding(True, "nothing makes the condition false", start, code.end(stuck.test))
        return _compared(response, reference, code, tests or ())


def _compared(response: str, reference: str | None, code: Code, tests: Sequence[FunctionTest]) -> Finding | Unscored:
    """What the good answer and the tests say. Only a run can tell whether a loop with another step ends."""
    compared = compare_answers(response, reference)
    if compared == []:
        return Finding(False, "every loop is the good answer's")
    missing = [found for found in compared if found.kind == "step"] if isinstance(compared, list) else []
    if tests:
        return _run(code, tests, missing)
    if missing:
        return missing[0].finding
    if isinstance(compared, Unscored):
        return Unscored(f"whether the loops end only tests can tell, and {compared.reason}")
    return Finding(False, "every step and break of the good answer is there")


def _run(code: Code, tests: Sequence[FunctionTest], missing: Sequence[Difference]) -> Finding | Unscored:
    seen = run.execute(code.text, tests, Limits(cpu_seconds=1))
    if seen.status == "completed":
        return Finding(False, "every call ends")
    if seen.status != "cpu-limit":
        return Unscored(f"the answer does not run: {seen.status}")
    loops = while_loops(code.tree)
    if missing:
        return Finding(True, f"{_endless(tests, seen)}: {missing[0].explanation}", missing[0].start, missing[0].end)
    if len(loops) == 1:
        return Finding(True, _endless(tests, seen), code.start(loops[0]), code.end(loops[0].test))
    return Finding(True, _endless(tests, seen))


def _endless(tests: Sequence[FunctionTest], execution: Execution) -> str:
    if len(execution.outcomes) >= len(tests):
        return "the program does not end within the CPU limit"
    test = tests[len(execution.outcomes)]
    call = f"{test.function}({test.arguments[1:-1]})"
    shown = call if len(call) <= SHOWN else call[: SHOWN - 3] + "..."
    return f"{shown} does not end within the CPU limit"


def _edits(code: Code, loop: ast.While) -> Iterator[Edit]:
    for statement in (*steps(loop), *breaks(loop)):
        place = code.whole_lines(statement)
        if place is not None and _leaves_something(code, statement):
            yield edit_at(code.answer, *place, "", NAME)
    for statement in steps(loop):
        if constant_step(statement) is not None:
            yield from _reversed(code, statement)


def _leaves_something(code: Code, statement: ast.stmt) -> bool:
    """Whether the block holds another statement; an `elif` is no block of its own."""
    parent = code.parents[statement]
    if isinstance(statement, ast.If) and not code.source(statement).startswith("if"):
        return False
    return all(getattr(parent, name, []) != [statement] for name in ("body", "orelse", "finalbody"))


def _reversed(code: Code, statement: ast.stmt) -> Iterator[Edit]:
    """`+=` <-> `-=`, `i + 1` <-> `i - 1`."""
    if isinstance(statement, ast.AugAssign):
        start, end = code.end(statement.target), code.start(statement.value)
    else:
        assert isinstance(statement, ast.Assign) and isinstance(statement.value, ast.BinOp)
        start, end = code.end(statement.value.left), code.start(statement.value.right)
    found = re.fullmatch(r"\s*([+-])=?\s*", code.answer[start:end])
    if found is not None:
        at = start + found.start(1)
        yield edit_at(code.answer, at, at + 1, "-" if found[1] == "+" else "+", NAME)
