"""Where the prose of a Markdown answer stands, in code points of the whole answer: passages, sentences, words.

A Markdown parser says which lines are prose; what `answers.blocks` takes for a fence is never prose, so nothing that
an error type changes here can touch code. `Prose.plain` is as long as the answer and shows its prose alone: everything
else is `HIDDEN`, code within the prose is `QUOTED`. Patterns are searched in it, and what they find stands at the same
place in the answer.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.errors.answers import Line, blocks, lines_of
from pipeline.spans import Edit

LONGEST = 20_000
"""Code points. Of a longer answer no prose is known: the parser takes 0.4 s for the worst 20,000, and 3.9 s for 60,000.

Answers of 400 tokens have some 1,600.
"""

HIDDEN, QUOTED = "\x00", "\x01"
"""What stands in `Prose.plain` for what is no prose, and for code spans, addresses and tags within the prose."""

Kind = Literal["paragraph", "heading"]

_MARKDOWN = MarkdownIt("commonmark").disable("inline", ignoreInvalid=True)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_TICKS = re.compile("`+")
_NO_WORDS = re.compile(r"\]\([^()\s]*\)|https?://[^\s()]+|</?[a-zA-Z][^<>\n]*>")
_ENDING = re.compile(
    r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\betc)[.!?]['\")*_]*(?=\s+(?:[A-Z0-9\"'(*_\x01]|$)|$)", re.ASCII
)
_ARTICLE = re.compile(r"\b([Aa])(n?) $")
_WORD = re.compile(r"[^\W_]+(?:['’][a-z]+)?")


@dataclass(frozen=True, slots=True)
class Passage:
    """The text of one paragraph or heading, ``answer[start:end]``, without marks before or after it.

    `depth` counts the lists and quotes that it stands in.
    """

    kind: Kind
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, ``answer[start:end]`` with its full stop. `passage` is the place of its passage among all."""

    start: int
    end: int
    passage: int


@dataclass(frozen=True)
class Prose:
    """The prose of one answer."""

    answer: str
    passages: tuple[Passage, ...]
    plain: str

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        """Every sentence, headings included, in order of position."""
        return tuple(
            sentence
            for index, passage in enumerate(self.passages)
            for sentence in _sentences(self.plain, passage, index)
        )

    @cached_property
    def line_break(self) -> str:
        """How the answer ends its lines."""
        found = re.search(r"\r\n|\r|\n", self.answer)
        return found[0] if found else "\n"

    def text(self, part: Passage | Sentence) -> str:
        return self.answer[part.start : part.end]

    def words(self, part: Passage | Sentence) -> list[str]:
        """The words of a part in lower case, those of code spans included."""
        return [word.lower() for word in _WORD.findall(self.text(part))]

    def is_heading(self, sentence: Sentence) -> bool:
        return self.passages[sentence.passage].kind == "heading"


@lru_cache(maxsize=64)
def prose_of(answer: str) -> Prose:
    """The answer's prose; none at all where the answer is longer than `LONGEST`."""
    if len(answer) > LONGEST:
        return Prose(answer, (), HIDDEN * len(answer))
    lines, fenced = lines_of(answer), _fenced(answer)
    plain, passages = [HIDDEN] * len(answer), []
    for opening, token in _inline(tokens_of(answer)):
        pieces = _pieces(answer, lines, token)
        if pieces is None or any(_is_fenced(start, fenced) for start, _ in pieces):
            continue
        kind: Kind = "heading" if opening.type == "heading_open" else "paragraph"
        passage = Passage(kind, pieces[0][0], pieces[-1][1], opening.level)
        passages.append(passage)
        _show(plain, answer, passage, pieces)
    return Prose(answer, tuple(passages), "".join(plain))


@lru_cache(maxsize=64)
def tokens_of(answer: str) -> Sequence[Token]:
    """The answer's blocks as a Markdown parser sees them; what stands within a paragraph is left unparsed."""
    return _MARKDOWN.parse(answer)


