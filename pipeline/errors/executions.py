"""What two answers do on the same tests: the executed part of every verification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors.answers import program_of
from pipeline.errors.base import Execute
from pipeline.records import FunctionTest
from pipeline.sandbox.run import Execution, passed, same_outcome


@dataclass(frozen=True, slots=True)
class Compared:
    """The tests, by index, on which two answers give different things, and those on which they give the same.

    `raised` has the class of what the bad answer raised where they differ, or nothing.
    """

    differing: tuple[int, ...]
    agreeing: tuple[int, ...]
    raised: tuple[str, ...] = ()


def compare(good: str, bad: str, tests: Sequence[FunctionTest], execute: Execute) -> Compared | str:
    """Run both; a text says why they cannot be compared."""
    if not tests:
        return "there are no tests to run"
    right = execute(program_of(good), tests)
    if not passed(right, tests):
        return f"the good answer fails its own tests ({right.status})"
    wrong = execute(program_of(bad), tests)
    if wrong.status != "completed":
        return f"the bad answer does not finish: {_described(wrong)}"
    pairs = list(zip(right.outcomes, wrong.outcomes, strict=True))
    same = [same_outcome(left, other) for left, other in pairs]
    return Compared(
        tuple(index for index, equal in enumerate(same) if not equal),
        tuple(index for index, equal in enumerate(same) if equal),
        tuple(other.raised for (_, other), equal in zip(pairs, same, strict=True) if not equal),
    )


def _described(execution: Execution) -> str:
    return f"{execution.status}, {execution.detail}" if execution.detail else execution.status
