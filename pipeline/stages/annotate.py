"""Turns broken answers into preference pairs with spans: from the edits where they are known, else from a diff."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pipeline import spans
from pipeline.diffs import diff
from pipeline.records import CorruptionRecord, PreferenceRecord, Reject, kept_and_rejected
from pipeline.spans import UNKNOWN

By = Literal["auto", "given", "diff"]
"""Where spans come from: `given` the edits or spans of the row, `diff` a comparison of its answers, `auto` a comparison
where none are given."""
NO_SPANS = "no-spans"

Broken = CorruptionRecord | PreferenceRecord


@dataclass(frozen=True)
class AnnotateStage:
    """Rows of a shard to pairs with spans. Only `given` ever rejects a row: two answers that differ do so somewhere."""

    by: By = "auto"

    def __call__(self, records: Sequence[Broken]) -> tuple[list[PreferenceRecord], list[Reject]]:
        return kept_and_rejected(self._annotate(record) for record in records)

    def _annotate(self, record: Broken) -> PreferenceRecord | Reject:
        pair = annotate(record) if isinstance(record, CorruptionRecord) else record
        if self.by == "diff":
            return marked(replace(pair, chosen_spans=(), rejected_spans=()), only_type(pair))
        if self.by == "given" and not (pair.chosen_spans or pair.rejected_spans):
            return Reject(record.id, NO_SPANS, "the row has no spans, and answers are not compared")
        return marked(pair)


annotate_shard = AnnotateStage()


def only_type(pair: PreferenceRecord) -> str:
    """The error type of all spans of a pair, if they agree on one."""
    types = {span.error_type for span in (*pair.chosen_spans, *pair.rejected_spans)}
    return types.pop() if len(types) == 1 else UNKNOWN


def annotate(record: CorruptionRecord) -> PreferenceRecord:
    """The good answer over the broken one. Chosen spans mark what is good there, rejected spans what is bad."""
    chosen_spans, rejected_spans = record.spans()
    return PreferenceRecord(
        id=record.id,
        prompt=record.prompt,
        chosen=record.response,
        rejected=record.rejected,
        chosen_spans=tuple(chosen_spans),
        rejected_spans=tuple(rejected_spans),
        provenance=provenance(record),
    )


def provenance(record: CorruptionRecord) -> str:
    """Where the pair comes from, as JSON: its source, the edits' types and texts, how they were verified."""
    edits = [asdict(edit) for edit in record.edits]
    return json.dumps({"source": record.source, "edits": edits}, ensure_ascii=False, sort_keys=True)


def marked(pair: PreferenceRecord, error_type: str = UNKNOWN) -> PreferenceRecord:
    """A pair with spans where its answers differ. One that has spans already keeps those."""
    if pair.chosen_spans or pair.rejected_spans:
        return pair
    chosen, rejected = spans.spans_of(diff(pair.chosen, pair.rejected, error_type), pair.chosen)
    return replace(pair, chosen_spans=tuple(chosen), rejected_spans=tuple(rejected))
