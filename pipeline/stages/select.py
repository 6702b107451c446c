"""Chooses rows by where they are from: task families of the built-in corpus, or what rows of a file say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.records import CorruptionRecord, QARecord, Reject, TaggedRecord, kept_and_rejected

NOT_SELECTED = "not-selected"

Labelled = QARecord | TaggedRecord | CorruptionRecord
"""The records that have a `source`."""


@dataclass(frozen=True)
class SelectStage:
    """Keeps rows whose source fits one of the patterns `only`, where there are any, and none of `without`."""

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def __call__(self, records: Sequence[Labelled]) -> tuple[list[Labelled], list[Reject]]:
        return kept_and_rejected(self._kept(record) for record in records)

    def _kept(self, record: Labelled) -> Labelled | Reject:
        if self.selects(record.source):
            return record
        return Reject(record.id, NOT_SELECTED, f"it is from {record.source!r}")

    def selects(self, source: str) -> bool:
        return (not self.only or fits(source, self.only)) and not fits(source, self.without)


def fits(source: str, patterns: Sequence[str]) -> bool:
    """Whether a source is one of these; `*` stands for anything."""
    return any(fnmatchcase(source, pattern) for pattern in patterns)
