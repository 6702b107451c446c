"""What the parameters of a function take: from annotations, defaults, use, and names, in this order."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pipeline.errors.shapes import ANY, BOOL, FLOAT, INT, STR, Shape, dict_of, list_of, shape_of

MOST_DEPTH = 3
"""Levels of nesting looked at: lists of lists of numbers."""

ANNOTATED = {"int": INT, "float": FLOAT, "str": STR, "bool": BOOL}
LISTS = frozenset({"list", "List", "Sequence", "Iterable", "Collection", "Iterator"})
DICTS = frozenset({"dict", "Dict", "Mapping", "MutableMapping", "Counter", "DefaultDict", "defaultdict"})
OPTIONAL = frozenset({"Optional", "Union"})

STR_METHODS = frozenset(dir(str)) - frozenset(dir(list)) - frozenset(dir(dict)) | {"lower", "split"}
LIST_METHODS = frozenset({"append", "extend", "insert", "sort", "reverse", "remove"})
DICT_METHODS = frozenset({"items", "keys", "values", "get", "setdefault"})
SEQUENCE_CALLS = frozenset({"len", "enumerate", "reversed", "zip", "list", "tuple", "set", "iter", "Counter"})
NUMBER_CALLS = frozenset({"sum", "max", "min", "sorted"})
INT_CALLS = frozenset({"range", "bin", "chr", "hex"})

NAMED: tuple[tuple[str, Shape], ...] = (
    (r"matrix|grid|board|table|lists|rows|intervals|pairs|edges", list_of(list_of(INT))),
    (r"words|strings|strs|names|sentences|texts|lines|tokens", list_of(STR)),
    (r"nums|numbers|arr|array|lst|list\d?|values|items|xs|ys|data|elements|scores|l\d?|seq(uence)?", list_of(INT)),
    (r".*(dict|map|mapping|counts|lookup)|d", dict_of(INT)),
    (r"s\d?|.*(text|string|str|word|sentence|name|char|pattern|message|password|substring)|c|line|email", STR),
    (r"is_.*|has_.*|flag|reverse|ascending", BOOL),
    (r"price|rate|amount|temperature|radius|height|width", FLOAT),
    (r"[a-km-rt-z]|[nkmxy]\d|num|number|count|limit|size|index|target|year|threshold|start|end|step|age|length", INT),
    (r".*_(size|count|index|length)", INT),
)  # fmt: skip
"""Parameter names as they are usually meant."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def parameters(function: Function) -> list[Shape]:
    """The shape of each positional parameter, in order; of those with a default, too."""
    arguments = [*function.args.posonlyargs, *function.args.args]
    defaults: list[ast.expr | None] = [None] * (len(arguments) - len(function.args.defaults))
    return [_parameter(function, *pair) for pair in zip(arguments, [*defaults, *function.args.defaults], strict=True)]


def required(function: Function) -> int:
    """How many arguments a call needs."""
    return len(function.args.posonlyargs) + len(function.args.args) - len(function.args.defaults)


def _parameter(function: Function, argument: ast.arg, default: ast.expr | None) -> Shape:
    annotated = from_annotation(argument.annotation)
    if annotated is not None and annotated not in (list_of(ANY), dict_of(ANY), ANY):
        return annotated
    found = _from_default(default) or from_use(function, argument.arg)
    if annotated is not None and (found is None or found.kind != annotated.kind):
        named = from_name(argument.arg)
        found = named if named is not None and named.kind == annotated.kind else annotated
    return _certain(found or from_name(argument.arg) or ANY)


def _certain(shape: Shape) -> Shape:
    """Elements of which nothing is known are numbers."""
    if shape.inner is None:
        return shape
    return Shape(shape.kind, INT if shape.inner == ANY else _certain(shape.inner))


