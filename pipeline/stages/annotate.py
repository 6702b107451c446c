"""Turns a broken answer into a preference pair whose spans follow from the edits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from pipeline.records import CorruptionRecord, PreferenceRecord, Reject


def annotate_shard(records: Sequence[CorruptionRecord]) -> tuple[list[PreferenceRecord], list[Reject]]:
    """Annotate every record of a shard. None is ever rejected: the spans are there by construction."""
    return [annotate(record) for record in records], []


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
    return json.dumps(
        {"source": record.source, "edits": edits, "verification": record.verification},
        ensure_ascii=False,
        sort_keys=True,
    )
