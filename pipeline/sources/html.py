"""StackExchange's questions and answers: HTML to Markdown, with code in fences."""

from __future__ import annotations

import re
from typing import Any

from pipeline.records import Row
from pipeline.sources.dialogues import number
from pipeline.sources.values import BadRow, text, typed

ANSWERS = ("answers",)
PAIR = ("response_j", "response_k")
_TAG = re.compile(
    r"</?(?:p|pre|code|a|br|ul|ol|li|em|strong|b|i|blockquote|h[1-6]|hr|img|div|span|kbd|table)\b[^>]*>", re.I
)
_LANGUAGE = re.compile(r"\blang(?:uage)?-(\w+)")
_BLANK = re.compile(r"\n{3,}")


def to_markdown(html: str) -> str:
    """HTML as Markdown: code blocks become fences, inline code stays, links and images lose their addresses.

    Text without tags comes back as it is: some copies of the data were converted before.
    """
    if not _TAG.search(html):
        return html
    from markdownify import markdownify

    try:
        found: str = markdownify(
            html,
            heading_style="ATX",
            strip=["a", "img"],
            escape_asterisks=False,
            escape_underscores=False,
            escape_misc=False,
            code_language_callback=_language,
        )
    except RecursionError:
        raise BadRow("html", "its HTML is nested too deeply.") from None
    return _BLANK.sub("\n\n", found).strip()


def _language(block: Any) -> str:
    """The language that a code block or the code in it is marked with: `lang-py`, as the sites write it."""
    classes = [
        *(block.get("class") or []),
        *(name for inner in block.find_all("code") for name in inner.get("class") or []),
    ]
    found = _LANGUAGE.search(" ".join(classes))
    return "" if not found else {"py": "python"}.get(found[1], found[1])


def from_stackexchange(row: Row) -> Row:
    """A question and its answer, both in HTML."""
    return {**row, "prompt": _markdown(row, "question"), "response": _markdown(row, "answer")}


def from_stackexchange_pairs(row: Row) -> Row:
    """``{question, response_j, response_k}``, the first preferred; or ``{question, answers: [{text, pm_score}]}``.

    Of several answers the one with the highest score and the one with the lowest make the pair.
    """
    prompt = _markdown(row, "question")
    if set(PAIR) <= row.keys():
        return {**row, "prompt": prompt, "chosen": _markdown(row, PAIR[0]), "rejected": _markdown(row, PAIR[1])}
    answers = [typed(item, dict, f"answers[{i}]") for i, item in enumerate(typed(row["answers"], list, "answers"))]
    if any(not {"text", "pm_score"} <= answer.keys() for answer in answers):
        raise BadRow("missing-field", "each of 'answers' should have 'text' and 'pm_score'.")
    ranked = sorted(answers, key=lambda answer: -number(answer, "pm_score"))
    if len(ranked) < 2 or number(ranked[0], "pm_score") == number(ranked[-1], "pm_score"):
        raise BadRow("one-score", "field 'answers' has no two answers of different scores.")
    return {**row, "prompt": prompt, "chosen": _markdown(ranked[0], "text"), "rejected": _markdown(ranked[-1], "text")}


def _markdown(row: Row, field: str) -> str:
    return to_markdown(text(row, field))
