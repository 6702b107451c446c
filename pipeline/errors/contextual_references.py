"""Incorrect contextual references: code uses another variable than it should, or prose names what is not there.

A name that nothing has is recognised in the answer alone; a variable in another's place relative to a good answer: the
same tree but for one name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence

from pipeline.errors.answers import Code, code_of, functions
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, alone
from pipeline.errors.compiling import sound_code
from pipeline.errors.executions import shown
from pipeline.errors.omitted_imports import Undefined, undefined
from pipeline.errors.references import (
    KNOWN,
    defined,
    is_alike,
    mentions,
    missing_names,
    swaps,
    unresolved,
    words,
)
from pipeline.errors.trees import first_of
from pipeline.records import FunctionTest
from pipeline.spans import Edit, edit_at

NAME = "incorrect-contextual-references"

IMPORTED_FROM = ("bisect", "collections", "functools", "heapq", "itertools", "math", "operator", "re", "typing")
"""Modules whose names answers use; where one of them is undefined an import is missing, and no name is wrong."""

_IMPORTABLE = sys.stdlib_module_names.union(*(dir(importlib.import_module(name)) for name in IMPORTED_FROM))


class ContextualReferences:
    """Puts one variable in another's place, or lets the prose name a thing that is not there."""

    name: str = NAME
    level: Level = "executed"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        code = code_of(response)
        if code is None:
            return []
        swapped = (edit_at(response, code.start(use), code.end(use), other, NAME) for use, other in swaps(code))
        edits = {*swapped, *_misnamed(response, code, prompt)}
        return alone(edits)

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where results differ; in prose, where a quoted name resolves no more and the code is equal."""
        good, bad = code_of(case.good), code_of(case.bad)
        if good is not None and bad is not None and good.text == bad.text:
            return _in_prose(case, good, bad)
        return shown(case, execute)

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
        for missing in unresolved(response, code, prompt):
            return Finding(True, f"`{missing.name}` is nowhere in the code", missing.start, missing.end)
        for name in _unknown(code):
            return Finding(True, f"nothing gives `{name.name}` a value", name.start, name.end)
        return first_of("reference", response, reference, "every name is there, and is the good answer's")


def _in_prose(case: Case, good: Code, bad: Code) -> Verification:
    known = {mention.name for mention in unresolved(case.good, good, case.prompt)}
    lost = [mention.name for mention in unresolved(case.bad, bad, case.prompt) if mention.name not in known]
    if len(lost) != 1:
        return Verification(False, "static", f"{len(lost)} quoted names are not in the code, not one")
    return Verification(True, "static", f"`{lost[0]}` is nowhere in the code, which is the same")


def _misnamed(response: str, code: Code, prompt: str) -> Iterator[Edit]:
    """Quoted names of the code, as others that read alike."""
    found = mentions(response)
    if not found:
        return
    own, taken = defined(code), words(response, prompt) | KNOWN
    called = {function.name for function in functions(code.tree)}
    for mention in found:
        if mention.name in own:
            for other in missing_names(mention.name, mention.name in called, taken):
                yield edit_at(response, mention.start, mention.end, other, NAME)


def _unknown(code: Code) -> list[Undefined]:
    """Names in the code that nothing defines and that are almost one of its own: no import is missing there."""
    own = defined(code)
    found = (name for name in undefined(code) if name.certain and name.name not in _IMPORTABLE)
    return [name for name in found if is_alike(name.name, own)]
