"""Poorly formatted responses: a broken fence, list, heading or paragraph break.

Recognised in the answer alone: a fence that nothing closes, code outside fences, marks that miss their space. With a
good answer of the same words, by any structure that is lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it.token import Token

from pipeline.errors.answers import Line, lines_of
from pipeline.errors.base import Case, Execute, Finding, Level, Proposal, Unscored, Verification, in_order
from pipeline.errors.prose import LONGEST, Prose, prose_of, tokens_of
from pipeline.records import FunctionTest
from pipeline.spans import Edit, edit_at

NAME = "poorly-formatted-response"

LONGEST_LINE = 300
"""Characters of a line that may be code outside fences."""

_MARKER = re.compile(r"(?:[-+*]|\d{1,9}[.)])([ \t]+)(?=\S)")
_HEADING = re.compile(r"[ ]{0,3}#{2,6}([ \t]+)(?=\S)")
_BARE_MARKER = re.compile(r"^[ \t]*(?:[-+]|\d{1,3}[.)])(?=[A-Z`][\w`])", re.MULTILINE)
_BARE_HEADING = re.compile(r"[ ]{0,3}#{2,6}[A-Z]")
_LOOSE_FENCE = re.compile(r"(?<=[^`\n])`{3}[a-zA-Z]*[ \t]*$", re.MULTILINE)
_CODE_LINE = re.compile(
    r"[ \t]*(?:(?:async )?def \w+\(.*\).*:|class \w+(?:\(.*\))?:|import \w+(?:\.\w+)*(?: as \w+)?"
    r"|from \w+(?:\.\w+)* import [\w, ]+|return(?: .*)?|(?:for \w+(?:, \w+)* in|while|if|elif) [^.]*:"
    r"|\w+ = [^.]+)[ \t]*$"
)
_HEAD_LINE = re.compile(
    r"[ \t]*(?:(?:async )?def \w+\(.*\).*:|class \w+(?:\(.*\))?:|import \w+|from \w+(?:\.\w+)* import )"
)
_WORDS = re.compile(r"[^\W_]+")


class PoorFormatting:
    """Takes away one mark, or all marks of one kind in one list, that give the answer its structure."""

    name: str = NAME
    level: Level = "static"

    def propose(self, response: str, prompt: str = "") -> list[Proposal]:
        if len(response) > LONGEST:
            return []
        lines, tokens = lines_of(response), tokens_of(response)
        found = [*_fences(response, lines, tokens), *_lists(response, lines, tokens)]
        found += [*_headings(response, lines, tokens), *_breaks(prose_of(response), lines, tokens)]
        return in_order(dict.fromkeys(found))

    def verify(self, case: Case, execute: Execute | None) -> Verification:
        """Confirmed where a Markdown parser sees the same words and less structure."""
        if len(case.good) > LONGEST:
            return Verification(False, self.level, "too long for the parser")
        if _said(case.good) != _said(case.bad):
            return Verification(False, self.level, "more than marks and white space is different")
        before, after = _structure(case.good), _structure(case.bad)
        if not before - after:
            return Verification(False, self.level, "equivalent: the Markdown parser sees no less structure")
        return Verification(True, self.level, f"the Markdown parser sees {_described(before, after)}")

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        if len(response) > LONGEST:
            return Unscored("too long for the Markdown parser")
        found = _marked_badly(response)
        if found is not None and (reference is None or _marked_badly(reference) is None):
            return found
        if reference is None or len(reference) > LONGEST or _said(reference) != _said(response):
            return Finding(False, "fences are closed, code is fenced and marks are whole")
        before, after = _structure(reference), _structure(response)
        if not before - after:
            return Finding(False, "the structure is the good answer's, or has more to it")
        return Finding(True, f"the Markdown parser sees {_described(before, after)}")


@dataclass(frozen=True, slots=True)
class _Fence:
    """A fenced block at the top level: its lines by number, the fences' own included."""

    first: int
    last: int
    closed: bool


def _edit(answer: str, start: int, end: int, new: str = "") -> Edit:
    return edit_at(answer, start, end, new, NAME)


def _fence_tokens(answer: str, lines: Sequence[Line], tokens: Sequence[Token]) -> Iterator[_Fence]:
    for token in tokens:
        if token.type == "fence" and token.map:
            first, last = token.map[0], min(token.map[1], len(lines)) - 1
            mark = answer[lines[last].start : lines[last].end].strip(" \t>")
            closed = last > first and set(mark) == {token.markup[0]} and len(mark) >= len(token.markup)
            yield _Fence(first, last, closed)


def _fences(answer: str, lines: Sequence[Line], tokens: Sequence[Token]) -> Iterator[Proposal]:
    """A fence without its end, without its beginning, without both, or run into the paragraph before it."""
    for fence in _fence_tokens(answer, lines, tokens):
        if not fence.closed or fence.last == fence.first + 1:
            continue
        opening, closing = lines[fence.first], lines[fence.last]
        first = _edit(answer, opening.start, opening.next)
        last = _edit(answer, closing.start, closing.next)
        if answer[closing.next :].strip():
            yield (last,)
        yield (first,)
        yield first, last
        before = len(answer[: opening.start].rstrip())
        if before and answer[before : opening.start].strip(" \t\r\n") == "":
            yield (_edit(answer, before, opening.code, " "),)


