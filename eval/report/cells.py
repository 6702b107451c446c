"""Figures as text, the same in Markdown, on the page and in the terminal; and Markdown tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Literal

from eval.report.results import Arm

SIGNIFICANT = 0.05
MISSING = "-"

SPECIAL = re.compile(r"[\\`*~|\[\]#$]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown would read as markup; an underscore within a word is none."""

Align = Literal["left", "right"]


def plain(text: str) -> str:
    """`text` so that Markdown and HTML show it as it is, on one line, inside a table too."""
    one_line = " ".join(text.split())
    return escape(SPECIAL.sub(lambda found: "\\" + found.group(), one_line), quote=False)


def percent(share: float | None) -> str:
    """0.784 as 78.4%."""
    return MISSING if share is None else f"{100 * share:.1f}%"


def points(share: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def p_text(p_value: float) -> str:
    """A p-value to three places."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def number(value: float | None) -> str:
    """A figure of any size, to four significant digits."""
    return MISSING if value is None else f"{value:.4g}"


def interval(ends: Sequence[float] | None) -> str:
    """The interval of a share."""
    return MISSING if ends is None else f"{percent(ends[0])} to {percent(ends[1])}"


def interval_name(arms: Sequence[Arm]) -> str:
    """Which interval pass rates have."""
    several = any(arm["samples"] > 1 for arm in arms)
    return "bootstrap interval over prompts" if several else "Wilson interval"


def compiling(arm: Arm) -> str:
    """Answers whose code compiles, where that was looked at."""
    return MISSING if arm["compiles"] is None else f"{arm['compiles']} of {arm['answers']}"


def damage(arm: Arm) -> str:
    """Prompts that were right before and are wrong after, with their share and its interval."""
    found = arm["collateral"]
    if found is None or found["rate"] is None:
        return MISSING
    return f"{found['broken']} of {found['right']} ({interval(found['ci'])})"


def filled(
    columns: Sequence[tuple[str, Align]], rows: Sequence[Sequence[str]]
) -> tuple[list[tuple[str, Align]], list[list[str]]]:
    """The same without the columns in which no row has a figure."""
    kept = [place for place in range(len(columns)) if any(row[place] != MISSING for row in rows)]
    return [columns[place] for place in kept], [[row[place] for place in kept] for row in rows]


def table(columns: Sequence[tuple[str, Align]], rows: Sequence[Sequence[str]]) -> str:
    """Cells must be escaped already."""
    header = [name for name, _ in columns]
    rule = ["---:" if align == "right" else "---" for _, align in columns]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))
