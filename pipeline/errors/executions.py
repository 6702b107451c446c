"""What two answers do on the same tests: the executed part of every verification."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from pipeline.errors.answers import code_of, compiles, program_of
from pipeline.errors.base import Case, Execute, Verification
from pipeline.sandbox.run import Execution, passed, same_outcome


@dataclass(frozen=True, slots=True)
class Compared:
    """The tests, by index, on which two answers give different things, and those on which they give the same.

    `raised` has the class of what the bad answer raised where they differ, or nothing.
    """

    differing: tuple[int, ...]
    agreeing: tuple[int, ...]
    raised: tuple[str, ...] = ()


def both_run(case: Case, execute: Execute) -> tuple[Execution, Execution] | str:
    """What the good answer, which passes its tests, and the bad one give; a text says why they cannot be compared."""
    if not case.tests:
        return "there are no tests to run"
    right = execute(program_of(case.good), case.tests)
    if not passed(right, case.tests):
        return f"the good answer fails its own tests ({right.status})"
    return right, execute(program_of(case.bad), case.tests)


def compare(case: Case, execute: Execute) -> Compared | str:
    """Run both; a text says why they cannot be compared."""
    ran = both_run(case, execute)
    if isinstance(ran, str):
        return ran
    right, wrong = ran
    if wrong.status != "completed":
        return f"the bad answer does not finish: {_described(wrong)}"
    pairs = list(zip(right.outcomes, wrong.outcomes, strict=True))
    same = [same_outcome(left, other) for left, other in pairs]
    return Compared(
        tuple(index for index, equal in enumerate(same) if not equal),
        tuple(index for index, equal in enumerate(same) if equal),
        tuple(other.raised for (_, other), equal in zip(pairs, same, strict=True) if not equal),
    )


def unrun(case: Case) -> Verification:
    """What can be said without running anything: both answers compile, and their trees differ."""
    good, bad = code_of(case.good), code_of(case.bad)
    if good is None or bad is None or not (compiles(good) and compiles(bad)):
        return Verification(False, "static", "the Python does not compile")
    if ast.dump(good.tree) == ast.dump(bad.tree):
        return Verification(False, "static", "equivalent: the syntax trees are equal")
    return Verification(True, "static", "both compile and their trees differ; not run")


def differing(case: Case, execute: Execute | None) -> Compared | Verification:
    """What both answers give where they differ on a test; else the verdict on an error that should make them differ."""
    if execute is None:
        return unrun(case)
    seen = compare(case, execute)
    if isinstance(seen, str):
        return Verification(False, "executed", seen)
    if not seen.differing:
        return Verification(False, "executed", f"equivalent: no difference on {len(case.tests)} tests")
    return seen


def shown(case: Case, execute: Execute | None) -> Verification:
    """Confirmed where the good answer passes its tests and the bad one gives something else on at least one."""
    seen = differing(case, execute)
    if isinstance(seen, Verification):
        return seen
    endless_calls = seen.raised.count("RecursionError")
    how = f", RecursionError on {endless_calls}" if endless_calls else ""
    return Verification(True, "executed", f"differs on {len(seen.differing)} of {len(case.tests)} tests{how}")


def _described(execution: Execution) -> str:
    return f"{execution.status}, {execution.detail}" if execution.detail else execution.status
