"""Unused imports: a module of the standard library is imported and nothing refers to it.

Recognised in the answer alone: imports that pyflakes finds unused (F401).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pyflakes import messages

from pipeline.errors.answers import Code, code_of
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, alone
from pipeline.errors.compiling import sound_code
from pipeline.errors.executions import compare
from pipeline.errors.guards import is_docstring
from pipeline.errors.imports import Import, bound, flagged
from pipeline.records import FunctionTest
from pipeline.spans import edit_at

NAME = "unused-imports"

PLAUSIBLE = (
    "import collections",
    "import functools",
    "import itertools",
    "import json",
    "import math",
    "import os",
    "import random",
    "import re",
    "import sys",
    "import time",
    "from collections import Counter",
    "from typing import List",
)
"""Imports that Python answers often carry along. None does anything on import."""

_HEADER = re.compile(r"#!|#.*coding[:=]")


class UnusedImports:
    """Adds an import that nothing needs, after the last one or on top."""

    name: str = NAME
    level: Level = "static"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        code = code_of(response)
        gap = _gap(code) if code else None
        if code is None or gap is None:
            return []
        lines = [line for line in PLAUSIBLE if not _is_known(line, code)]
        edits = [edit_at(response, gap.at, gap.at, gap.before + line + gap.after, NAME) for line in lines]
        return alone(edits)

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where pyflakes finds one unused name more, and the rest of the tree and all results are equal."""
        before, after = sound_code(case.good), sound_code(case.bad)
        if isinstance(before, str) or isinstance(after, str):
            return Verification(False, self.level, "the Python does not compile")
        known = [found.name for found in unused(before)]
        added = [found.name for found in unused(after) if found.name not in known]
        if len(added) != 1 or len(known) + 1 != len(unused(after)):
            return Verification(False, self.level, f"{len(added)} imports become unused, not one")
        if not _differ_by_one_import(before.tree, after.tree):
            return Verification(False, self.level, "more than an import is different")
        seen = compare(case, execute) if case.tests and execute else None
        if isinstance(seen, str) or (seen and seen.differing):
            return Verification(False, self.level, seen if isinstance(seen, str) else "the import changes results")
        same = f"; all {len(case.tests)} tests give the same" if seen else ""
        return Verification(True, self.level, f"'{added[0]}' is imported and not used{same}")

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
        found = unused(code)
        if not found:
            return Finding(False, "every import is used")
        return Finding(True, f"'{found[0].name}' is imported and not used", found[0].start, found[0].end)


@dataclass(frozen=True, slots=True)
class Unused:
    """An import that nothing uses, as pyflakes names it (`typing.List`, `numpy as np`), at ``answer[start:end]``."""

    name: str
    start: int
    end: int


def unused(code: Code) -> list[Unused]:
    """What pyflakes calls imported but unused, in order of position."""
    found = (_unused(code, message) for message in flagged(code, messages.UnusedImport))
    return sorted(found, key=lambda name: (name.start, name.name))


def _unused(code: Code, message: messages.UnusedImport) -> Unused:
    """Of several imported names the one that is meant, where the message tells."""
    name, start = message.message_args[0], code.at(message.lineno, message.col)
    statement = next(node for node in ast.walk(code.tree) if isinstance(node, Import) and code.start(node) == start)
    last = name.removesuffix("*").split(" as ")[-1].split(".")[-1]
    alias = next((alias for alias in statement.names if bound(alias) == last), None)
    place = alias if alias and len(statement.names) > 1 else statement
    return Unused(name, code.start(place), code.end(place))


@dataclass(frozen=True, slots=True)
class _Gap:
    """Where a line goes in, and what stands before and after it there: fence indentation, line breaks."""

    at: int
    before: str
    after: str


def _gap(code: Code) -> _Gap | None:
    """After the last import at the top level that has its lines to itself, else after a docstring, else on top."""
    imports = [item for item in code.tree.body if isinstance(item, Import) and code.whole_lines(item)]
    if imports:
        return _after(code, imports[-1])
    if code.tree.body and is_docstring(code.tree.body[0]):
        return _after(code, code.tree.body[0]) if code.whole_lines(code.tree.body[0]) else None
    return _on_top(code)


def _after(code: Code, statement: ast.stmt) -> _Gap:
    line = code.lines[(statement.end_lineno or statement.lineno) - 1]
    margin, ending = code.answer[line.start : line.code], code.answer[line.end : line.next]
    if not ending:  # the answer ends here
        return _Gap(line.next, "\n" + margin, "")
    return _Gap(line.next, margin, ending)


def _on_top(code: Code) -> _Gap:
    """Above the first line, but for a shebang and the like; a blank line sets the import off."""
    first = next(line for line in code.lines if not _HEADER.match(code.answer, line.code))
    ending = code.answer[first.end : first.next] or "\n"
    blank = ending if code.answer[first.code : first.end].strip() else ""
    return _Gap(first.start, code.answer[first.start : first.code], ending + blank)


def _is_known(line: str, code: Code) -> bool:
    """Whether the name that an import would give stands anywhere in the code, be it in a comment."""
    return re.search(rf"\b{line.split()[-1]}\b", code.text) is not None


def _differ_by_one_import(good: ast.Module, bad: ast.Module) -> bool:
    left, right = ([ast.dump(item) for item in tree.body] for tree in (good, bad))
    places = [index for index, item in enumerate(bad.body) if isinstance(item, Import)]
    return any(right[:index] + right[index + 1 :] == left for index in places)
