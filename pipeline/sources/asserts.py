"""Turns the asserts of a program that checks a function into tests, of which the sandbox never sees the expected side.

    for x in range(2, 8):
        assert candidate(x, x + 1) == str(x)

The checks are run in the sandbox with the reference solution in the answer's place, and note at each assert what the
parts that do not call the candidate are: here six times x, x + 1 and str(x). What is left of the asserted side is the
call to make: `f(2, 3)`, which is expected to give `"2"`. So loops, helpers and numbers drawn at random become calls.
Where one assert cannot be told like this, none is: an answer could pass the others and fail all of them together.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors.compiling import compile_failure, described
from pipeline.errors.shapes import is_json
from pipeline.failures import UserError
from pipeline.records import FunctionTest
from pipeline.sandbox import values
from pipeline.sandbox.run import Limits, execute, passed
from pipeline.sources.assert_forms import GAP, KEEP, KEPT, NOTE, Cannot, Opener, Site, replaced

LIMITS = Limits(cpu_seconds=10, wall_seconds=60.0, output_bytes=8 * 2**20)
"""For a reference solution and its checks, which are run once."""
MOST = 2_000
"""Asserts that the checks of one row may come by."""
SHOWN = 120
"""Characters of an assert in a reason."""

RECORDER = f"""
import copy as kintsugi_copies

kintsugi_notes = []
{KEEP} = kintsugi_copies.deepcopy

def {NOTE}(site, *pieces):
    if len(kintsugi_notes) == {MOST}:
        raise RuntimeError("more than {MOST} asserts")
    kintsugi_notes.append([site, [repr(piece) for piece in pieces]])

def kintsugi_record(function):
    kintsugi_check(globals()[function])
    return kintsugi_notes
