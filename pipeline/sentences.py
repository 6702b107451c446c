"""Texts to sentences: split by syntok, cleaned, kept by their length.

syntok (Leitner, github.com/fnl/syntok) segments by rules, in pure Python. pysbd, which does as well, installs top-level
packages called `benchmarks` and `examples` beside itself, and these would hide ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.records import QARecord, Reject

NO_SENTENCE, TOO_SHORT, TOO_LONG, NOT_PROSE = "no-sentence", "too-short", "too-long", "not-prose"
WORDS = 0.5
"""The least share of letters among the characters that are no blanks: tables, code and lists of numbers have fewer."""

_BLANKS = re.compile(r"\s+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\ufeff]")


@dataclass(frozen=True)
class SentenceStage:
    """One record for each sentence of a text: no prompt, the sentence as response, `ID.N` as its id.

    Attributes:
        shortest: characters of a sentence at least.
        longest: characters at most.
    """

    shortest: int
    longest: int

    def __call__(self, records: Sequence[QARecord]) -> tuple[list[QARecord], list[Reject]]:
        kept: list[QARecord] = []
        rejected: list[Reject] = []
        for record in records:
            found = list(sentences(record.response))
            if not found:
                rejected.append(Reject(record.id, NO_SENTENCE, "the text holds no sentence"))
            for number, sentence in enumerate(found):
                id = f"{record.id}.{number}"
                if problem := self._unfit(sentence):
                    rejected.append(Reject(id, *problem))
                else:
                    kept.append(QARecord(id, "", sentence, record.source))
        return kept, rejected

    def _unfit(self, sentence: str) -> tuple[str, str] | None:
        if len(sentence) < self.shortest:
            return TOO_SHORT, f"{len(sentence)} characters, {self.shortest} are wanted: {sentence!r}"
        if len(sentence) > self.longest:
            return TOO_LONG, f"{len(sentence)} characters, {self.longest} are allowed"
        solid = [character for character in sentence if not character.isspace()]
        letters = sum(map(str.isalpha, solid))
        if letters < WORDS * len(solid):
            return NOT_PROSE, f"{letters} of {len(solid)} characters are letters: {sentence[:80]!r}"
        return None


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, each cleaned; empty ones are none."""
    from syntok import segmenter

    for paragraph in segmenter.analyze(_without_controls(text)):
        for tokens in paragraph:
            joined = "".join(f"{token.spacing}{token.value}" for token in tokens)
            if sentence := cleaned(joined):
                yield sentence


def cleaned(text: str) -> str:
    """Unicode in NFC, without control characters, every run of blanks as one, none at the ends."""
    return _BLANKS.sub(" ", unicodedata.normalize("NFC", _without_controls(text))).strip()


def _without_controls(text: str) -> str:
    return _CONTROL.sub("", text)
