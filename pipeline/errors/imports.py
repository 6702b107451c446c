"""What the two import types share: import statements, the names they bind, and what pyflakes has to say."""

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