@lru_cache(maxsize=64)
def fenced_code(answer: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Tag and lines of every fenced block: what an error in the prose leaves as it was."""
    return tuple(
        (block.tag, tuple(answer[line.code : line.next].rstrip("\r\n") for line in block.lines))
        for block in blocks(answer)
    )


def replaced(prose: Prose, start: int, end: int, new: str, error_type: str) -> Edit:
    """`new` for the words at ``[start, end)``; an article right before them is made to agree, as part of the edit."""
    before = _ARTICLE.search(prose.plain, max(0, start - 3), start)
    if before is None or new[:1].isdigit() or bool(before[2]) == _takes_an(new):
        return Edit(start, end, prose.answer[start:end], new, error_type)
    first = start - len(before[0])
    return Edit(first, end, prose.answer[first:end], f"{before[1]}{'n' if _takes_an(new) else ''} {new}", error_type)


def cased(new: str, old: str) -> str:
    """`new` with a capital where `old` has one."""
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


def _takes_an(word: str) -> bool:
    return word[:1].lower() in "aeiou"


def _inline(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token]]:
    """Each token with text, and the one that opens its paragraph or heading."""
    for opening, token in pairwise(tokens):
        if token.type == "inline" and token.map and opening.type in ("paragraph_open", "heading_open"):
            yield opening, token


def _fenced(answer: str) -> list[tuple[int, int]]:
    """What stands between fences, in order of position."""
    return [(block.lines[0].start, block.lines[-1].next) for block in blocks(answer) if block.lines]


def _is_fenced(place: int, fenced: Sequence[tuple[int, int]]) -> bool:
    index = bisect_right(fenced, place, key=itemgetter(0)) - 1
    return index >= 0 and place < fenced[index][1]


def _pieces(answer: str, lines: Sequence[Line], token: Token) -> list[tuple[int, int]] | None:
    """Where the text of a token stands, line by line; None where that is not certain or it looks like a fence."""
    first, _ = token.map or (0, 0)
    pieces = []
    for line, content in zip(lines[first:], token.content.split("\n"), strict=False):
        text, source = content.strip(), answer[line.start : line.end]
        place = source.rfind(text)
        if place < 0 or not text or _FENCE.match(text):
            return None
        pieces.append((line.start + place, line.start + place + len(text)))
    return pieces or None


def _show(plain: list[str], answer: str, passage: Passage, pieces: Sequence[tuple[int, int]]) -> None:
    """Put a passage's text into `plain`: marks between its lines as blanks, code and addresses as `QUOTED`."""
    for (_, end), (start, _) in pairwise(pieces):
        plain[end:start] = ["\n", *" " * (start - end - 1)]
    for start, end in pieces:
        plain[start:end] = answer[start:end].replace(HIDDEN, " ").replace(QUOTED, " ")
    text = answer[passage.start : passage.end]
    for start, end in [*_code_spans(text), *(found.span() for found in _NO_WORDS.finditer(text))]:
        plain[passage.start + start : passage.start + end] = QUOTED * (end - start)


def _code_spans(text: str) -> Iterator[tuple[int, int]]:
    """Code spans by CommonMark's rule: a run of backticks up to the next run that is as long."""
    runs = [found.span() for found in _TICKS.finditer(text)]
    index = 0
    while index < len(runs):
        start, end = runs[index]
        closing = (place for place in range(index + 1, len(runs)) if runs[place][1] - runs[place][0] == end - start)
        found = next(closing, None)
        if found is not None:
            yield start, runs[found][1]
        index = index + 1 if found is None else found + 1


def _sentences(plain: str, passage: Passage, index: int) -> Iterator[Sentence]:
    start = passage.start
    for ending in _ENDING.finditer(plain, passage.start, passage.end):
        yield Sentence(start, ending.end(), index)
        start = ending.end()
        while start < passage.end and plain[start].isspace():
            start += 1
    if start < passage.end:
        yield Sentence(start, passage.end, index)
