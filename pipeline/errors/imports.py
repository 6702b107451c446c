"""What types share that deal with imports: statements, the names they bind, and what pyflakes has to say."""

from __future__ import annotations

import ast
from typing import Any

from pyflakes import checker, messages

from pipeline.errors.answers import Code

Import = ast.Import | ast.ImportFrom


def flagged(code: Code, *kinds: type[messages.Message]) -> list[Any]:
    """The messages of these kinds that pyflakes has for a program."""
    tree = ast.parse(code.text)  # pyflakes writes into the tree
    return [message for message in checker.Checker(tree).messages if isinstance(message, kinds)]


def bound(alias: ast.alias) -> str:
    """The name that an import gives."""
    return alias.asname or alias.name.partition(".")[0]


def with_comma(code: Code, names: list[ast.alias], index: int) -> tuple[int, int]:
    """One name of an import, with the comma and space that go with it."""
    if index + 1 < len(names):
        return code.start(names[index]), code.start(names[index + 1])
    return code.end(names[index - 1]), code.end(names[index])


def import_of(code: Code, name: str) -> tuple[Import, int] | None:
    """The import statement that gives a name, and which of its names that is."""
    for node in ast.walk(code.tree):
        if isinstance(node, Import):
            for index, alias in enumerate(node.names):
                if bound(alias) == name:
                    return node, index
    return None


def without_name(code: Code, statement: Import, index: int) -> tuple[int, int] | None:
    """What to cut so that an import gives one name less; None where it shares its line or a comment stands there."""
    if len(statement.names) == 1:
        return code.whole_lines(statement)
    start, end = with_comma(code, statement.names, index)
    return None if "#" in code.answer[start:end] else (start, end)
