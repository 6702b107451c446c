"""Facts about code that its syntax tree can tell, and statements in words that contradict them.

Few on purpose: each check is silent where it is not sure.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors.answers import Code, functions, integer
from pipeline.errors.base import Finding
from pipeline.errors.notes import Note
from pipeline.errors.prose import Prose

Function = ast.FunctionDef | ast.AsyncFunctionDef

LINEAR = r"O\([a-z]\)|linear time"
CONSTANT = r"O\(1\)|constant time"
_CLAIMS = re.compile(
    rf"(?P<n>{LINEAR})|(?P<one>{CONSTANT})|(?P<other>O\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)|quadratic time"
    r"|logarithmic time|exponential time)",
)
_SPACE = re.compile(r"\W{0,4}(?:additional|extra|auxiliary)? ?(?:space|memory)")
_OF_THE_WHOLE = re.compile(
    r"(?:it|this|overall|the (?:function|algorithm|solution|code|whole|time complexity|running time|run time))\b",
    re.IGNORECASE,
)
_OF_A_PART = re.compile(
    r"\b(?:each|every|per|look-?ups?|append\w*|access\w*|operations?|insert\w*|step|worst|best|average|space|naive"
    r"|instead|than|compared|if|sort\w*|member\w*|amorti[sz]ed)\b",
    re.IGNORECASE,
)
_CHEAP = frozenset(
    {"abs", "append", "bool", "chr", "enumerate", "float", "get", "int", "isalpha", "isdigit", "isinstance", "len",
     "ord", "pop", "print", "range", "reversed", "round", "set", "zip", "add", "ValueError", "TypeError"}
)  # fmt: skip
"""Calls that cost no more than a constant, or than what the loop around them already does."""

_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_RETURNED = re.compile(
    r"\b(?:returns?|gives?|yields)(?: the (?:number|value|constant))? (-?\d{1,9})(?![\w.,%]*\d|\w| (?:or|to|and)\b)"
)
_EXAMPLE = re.compile(r"example|e\.g\.|\(\[|input|called with|call|print", re.IGNORECASE)
_PARAMETER = re.compile(r"(?::param (?:\w+ )?(\w+):|@param (\w+))")
_STEP = re.compile(r"\b(increment|decrement|increase|decrease)", re.IGNORECASE)
_ORDER = re.compile(r"\b(ascending|descending)\b", re.IGNORECASE)


def time_class(code: Code) -> str:
    """ "O(n)" for one function with one plain loop, "O(1)" without any; "" where the tree does not tell."""
    found = functions(code.tree)
    if len(found) != 1:
        return ""
    nodes = list(ast.walk(found[0]))
    loops = [node for node in nodes if isinstance(node, _LOOPS)]
    if not all(_is_cheap(call, found[0].name) for call in nodes if isinstance(call, ast.Call)):
        return ""
    if not loops:
        sliced = any(isinstance(node, ast.Slice | ast.In | ast.NotIn | ast.Pow | ast.Mult) for node in nodes)
        return "" if sliced else "O(1)"
    if len(loops) > 1 or not isinstance(loops[0], ast.For) or not _is_whole(loops[0].iter, found[0]):
        return ""
    costly = (ast.Slice, ast.In, ast.NotIn, ast.Break, ast.Return)
    inside = [node for statement in loops[0].body for node in ast.walk(statement)]
    return "" if any(isinstance(node, costly) for node in inside) else "O(n)"


def _is_cheap(call: ast.Call, own: str) -> bool:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    return name in _CHEAP and name != own


def _is_whole(iterated: ast.expr, function: Function) -> bool:
    """Whether a loop goes over a parameter, or a range up to one."""
    names = {argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]}
    while isinstance(iterated, ast.Call) and iterated.args:
        iterated = iterated.args[-1 if getattr(iterated.func, "id", "") == "range" and len(iterated.args) == 2 else 0]
    if isinstance(iterated, ast.BinOp) and isinstance(iterated.op, ast.Add | ast.Sub):
        iterated = iterated.left
        while isinstance(iterated, ast.Call) and len(iterated.args) == 1:
            iterated = iterated.args[0]
    return isinstance(iterated, ast.Name) and iterated.id in names


def constants(code: Code) -> set[int]:
    """Every integer literal of the code, with its sign."""
    return {value for node in ast.walk(code.tree) if (value := integer(node)) is not None}


def names(code: Code) -> set[str]:
    """Every name that stands in the code as such."""
    return {node.id for node in ast.walk(code.tree) if isinstance(node, ast.Name)}


def contradicted_sentence(code: Code, prose: Prose) -> Finding | None:
    """The first sentence whose time complexity or returned constant the code contradicts."""
    facts = facts_of(code)
    for sentence in prose.sentences:
        if not prose.is_heading(sentence):
            found = contradicted(prose.text(sentence), facts, sentence.start)
            if found is not None:
                return found
    return None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the tree tells: its time class, its integer literals, and those that a `return` gives."""

    time: str
    numbers: frozenset[int]
    returned: frozenset[int]


