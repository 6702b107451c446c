"""What a source may ask of a row: no null characters, not too long, Python in it, nothing of an evaluation set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.failures import UserError
from pipeline.records import ChoiceRecord, PreferenceRecord, Reject
from pipeline.sources.formats import Record

NGRAM = 13
"""Words of an overlap: Brown et al. 2020 (GPT-3), appendix C, who lower-case, drop punctuation and take 8 to 13."""
LEAST_NGRAM = 8
"""Evaluation texts shorter than an n-gram count as a whole from this many words on: Brown et al. 2020, appendix C."""

ASKED_FOR = frozenset({"no-code", "contaminated", "duplicate", "near-duplicate", "score-ratio", "one-score"})
"""Reasons for which a user wanted rows left out: they do not count as unusable ones."""

_WORD = re.compile(r"[^\W_]+")


def texts_of(record: Record) -> tuple[str, ...]:
    """The prompt and the answers."""
    if isinstance(record, PreferenceRecord):
        return record.prompt, record.chosen, record.rejected
    if isinstance(record, ChoiceRecord):
        return record.prompt, *record.choices
    return (record.prompt, record.response, getattr(record, "rejected", ""))


def question_of(record: Record) -> str:
    """What decides the split of a record: its prompt, and of a plain text, which has none, the text."""
    return record.prompt or texts_of(record)[1]


def unusable(record: Record, longest: int) -> tuple[str, str] | None:
    """The reason and detail for a row that nothing can be done with: Python's parser stops at null characters."""
    for text in texts_of(record):
        if "\0" in text:
            return "null-character", f"a text holds a null character at {text.index(chr(0))}."
        if len(text) > longest:
            return "too-long", f"a text has {len(text):,} characters; max_chars is {longest:,}."
    return None


@dataclass(frozen=True)
class Judge:
    """The costly checks, as a function of one record that can be sent to other processes."""

    python_only: bool = False
    grams: dict[int, str] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return self.python_only or bool(self.grams)

    def __call__(self, record: Record) -> tuple[str, str] | None:
        if self.python_only and not _has_python(record):
            return "no-code", "the answer holds no Python that parses."
        if self.grams and (hit := self._overlap(record)):
            return "contaminated", hit
        return None

    def _overlap(self, record: Record) -> str:
        for text in texts_of(record):
            words = words_of(text)
            for gram, digest in _hashed(words, self.lengths):
                if digest in self.grams:
                    return f"it shares {len(gram)} words with {self.grams[digest]}: {' '.join(gram)!r}."
        return ""


def _has_python(record: Record) -> bool:
    from pipeline.errors.answers import code_of

    return code_of(texts_of(record)[1]) is not None


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def judge_of(python_only: bool, files: Sequence[str], ngram: int) -> Judge:
    """The checks that a config asks for, with the n-grams of the evaluation files."""
    grams: dict[int, str] = {}
    lengths: set[int] = set()
    for name in files:
        for words in map(words_of, evaluation_texts(name)):
            length = min(ngram, len(words))
            if length >= min(LEAST_NGRAM, ngram):
                lengths.add(length)
                grams.update((digest, Path(name).name) for _, digest in _hashed(words, (length,)))
    if files and not grams:
        what = f"no text of these files has {min(LEAST_NGRAM, ngram)} words."
        raise UserError("data", what, "decontaminate", "Name files of evaluation prompts and solutions.")
    return Judge(python_only, grams, tuple(sorted(lengths)))


def evaluation_texts(name: str) -> Iterator[str]:
    """Every text in the rows of a file, whatever its fields are called."""
    from pipeline.sources.origins import find

    for item in find(name).rows():
        if isinstance(item, Reject):
            raise UserError("data", f"a row cannot be read: {item.detail}", name, "Mend the file.")
        yield from _texts(item.row)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _hashed(words: Sequence[str], lengths: Iterable[int]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every n-gram of these lengths with its 64-bit hash."""
    from xxhash import xxh3_64_intdigest

    for length in lengths:
        for gram in zip(*(words[i:] for i in range(length)), strict=False):
            yield gram, xxh3_64_intdigest(" ".join(gram).encode())
