"""What names refer to: variables of one function that could be taken for each other, and names in prose.

Shared by the contextual-references type's two halves: what is swapped or renamed, and what is not there.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from pipeline.errors.answers import Code, blocks, functions, lines_of
from pipeline.errors.loops import steps, while_loops
from pipeline.errors.recursion import within
from pipeline.errors.shapes import Kind, shape_of
from pipeline.errors.signatures import Function, from_annotation, from_name, from_use

ALIKE = 0.75
"""How alike (difflib's ratio) a plain word is to a name of the code when it must mean that name: `totl` and `total`."""

SWAPS = 2
"""Other variables that one use is swapped for: the nearest ones."""

INLINE = re.compile(r"(?<!`)`([A-Za-z_]\w*)(\([^`\n]*\))?`(?!`)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_METHODS = {name for kind in (str, list, dict, set, tuple, int, float, bytes, frozenset) for name in dir(kind)}
KNOWN = frozenset({*dir(builtins), *keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names, *_METHODS, "self"})
"""Names that need no code to be there."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of a function: the kind of value it holds, and the first place that gives it one."""

    name: str
    kind: Kind
    line: int
    owner: ast.AST
    """The node inside which it is bound for certain after that line."""


def swaps(code: Code) -> Iterator[tuple[ast.Name, str]]:
    """Uses of variables, each with another variable of the same kind that has a value there."""
    for function in functions(code.tree):
        variables = _variables(code, function)
        kinds = {variable.name: variable.kind for variable in variables}
        barred = _barred(function)
        uses = (node for node in within(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
        for use in uses:
            if use.id in kinds and use not in barred and use in code.parents:  # not inside an f-string
                yield from ((use, other) for other in _others(code, use, kinds[use.id], variables))


def _barred(function: Function) -> set[ast.AST]:
    """What is called, and what brings a loop to its end: with another variable there it is another error."""
    called = {node.func for node in ast.walk(function) if isinstance(node, ast.Call)}
    loops = while_loops(function)
    endings = [part for loop in loops for part in (loop.test, *steps(loop))]
    return {*called, *(node for part in endings for node in ast.walk(part))}


def _others(code: Code, use: ast.Name, kind: Kind, variables: list[Variable]) -> list[str]:
    around = set(_ancestors(code, use))
    fitting = [
        item
        for item in variables
        if item.name != use.id and item.kind == kind and item.line < use.lineno and item.owner in around
    ]
    return [item.name for item in sorted(fitting, key=lambda item: (use.lineno - item.line, item.name))[:SWAPS]]


def _ancestors(code: Code, node: ast.AST) -> Iterator[ast.AST]:
    while (parent := code.parents.get(node)) is not None:
        yield parent
        node = parent


def _variables(code: Code, function: Function) -> list[Variable]:
    """Parameters and variables of known kind; not those of comprehensions, which end with them."""
    inside = list(within(function))
    short = {part.id for node in inside if isinstance(node, ast.comprehension) for part in _names(node.target)}
    found: dict[str, Variable] = {}
    for argument in (*function.args.posonlyargs, *function.args.args):
        shape = from_annotation(argument.annotation) or from_use(function, argument.arg) or from_name(argument.arg)
        if shape is not None:
            found[argument.arg] = Variable(argument.arg, _number(shape.kind), function.lineno, function)
    for node in sorted((node for node in inside if isinstance(node, ast.stmt)), key=lambda node: node.lineno):
        for name, kind in _bound(function, node):
            owner = node if isinstance(node, ast.For) else code.parents.get(node, function)
            found.setdefault(name, Variable(name, kind, node.lineno, owner))
    return [item for item in found.values() if item.name not in {*short, "self", "cls", "_"} and item.kind != "any"]


def _names(target: ast.expr) -> list[ast.Name]:
    return [part for part in ast.walk(target) if isinstance(part, ast.Name)]


def _bound(function: Function, statement: ast.stmt) -> Iterator[tuple[str, Kind]]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        name = statement.targets[0].id
        yield name, _kind_of(function, name, statement.value)
    elif isinstance(statement, ast.For):
        yield from _loop_variables(function, statement)


def _loop_variables(function: Function, loop: ast.For) -> Iterator[tuple[str, Kind]]:
    source = loop.iter.func.id if isinstance(loop.iter, ast.Call) and isinstance(loop.iter.func, ast.Name) else ""
    if isinstance(loop.target, ast.Name):
        yield loop.target.id, "int" if source == "range" else _kind_of(function, loop.target.id, None)
    elif isinstance(loop.target, ast.Tuple):
        for index, part in enumerate(loop.target.elts):
            if isinstance(part, ast.Name):
                yield part.id, "int" if source == "enumerate" and index == 0 else _kind_of(function, part.id, None)


def _kind_of(function: Function, name: str, value: ast.expr | None) -> Kind:
    """What a variable holds, by what it is given or by what is done with it."""
    if isinstance(value, ast.List | ast.ListComp):
        return "list"
    if isinstance(value, ast.Dict | ast.DictComp):
        return "dict"
    if (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id in ("len", "int", "sum", "abs")
    ):
        return "int"
    if isinstance(value, ast.Constant):
        return _number(shape_of(value.value).kind)
    shape = from_use(function, name)
    return _number(shape.kind) if shape is not None else "any"


def _number(kind: Kind) -> Kind:
    return "int" if kind == "float" else kind


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in backticks in the prose, at ``answer[start:end]``; `is_call` where parentheses follow."""

    name: str
    start: int
    end: int
    is_call: bool


def mentions(answer: str) -> list[Mention]:
    """The names that the prose quotes, outside fenced blocks."""
    inside = {line.start for block in blocks(answer) for line in block.lines}
    found = []
    for line in lines_of(answer):
        if line.start not in inside:
            for match in INLINE.finditer(answer, line.start, line.end):
                found.append(Mention(match[1], match.start(1), match.end(1), match[2] is not None))
    return found


def defined(code: Code) -> set[str]:
    """The functions, classes, parameters and variables of a program."""
    found: set[str] = set()
    for node in ast.walk(code.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def words(answer: str, prompt: str | None) -> set[str]:
    """Every word of the answer's blocks and of the prompt: what a quoted name may well refer to."""
    code = (answer[line.code : line.end] for block in blocks(answer) for line in block.lines)
    return {word for text in (*code, prompt or "") for word in _WORD.findall(text)}


def unresolved(answer: str, code: Code, prompt: str | None) -> list[Mention]:
    """Quoted names that neither code nor prompt nor Python has, and that can only mean something of the code."""
    there, own = words(answer, prompt) | KNOWN, defined(code)
    return [mention for mention in mentions(answer) if mention.name not in there and _means_code(mention, own)]


def _means_code(mention: Mention, own: set[str]) -> bool:
    """A call, a name of several words, or one that is almost a name of the code. `O(n)` is none of them."""
    called = mention.is_call and len(mention.name) > 1
    compound = "_" in mention.name.strip("_")
    return called or (compound and _shares_a_word(mention.name, own)) or is_alike(mention.name, own)


def _shares_a_word(name: str, own: set[str]) -> bool:
    known = {part for other in own for part in other.split("_")}
    return any(part in known for part in name.split("_") if part)


def is_alike(name: str, own: set[str]) -> bool:
    return any(SequenceMatcher(None, name, other).ratio() >= ALIKE for other in own if len(other) > 2)


def missing_names(name: str, is_function: bool, taken: set[str]) -> list[str]:
    """Names that read like this one and are not there."""
    parts = name.strip("_").split("_")
    turned = ["_".join([*parts[1:], parts[0]])] if len(parts) > 1 else []
    added = [f"get_{name}", f"{name}_helper"] if is_function else [f"{name}_list", f"new_{name}"]
    return [made for made in (*turned, *added) if made not in taken][:2]
