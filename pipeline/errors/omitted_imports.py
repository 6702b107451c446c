"""Omitting necessary imports: a name is used that nothing imports or defines.

Recognised in the answer alone: names that pyflakes finds undefined, builtins aside.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyflakes import messages

from pipeline.errors.answers import Code, code_of, program_of
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, alone
from pipeline.errors.compiling import sound_code
from pipeline.errors.imports import Import, bound, flagged, with_comma
from pipeline.records import FunctionTest
from pipeline.sandbox.run import Execution
from pipeline.spans import Edit, edit_at

NAME = "omitting-necessary-imports"


class OmittedImports:
    """Deletes an import, or one of its names."""

    name: str = NAME
    level: Level = "executed"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        code = code_of(response)
        if code is None:
            return []
        used = {node.id for node in ast.walk(code.tree) if isinstance(node, ast.Name)}
        edits = {edit for statement in _imports(code) for edit in _omissions(code, statement, used)}
        return alone(edits)

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where exactly the names of one import become undefined and running into one is a NameError."""
        before, after = code_of(case.good), code_of(case.bad)
        if before is None or after is None:
            return Verification(False, "static", "the Python does not parse")
        missing = {found.name for found in undefined(after)} - {found.name for found in undefined(before)}
        if len(missing) != 1:
            return Verification(False, "static", f"{len(missing)} names become undefined, not one")
        name = missing.pop()
        if execute is None:
            return Verification(True, "static", f"'{name}' is used, and no import gives it any more; not run")
        if _stumbles(execute(program_of(case.good), case.tests), name):
            return Verification(False, self.level, f"the good answer stumbles over '{name}' as well")
        if not _stumbles(execute(program_of(case.bad), case.tests), name):
            return Verification(False, self.level, f"no test comes to the undefined name '{name}'")
        return Verification(True, self.level, f"NameError for '{name}', which no import gives any more")

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
        found = undefined(code)
        certain = [name for name in found if name.certain]
        if found and not certain:
            return Unscored(f"'{found[0].name}' may come from an import of everything")
        if not found:
            return Finding(False, "every name is imported, defined or built in")
        first = certain[0]
        return Finding(True, f"'{first.name}' is used but neither imported nor defined", first.start, first.end)


@dataclass(frozen=True, slots=True)
class Undefined:
    """A name that nothing defines, where it is used: ``answer[start:end]``. After `import *` that is not certain."""

    name: str
    certain: bool
    start: int
    end: int


def undefined(code: Code) -> list[Undefined]:
    """What pyflakes calls undefined, in order of position; after `import *`, what only that could give."""
    found = flagged(code, messages.UndefinedName, messages.ImportStarUsage)
    return sorted((_undefined(code, message) for message in found), key=lambda name: name.start)


def _undefined(code: Code, message: messages.Message) -> Undefined:
    name, start = message.message_args[0], code.at(message.lineno, message.col)
    length = len(name) if code.answer.startswith(name, start) else 0  # in a quoted annotation only the place is known
    return Undefined(name, isinstance(message, messages.UndefinedName), start, start + length)


def _stumbles(execution: Execution, name: str) -> bool:
    """Whether loading the program or one of its calls ended in a NameError for this name."""
    expected = f"name '{name}' is not defined"
    at_load = execution.status == "load-error" and execution.detail == f"NameError: {expected}"
    return at_load or any((o.raised, o.message) == ("NameError", expected) for o in execution.outcomes)


def _imports(code: Code) -> Iterator[Import]:
    """Imports that can go: a body that holds nothing else would be left empty."""
    for node in ast.walk(code.tree):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and (len(body) > 1 or isinstance(node, ast.Module)):
                yield from (item for item in body if isinstance(item, Import) and _is_plain(item))


def _is_plain(statement: Import) -> bool:
    if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
        return False
    return all(alias.name != "*" for alias in statement.names)


def _omissions(code: Code, statement: Import, used: set[str]) -> Iterator[Edit]:
    names = statement.names
    if len(names) == 1:
        place = code.whole_lines(statement)
        if place is not None and bound(names[0]) in used:
            yield edit_at(code.answer, *place, "", NAME)
        return
    for index, alias in enumerate(names):
        start, end = with_comma(code, names, index)
        if bound(alias) in used and "#" not in code.answer[start:end]:
            yield edit_at(code.answer, start, end, "", NAME)
