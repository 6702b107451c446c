"""Text of strangers on a terminal: nothing in it moves the cursor, changes colours, or hides."""

from __future__ import annotations

from rich.text import Text

KEPT = "\n\t"


def visible(text: str) -> str:
    """`text` with every character that is not printed as itself spelled out, but for line feeds and tabs.

    That is control characters (terminal escapes, carriage returns, bells), bidirectional overrides, zero-width
    characters, lone surrogates and white space that looks like a blank and is none.
    """
    return "".join(char if char.isprintable() or char in KEPT else _spelled(char) for char in text)


def shown(text: str, style: str = "") -> Text:
    """`text` for a Rich console, where square brackets are text and nothing is markup."""
    return Text(visible(text), style=style)


def _spelled(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