def _lists(answer: str, lines: Sequence[Line], tokens: Sequence[Token]) -> Iterator[Proposal]:
    """The marks of one list: all of them gone, or each without the space after it."""
    items: list[list[re.Match[str]]] = []
    for token in tokens:
        if token.type in ("bullet_list_open", "ordered_list_open"):
            items.append([])
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            marks = items.pop()
            if len(marks) > 1:
                yield tuple(_edit(answer, mark.start(), mark.end()) for mark in marks)
                yield tuple(_edit(answer, *mark.span(1)) for mark in marks)
        elif token.type == "list_item_open" and token.map and items:
            line = lines[token.map[0]]
            start = line.start + len(answer[line.start : line.end]) - len(answer[line.start : line.end].lstrip(" \t"))
            mark = _MARKER.match(answer, start, line.end)
            if mark:
                items[-1].append(mark)


def _headings(answer: str, lines: Sequence[Line], tokens: Sequence[Token]) -> Iterator[Proposal]:
    for token in tokens:
        if token.type == "heading_open" and token.map and token.markup.startswith("#"):
            line = lines[token.map[0]]
            found = _HEADING.match(answer, line.start, line.end)
            if found:
                yield (_edit(answer, *found.span(1)),)


def _breaks(prose: Prose, lines: Sequence[Line], tokens: Sequence[Token]) -> Iterator[Proposal]:
    """The blank lines between two paragraphs at the top level."""
    for one, other in zip(prose.passages, prose.passages[1:], strict=False):
        between = prose.answer[one.end : other.start]
        if one.kind == other.kind == "paragraph" and not (one.depth or other.depth) and not between.strip():
            yield (_edit(prose.answer, one.end, other.start, " "),)


def _said(answer: str) -> list[str]:
    """The words of an answer without the tags of its fences and the numbers of its lists."""
    return [word for word in _WORDS.findall(_NO_WORDS.sub(" ", answer)) if not word.isdigit()]


_NO_WORDS = re.compile(r"[`~]{2,}[ \t]*(?:python3?|py3?|text|bash|console|sh|shell)?\b", re.IGNORECASE)


def _structure(answer: str) -> Counter[str]:
    """How many of each kind of block a Markdown parser sees, closed fences apart from open ones."""
    lines, tokens = lines_of(answer), tokens_of(answer)
    found = Counter(token.type.removesuffix("_open") for token in tokens if token.type.endswith("_open"))
    for fence in _fence_tokens(answer, lines, tokens):
        found["fence" if fence.closed else "open fence"] += 1
    found["code_block"] += sum(token.type == "code_block" for token in tokens)
    return found


def _described(before: Counter[str], after: Counter[str]) -> str:
    """The kinds of blocks that there are more or fewer of."""
    kinds = [kind for kind in sorted({*before, *after}) if before[kind] != after[kind]]
    return ", ".join(f"{after[kind]} instead of {before[kind]} {kind.replace('_', ' ')}s" for kind in kinds)


def _marked_badly(answer: str) -> Finding | None:
    """The first mark that is broken, whatever the words."""
    return _open_fence(answer) or _loose_code(answer) or _bare_marks(answer)


def _open_fence(answer: str) -> Finding | None:
    lines, tokens = lines_of(answer), tokens_of(answer)
    for fence in _fence_tokens(answer, lines, tokens):
        if not fence.closed:
            return Finding(True, "nothing closes this fence", lines[fence.first].start, lines[fence.first].end)
    return None


def _loose_code(answer: str) -> Finding | None:
    """Python that stands in the prose: a definition or an import on a line of its own, and another line of code."""
    prose = prose_of(answer)
    for passage in prose.passages:
        text = prose.text(passage)
        fence = _LOOSE_FENCE.search(text) if text.count("```") == 1 else None
        if fence:
            start, end = fence.span()
            return Finding(True, "a fence that does not begin a line", passage.start + start, passage.start + end)
        short = (line for line in lines_of(text) if line.end - line.start <= LONGEST_LINE)
        of_code = [line for line in short if _CODE_LINE.fullmatch(text, line.start, line.end)]
        if len(of_code) > 1 and any(_HEAD_LINE.match(text, line.start, line.end) for line in of_code):
            first = of_code[0]
            return Finding(True, "code outside fences", passage.start + first.start, passage.start + first.end)
    return None


def _bare_marks(answer: str) -> Finding | None:
    """List marks and heading marks without the space that makes them marks."""
    prose = prose_of(answer)
    for passage in prose.passages:
        text = prose.text(passage)
        heading = _BARE_HEADING.match(text)
        marks = list(_BARE_MARKER.finditer(text))
        if heading or len(marks) > 1:
            found = heading or marks[0]
            start = passage.start + found.start()
            return Finding(True, "a mark without the space after it", start, passage.start + found.end())
    return None
