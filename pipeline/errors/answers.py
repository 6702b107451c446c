"""Where the Python stands in a Markdown answer, and which characters of the answer a syntax node covers.

All positions are code points of the whole answer. `ast` counts UTF-8 bytes within a line; fences may be indented; lines
end in LF, CRLF or CR: the mapping takes care of all of it, and the text itself is never changed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

DEEPEST = 100
"""Levels of the syntax tree; HumanEval's deepest reference solution has 20."""

PYTHON_TAGS = frozenset({"python", "python3", "py", "py3"})

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*(.*)")
_BREAK = re.compile(r"\r\n|\r|\n")
_CODE = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.For, ast.While, ast.If,
    ast.With, ast.Try, ast.Assign, ast.AugAssign, ast.AnnAssign,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an answer: ``answer[start:end]`` without its break, ``answer[end:next]`` the break.

    The code of the line begins at `code`, behind the indentation of an indented fence.
    """

    start: int
    end: int
    next: int
    code: int


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language tag in lower case, and the lines between its fences."""

    tag: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Code:
    """The Python of one answer: the chosen blocks, one after the other, as one program."""

    answer: str
    lines: tuple[Line, ...]
    text: str
    tree: ast.Module

    def at(self, line: int, byte: int) -> int:
        """The answer's code point at a position as `ast` gives it: line from 1, UTF-8 bytes within it."""
        place = self.lines[line - 1]
        content = self.answer[place.code : place.end]
        return place.code + (byte if content.isascii() else len(content.encode()[:byte].decode()))

    def at_token(self, line: int, column: int) -> int:
        """The answer's code point at a position as `tokenize` gives it: line from 1, code points within it."""
        return self.lines[line - 1].code + column

    def start(self, node: ast.AST) -> int:
        return self.at(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        return self.at(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def source(self, node: ast.AST) -> str:
        """The node's text as it stands in the answer."""
        return self.answer[self.start(node) : self.end(node)]

    def whole_lines(self, node: ast.stmt) -> tuple[int, int] | None:
        """The lines of a statement with their last break, or None where it shares a line with another statement."""
        first, last = self.lines[node.lineno - 1], self.lines[(node.end_lineno or node.lineno) - 1]
        before, after = self.answer[first.code : self.start(node)], self.answer[self.end(node) : last.end]
        alone = not before.strip() and (not after.strip() or after.lstrip().startswith("#"))
        return (first.start, last.next) if alone else None

    def dedented(self, lines: Sequence[Line], first: ast.stmt, outer: ast.stmt) -> str | None:
        """Lines that are indented as `first` is, moved left to where `outer` stands; None where one is not."""
        left = self.answer[self.lines[outer.lineno - 1].start : self.start(outer)]
        inner = self.answer[self.lines[first.lineno - 1].start : self.start(first)]
        moved = []
        for line in lines:
            text = self.answer[line.start : line.next]
            if text.strip() and not text.startswith(inner):
                return None
            moved.append(left + text[len(inner) :] if text.strip() else text)
        return "".join(moved)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node outside f-strings (their positions are wrong before Python 3.12) and annotations."""
        return tuple(_walk(self.tree))

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        return {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield from _walk(child)


def lines_of(text: str) -> list[Line]:
    """The lines of a text as Python and Markdown count them: LF, CRLF and CR end a line, nothing else does."""
    lines, start = [], 0
    for found in _BREAK.finditer(text):
        lines.append(Line(start, found.start(), found.end(), start))
        start = found.end()
    if start < len(text):
        lines.append(Line(start, len(text), len(text), start))
    return lines


def blocks(answer: str) -> list[Block]:
    """The fenced blocks of an answer, by CommonMark's rules; a fence that nothing closes reaches to the end."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    inside: list[Line] = []
    for line in lines_of(answer):
        fence = _FENCE.fullmatch(answer[line.start : line.end])
        if opened is None:
            opened, inside = (fence if fence and _opens(fence) else None), []
        elif fence and _closes(fence, opened):
            found.append(_block(opened, inside))
            opened = None
        else:
            inside.append(_dedented(line, answer, len(opened[1])))
    return [*found, _block(opened, inside)] if opened else found


def _opens(fence: re.Match[str]) -> bool:
    return not (fence[2][0] == "`" and "`" in fence[3])


def _closes(fence: re.Match[str], opened: re.Match[str]) -> bool:
    deeper = len(fence[1].expandtabs()) - len(opened[1].expandtabs())
    return fence[2].startswith(opened[2]) and not fence[3].strip() and deeper <= 3


def _block(opened: re.Match[str], lines: list[Line]) -> Block:
    words = re.split(r"[\s,{}.:]+", opened[3].strip(" {.").lower())
    return Block(words[0], tuple(lines))


def _dedented(line: Line, answer: str, indent: int) -> Line:
    content = answer[line.start : line.end]
    removed = min(indent, len(content) - len(content.lstrip(" \t")))
    return Line(line.start, line.end, line.next, line.start + removed)


@lru_cache(maxsize=64)
def code_of(answer: str) -> Code | None:
    """The answer's Python as one program, or None where no block parses.

    Chosen are blocks tagged as Python, and untagged ones that hold more than expressions: printed values parse, too.
    Console transcripts (`>>>`) do not parse. Where the blocks make no program together, the longest stands for all.
    """
    parsed = [
        (block, code) for block in blocks(answer) if (code := _parsed(answer, block.lines)) and _is_code(block, code)
    ]
    if len(parsed) < 2:
        return parsed[0][1] if parsed else None
    together = _parsed(answer, tuple(line for block, _ in parsed for line in block.lines))
    if together is not None and compiles(together):
        return together
    return max((code for _, code in parsed), key=lambda code: len(code.text))


def compiles(code: Code) -> bool:
    """A `from __future__ import` in the second block parses, and still spoils the whole."""
    try:
        compile(code.tree, "answer.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _is_code(block: Block, code: Code) -> bool:
    if block.tag in PYTHON_TAGS:
        return bool(code.tree.body)
    return not block.tag and any(isinstance(statement, _CODE) for statement in code.tree.body)


def _parsed(answer: str, lines: tuple[Line, ...]) -> Code | None:
    text = "".join(answer[line.code : line.end] + "\n" for line in lines)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return None if _is_deep(tree) else Code(answer, lines, text, tree)


def _is_deep(tree: ast.AST) -> bool:
    """Whether a model ran away into nesting that no program has and every recursive function would trip over."""
    level: list[ast.AST] = [tree]
    for _ in range(DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


def program_of(answer: str) -> str:
    """What to run for an answer: its Python, or else, for the error it gives, its first block tagged as Python."""
    code = code_of(answer)
    if code is not None:
        return code.text
    tagged = (block for block in blocks(answer) if block.tag in PYTHON_TAGS)
    return next(("".join(answer[line.code : line.end] + "\n" for line in block.lines) for block in tagged), "")


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function in the tree, in order of position."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def integer(node: ast.AST | None) -> int | None:
    """The value of an integer literal, negative ones included."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = integer(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None


def has_long_string(*nodes: ast.AST) -> bool:
    """Whether a string in them spans lines, whose indentation belongs to its value."""
    strings = (part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Constant | ast.JoinedStr))
    return any(part.lineno != part.end_lineno for part in strings)
