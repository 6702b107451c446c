"""From a run's rows to its examples: which records, which side, and what was left out."""

from __future__ import annotations

from typing import Any

from pipeline import shards
from pipeline.contract import Source
from pipeline.failures import UserError
from pipeline.records import CorruptionRecord, PreferenceRecord, QARecord, Reject
from pipeline.shards import read_records
from training.nodes import ModelConfig, PreferenceConfig, SftConfig
from training.tokens import Example, PairExample, pair_example, sft_example

TARGETS: dict[tuple[str, str], str] = {
    ("QARecord", "response"): "response",
    ("CorruptionRecord", "chosen"): "response",
    ("CorruptionRecord", "rejected"): "rejected",
    ("PreferenceRecord", "chosen"): "chosen",
    ("PreferenceRecord", "rejected"): "rejected",
}
"""The field that holds a target, by record type."""


def sft_examples(tokenizer: Any, source: Source, config: SftConfig) -> tuple[list[Example], list[Reject]]:
    """The examples of a supervised run, and the rows that gave none."""
    record = record_type(source)
    field = TARGETS.get((record.__name__, config.target))
    if field is None:
        known = [target for name, target in TARGETS if name == record.__name__]
        raise UserError(
            "config",
            f"target '{config.target}' is not in the rows of {source.name}.",
            "sft",
            f"They have {' and '.join(known)}.",
        )
    made = [
        sft_example(tokenizer, row.id, row.prompt, getattr(row, field), config.max_length, getattr(row, "weight", 1.0))
        for row in read_records(source.data, record, config.limit)
    ]
    return sorted_out(made, config, source)


def pair_examples(tokenizer: Any, source: Source, config: PreferenceConfig) -> tuple[list[PairExample], list[Reject]]:
    """The pairs of a preference run, and the rows that gave none."""
    made = [
        pair_example(tokenizer, row, config.mask, config.max_length, config.seed)
        for row in read_records(source.data, PreferenceRecord, config.limit)
    ]
    return sorted_out(made, config, source)


def record_type(source: Source) -> Any:
    """Which record type the rows of a source are."""
    return shards.record_type(source.data, (QARecord, CorruptionRecord, PreferenceRecord), source.name)


def sorted_out(made: list[Any], config: ModelConfig, source: Source) -> tuple[list[Any], list[Reject]]:
    """The examples, and the rows that gave none. Raises a data error for no examples, or too many rows left out."""
    skipped = [example for example in made if isinstance(example, Reject)]
    kept = [example for example in made if not isinstance(example, Reject)]
    if not made:
        raise UserError("data", "there are no rows.", source.name, "Look at the node that makes them.")
    if not kept or len(skipped) > config.max_skipped * len(made):
        raise UserError(
            "data",
            f"{len(skipped)} of {len(made)} rows cannot be used. The first, {skipped[0].id}: "
            f"{skipped[0].reason} ({skipped[0].detail}).",
            source.name,
            "Raise max_length for long rows, or max_skipped if they can be spared.",
        )
    return kept, skipped