def from_annotation(node: ast.expr | None) -> Shape | None:
    """`list[int]`, `Optional[str]`, `int | None`; None where it says nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return from_annotation(ast.parse(node.value, mode="eval").body)
        except (SyntaxError, ValueError):
            return None
    if isinstance(node, ast.BinOp):
        return from_annotation(node.left) or from_annotation(node.right)
    name = _name(node.value if isinstance(node, ast.Subscript) else node)
    inner = _elements(node.slice) if isinstance(node, ast.Subscript) else []
    if name in OPTIONAL:
        return next((shape for item in inner if (shape := from_annotation(item)) is not None), None)
    if name in LISTS:
        return list_of((from_annotation(inner[0]) if inner else None) or ANY)
    if name in DICTS:
        return dict_of((from_annotation(inner[-1]) if inner else None) or ANY)
    return ANNOTATED.get(name)


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _name(node: ast.AST | None) -> str:
    return str(getattr(node, "id", getattr(node, "attr", "")))


def _from_default(default: ast.expr | None) -> Shape | None:
    try:
        value = ast.literal_eval(default) if default is not None else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    shape = shape_of(value)
    return None if shape == ANY else shape


def from_name(name: str) -> Shape | None:
    return next((shape for pattern, shape in NAMED if re.fullmatch(pattern, name.lower())), None)


def from_use(scope: ast.AST, name: str, depth: int = MOST_DEPTH) -> Shape | None:
    """What is done with a variable tells what it is; the most telling use counts."""
    found = [shape for node in ast.walk(scope) for shape in _uses(scope, node, name, depth)]
    telling = [shape for shape in found if shape.inner != ANY] or found
    order = ("dict", "str", "list", "float", "int", "bool", "any")
    return min(telling, key=lambda shape: order.index(shape.kind), default=None)


def _uses(scope: ast.AST, node: ast.AST, name: str, depth: int) -> Iterator[Shape]:
    if isinstance(node, ast.Attribute) and _is(node.value, name):
        yield from _of_method(node.attr)
    elif isinstance(node, ast.Call) and any(_is(argument, name) for argument in node.args):
        yield from _of_call(_name(node.func), node, name)
    elif isinstance(node, ast.For | ast.comprehension) and _is(node.iter, name):
        yield list_of(_element(scope, node.target, depth))
    elif isinstance(node, ast.Subscript) and _is(node.value, name):
        yield from _of_index(node)
    elif isinstance(node, ast.BinOp):
        yield from _of_arithmetic(node, name)
    elif isinstance(node, ast.Compare):
        yield from _of_comparison(node, name)


def _is(node: ast.AST | None, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _element(scope: ast.AST, target: ast.expr, depth: int) -> Shape:
    if isinstance(target, ast.Tuple):
        return list_of(INT)
    if depth == 0 or not isinstance(target, ast.Name):
        return ANY
    return from_use(scope, target.id, depth - 1) or from_name(target.id) or ANY


def _of_method(method: str) -> Iterator[Shape]:
    if method in DICT_METHODS:
        yield dict_of(ANY)
    elif method in LIST_METHODS:
        yield list_of(ANY)
    elif method in STR_METHODS:
        yield STR


def _of_call(called: str, node: ast.Call, name: str) -> Iterator[Shape]:
    if called in INT_CALLS:
        yield INT
    elif called == "isinstance" and _is(node.args[0], name) and len(node.args) == 2:
        yield from (shape for item in _elements(node.args[1]) if (shape := from_annotation(item)) is not None)
    elif called in NUMBER_CALLS and len(node.args) == 1:
        yield list_of(INT)
    elif called in SEQUENCE_CALLS:
        yield list_of(ANY)
    elif called == "ord":
        yield STR


def _of_index(node: ast.Subscript) -> Iterator[Shape]:
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        yield dict_of(ANY)
    else:
        yield list_of(ANY)


def _of_arithmetic(node: ast.BinOp, name: str) -> Iterator[Shape]:
    if not (_is(node.left, name) or _is(node.right, name)):
        return
    other = node.right if _is(node.left, name) else node.left
    if isinstance(other, ast.Constant) and isinstance(other.value, str):
        yield STR
    elif isinstance(other, ast.List | ast.ListComp):
        yield list_of(ANY)
    elif isinstance(other, ast.Constant) or not isinstance(node.op, ast.Add | ast.Mult | ast.Mod):
        yield INT


def _of_comparison(node: ast.Compare, name: str) -> Iterator[Shape]:
    sides = [node.left, *node.comparators]
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        if _is(sides[1], name):
            yield STR if isinstance(sides[0], ast.Constant) and isinstance(sides[0].value, str) else list_of(ANY)
        elif _is(sides[0], name) and isinstance(sides[1], ast.Constant) and isinstance(sides[1].value, str):
            yield STR
    elif any(_is(side, name) for side in sides):
        constants = [side.value for side in sides if isinstance(side, ast.Constant)]
        yield from (shape for value in constants if (shape := shape_of(value)) != ANY)