def facts_of(code: Code) -> Facts:
    return Facts(time_class(code), frozenset(constants(code)), frozenset(_returned_constants(code)))


def contradicted(text: str, facts: Facts, start: int = 0) -> Finding | None:
    """Whether the facts contradict a sentence that begins at `start`; questions and announcements say nothing."""
    if text.endswith(("?", ":")):
        return None
    return _wrong_complexity(text, start, facts.time) or _wrong_constant(text, start, facts)


def _wrong_complexity(text: str, at: int, known: str) -> Finding | None:
    if not known or not _OF_THE_WHOLE.match(text) or _OF_A_PART.search(text.replace("space complexity", "")):
        return None
    for claim in _CLAIMS.finditer(text):
        agrees = claim["n"] if known == "O(n)" else claim["one"]
        if not agrees and not _SPACE.match(text, claim.end()):
            start = at + claim.start()
            why = (
                f"{claim[0]!r}, but the code is one plain loop" if known == "O(n)" else f"{claim[0]!r}, without a loop"
            )
            return Finding(True, why, start, start + len(claim[0]))
    return None


def _returned_constants(code: Code) -> Iterator[int]:
    for node in ast.walk(code.tree):
        if isinstance(node, ast.Return) and (value := integer(node.value)) is not None:
            yield value


def _wrong_constant(text: str, at: int, facts: Facts) -> Finding | None:
    """A statement that a number is returned which stands nowhere in code that does return constants."""
    claim = _RETURNED.search(text)
    if claim is None or not facts.returned or int(claim[1]) in facts.numbers or _EXAMPLE.search(text) or "(" in text:
        return None
    start = at + claim.start(1)
    return Finding(True, f"the code never returns {claim[1]}", start, start + len(claim[1]))


def contradicted_note(code: Code, notes: Sequence[Note]) -> Finding | None:
    """The first comment or docstring that contradicts the code it stands at."""
    statements = {node.lineno: node for node in ast.walk(code.tree) if isinstance(node, ast.stmt)}
    for note in notes:
        text = code.answer[note.start : note.end]
        if note.kind == "docstring":
            why = _unknown_parameter(text, note, code)
        else:
            statement = statements.get(note.line) or statements.get(note.line + 1)
            why = _wrong_comment(text, statement) if statement is not None else ""
        if why:
            return Finding(True, why, note.start, note.end)
    return None


def _unknown_parameter(text: str, note: Note, code: Code) -> str:
    found = _PARAMETER.match(text)
    if found is None:
        return ""
    around = [node for node in functions(code.tree) if node.lineno <= note.line <= (node.end_lineno or node.lineno)]
    if not around:
        return ""
    arguments = around[-1].args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    name = found[1] or found[2]
    return "" if name in {item.arg for item in every if item} else f"'{name}' is no parameter of '{around[-1].name}'"


def _wrong_comment(text: str, statement: ast.stmt) -> str:
    if isinstance(statement, ast.AugAssign) and (integer(statement.value) or 0) > 0:
        found = _STEP.match(text)
        goes_up = isinstance(statement.op, ast.Add)
        if found and isinstance(statement.op, ast.Add | ast.Sub) and (found[1].lower().startswith("inc")) != goes_up:
            return f"{found[0]!r} at `{ast.unparse(statement)}`"
    if isinstance(statement, ast.Return) and (value := integer(statement.value)) is not None:
        claim = re.match(r"return (-?\d+)\b", text, re.IGNORECASE)
        if claim and int(claim[1]) != value:
            return f"{claim[0]!r} at `return {value}`"
    order = _ORDER.search(text)
    reverse = _sorts_in_reverse(statement) if order else None
    if order and reverse is not None and (order[1].lower() == "descending") != reverse:
        return f"{order[0]!r} at `{ast.unparse(statement)[:60]}`"
    return ""


def _sorts_in_reverse(statement: ast.stmt) -> bool | None:
    """Whether the statement's one sort is told to go in reverse; None without a sort, or with a key."""
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    sorts = [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) in ("sort", "sorted")]
    if len(sorts) != 1 or "reversed" in ast.unparse(statement) or "::-1" in ast.unparse(statement):
        return None
    given = {keyword.arg: keyword.value for keyword in sorts[0].keywords}
    if "key" in given:
        return None
    reverse = given.get("reverse")
    if reverse is None:
        return False
    return reverse.value is True if isinstance(reverse, ast.Constant) else None
