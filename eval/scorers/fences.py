"""Fences around what strangers wrote, for prompts that a judge reads.

A fence carries a code that nobody could know who wrote the text. It follows from the seed and the row, so that the same
question is the same text in every run and its reply is found again.
"""

from __future__ import annotations

import re

from pipeline.store import content_key

CODE_LENGTH = 16
REMOVED = "[removed]"
"""What stands in a text where it held the code."""


def code_of(seed: int, record_id: str) -> str:
    """The code of the fences of a row: 64 bits in hexadecimal."""
    return content_key(["fence", seed, record_id])[:CODE_LENGTH]


def fenced(name: str, text: str, code: str) -> str:
    """The text between `<name-code>` and `</name-code>`, without the code in it."""
    harmless = re.sub(re.escape(code), REMOVED, text, flags=re.IGNORECASE)
    return f"<{name}-{code}>\n{harmless}\n</{name}-{code}>"
