"""Turns broken answers into preference pairs with spans: from the edits where they are known, else from a diff."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from pipeline import spans
from pipeline.records import CorruptionRecord, PreferenceRecord, Reject
from pipeline.spans import UNKNOWN


def annotate_shard(
    records: Sequence[CorruptionRecord | PreferenceRecord],
) -> tuple[list[PreferenceRecord], list[Reject]]:
    """Annotate every record of a shard. None is ever rejected: two answers that differ do so somewhere."""
    return [annotate(record) if isinstance(record, CorruptionRecord) else marked(record) for record in records], []


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
    chosen, rejected = spans.spans_of(spans.diff(pair.chosen, pair.rejected, error_type), pair.chosen)
    return replace(pair, chosen_spans=tuple(chosen), rejected_spans=tuple(rejected))