"""


@dataclass(frozen=True)
class Checks:
    """Statements with asserts about `candidate`. `before` are those of their module, which are run first.

    `setup` is a program that is run beside the answer before every call: it makes objects of the answer's classes.
    """

    candidate: str
    statements: Sequence[ast.stmt]
    before: Sequence[ast.stmt] = ()
    setup: str = ""


@dataclass(frozen=True)
class Piece:
    """What a piece was. Its value is known where it is a Python literal."""

    value: Any = None
    known: bool = True

    @classmethod
    def of(cls, text: str) -> Piece:
        try:
            return cls(ast.literal_eval(text))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return cls(known=False)


Note = tuple[int, list[Piece]]
"""Which assert was met, and what its pieces were."""


def as_tests(checks: Checks, function: str, reference: str) -> tuple[FunctionTest, ...]:
    """The asserts as tests of `function`, each once; one test that says why where some cannot be told.

    `reference` is a whole program with a right solution. Raises an environment error where it has to be run and code
    cannot be isolated here.
    """
    try:
        program = [*ast.parse(reference).body, *ast.parse(checks.setup).body]
        opener = Opener(checks.candidate, function, program, [*checks.before, *checks.statements])
        rewriter = _Rewriter(opener)
        body = rewriter.rewritten(checks.statements)
        notes = _read(body, rewriter, checks.setup) if rewriter.sites else []
        is_read = notes is not None
        if notes is None:
            notes = list(_recorded(checks, body, function, reference))
        told = [_test(opener, rewriter.sites[site], pieces, function, checks.setup) for site, pieces in notes]
        found = tuple(dict.fromkeys(told))
        if not is_read and not passed(execute(reference, found, LIMITS), found):
            raise Cannot("the reference solution does not pass them as such")
        return found
    except UserError:  # it is a ValueError, too
        raise
    except (Cannot, SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        return (values.unscored(function, f"the checks cannot be told as calls: {error}"),)


class _Rewriter:
    """Statements that note what asserts hold against the candidate, in place of the asserts."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.sites: list[Site] = []
        self.notes: list[ast.stmt] = []
        self.kept = 0

    def rewritten(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        return [made for statement in statements for made in self._statement(statement)]

    def _statement(self, statement: ast.stmt) -> list[ast.stmt]:
        if isinstance(statement, ast.Assert):
            return self._assert(statement)
        if isinstance(statement, ast.For | ast.While | ast.If | ast.With):
            return [self._compound(statement)]
        if isinstance(statement, ast.Assign) and self.opener.involves(statement.value):
            return self._result(statement)
        stored = _stored([statement])
        if self.opener.involves(statement) and not (isinstance(statement, ast.Assign) and stored):
            raise Cannot(f"{_shown(statement)}: the function is used outside an assert")
        for name in stored:
            self.opener.results.pop(name, None)
        return [statement]

    def _assert(self, statement: ast.Assert) -> list[ast.stmt]:
        try:
            sites = self.opener.sites(statement.test)
        except Cannot as error:
            raise Cannot(f"{_shown(statement)}: {error}") from None
        if not sites:
            return [] if isinstance(statement.test, ast.Constant) and statement.test.value else [statement]
        made: list[ast.stmt] = []
        for site in sites:
            number = ast.Constant(len(self.sites))
            made.append(ast.Expr(ast.Call(ast.Name(NOTE, ast.Load()), [number, *site.pieces], [])))
            self.sites.append(site)
        self.notes += made
        return made

    def _compound(self, statement: ast.For | ast.While | ast.If | ast.With) -> ast.stmt:
        """A name that holds a result within may hold another before or behind it: there it is none of ours."""
        bodies = {name: getattr(statement, name, []) for name in ("body", "orelse")}
        inner = [part for body in bodies.values() for part in body]
        heads = [node for node in ast.iter_child_nodes(statement) if node not in inner]
        if self.opener.involves(*heads):
            raise Cannot(f"{_shown(statement)}: the function is used outside an assert")
        stored = _stored(inner)
        for name in stored & self.opener.results.keys():
            self.opener.results[name] = None
        made = {name: self.rewritten(body) for name, body in bodies.items()}
        for name in stored & self.opener.results.keys():
            self.opener.results[name] = None
        return type(statement)(**{**dict(ast.iter_fields(statement)), **{k: v for k, v in made.items() if v}})

    def _result(self, statement: ast.Assign) -> list[ast.stmt]:
        """`name = candidate(...)`: the pieces of the call are kept under names of their own."""
        [target, *others] = statement.targets
        if others or not isinstance(target, ast.Name):
            raise Cannot(f"{_shown(statement)}: the function's result gets no single name")
        pieces: list[ast.expr] = []
        opened = self.opener.opened(statement.value, pieces)
        names = [f"{KEPT}{self.kept + number}" for number in range(len(pieces))]
        self.kept += len(names)
        kept = {f"{GAP}{number}": ast.Name(name, ast.Load()) for number, name in enumerate(names)}
        self.opener.results[target.id] = replaced(opened, {**kept})
        keep = ast.Name(KEEP, ast.Load())
        made: list[ast.stmt] = [
            ast.Assign([ast.Name(name, ast.Store())], ast.Call(keep, [piece], []))
            for name, piece in zip(names, pieces, strict=True)
        ]
        return [*made, statement]


def _read(body: Sequence[ast.stmt], rewriter: _Rewriter, setup: str) -> list[Note] | None:
    """The notes where nothing has to be run for them: asserts alone, and literals in them."""
    if list(body) != rewriter.notes or setup:
        return None
    read = [[Piece.of(ast.unparse(piece)) for piece in site.pieces] for site in rewriter.sites]
    return list(enumerate(read)) if all(piece.known for pieces in read for piece in pieces) else None


def _recorded(checks: Checks, body: list[ast.stmt], function: str, reference: str) -> Iterator[Note]:
    """The notes of a run in the sandbox."""
    arguments = ast.arguments([], [ast.arg(checks.candidate)], None, [], [], None, [])
    check = ast.FunctionDef("kintsugi_check", arguments, body or [ast.Pass()], [])
    module = ast.fix_missing_locations(ast.Module([*checks.before, check], []))
    program = f"{reference}\n{RECORDER}\n{checks.setup}\n{ast.unparse(module)}\n"
    if error := compile_failure(program):
        raise Cannot(f"they do not compile: {described(error)}")
    seen = execute(program, [FunctionTest.of("kintsugi_record", function)], LIMITS)
    if seen.status != "completed" or seen.outcomes[0].value is None:
        why = seen.detail or "; ".join(f"{outcome.raised}: {outcome.message}" for outcome in seen.outcomes)
        raise Cannot(f"the reference solution does not come through them ({seen.status}, {why})")
    for site, pieces in json.loads(seen.outcomes[0].value):
        yield int(site), [Piece.of(str(piece)) for piece in pieces]


def _test(opener: Opener, site: Site, pieces: Sequence[Piece], function: str, setup: str) -> FunctionTest:
    """One assert as it was met once: what JSON can hold is given as arguments, other values stand in the call."""
    names: list[str] = []
    given: list[Any] = []
    fillings: dict[int, ast.expr] = {}
    count = site.pieces_of_call
    for number, (piece, source) in enumerate(zip(pieces[:count], site.pieces[:count], strict=True)):
        if piece.known and is_json([piece.value]):
            names.append(f"given_{len(names)}")
            given.append(piece.value)
            fillings[number] = ast.Name(names[-1], ast.Load())
        else:
            literal = ast.parse(repr(piece.value), mode="eval").body
            fillings[number] = literal if piece.known else opener.free(source)
    for piece, source in zip(pieces[count:], site.pieces[count:], strict=True):
        if not piece.known:
            raise Cannot(f"the value of {_shown(source)!r} is no Python literal")
    call, parameters = site.call(function, fillings), ", ".join(names)
    if setup:
        call = f"(exec({setup!r}, globals()), {call})[1]"
    called = function if call == f"{function}({parameters})" else f"{f'lambda {parameters}'.strip()}: {call}"
    return FunctionTest.of(called, *given, expected=site.expected([piece.value for piece in pieces[count:]]))


def _stored(nodes: Sequence[ast.AST]) -> set[str]:
    """The names that are given a value in them, or deleted."""
    names = (part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name))
    return {name.id for name in names if not isinstance(name.ctx, ast.Load)}


def _shown(node: ast.AST) -> str:
    line = " ".join(ast.unparse(node).split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."
