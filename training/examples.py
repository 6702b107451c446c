"""From a run's rows to its examples: which records, which side, what was left out, and what became of every span."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline import shards
from pipeline.attributes.records import ControlledRecord
from pipeline.contract import NOTES, Source, Work
from pipeline.failures import UserError
from pipeline.records import CorruptionRecord, PreferenceRecord, QARecord, Reject
from pipeline.shards import read_records
from training.audit import Audit
from training.configs import ModelConfig, PreferenceConfig, SftConfig
from training.encoding import Row, encoded, texts_of
from training.policies import sft_policy
from training.tokens import NO_WEIGHT, PairExample, pair_of, sft_of
from training.truncation import SPANS_CUT, TOO_LONG, fitted

SIDES = ("chosen", "rejected")
TARGETS: dict[str, tuple[str, ...]] = {
    "QARecord": ("response",),
    "ControlledRecord": ("response",),
    "CorruptionRecord": SIDES,
    "PreferenceRecord": SIDES,
}
"""The answers that a run can learn, by record type."""

RECORDS = (QARecord, CorruptionRecord, PreferenceRecord, ControlledRecord)

CURES = {
    TOO_LONG: "raise max_length, or cut long rows with `too_long: cut`",
    SPANS_CUT: "raise max_length",
    NO_WEIGHT: "mark spans with an annotate node, or train with `mask: response`",
}
"""What to do about rows that cannot be trained on, by reason."""


@dataclass(frozen=True)
class Prepared:
    """What a run trains on (answers or pairs), the rows that gave nothing, and what became of all their spans."""

    examples: list[Any]
    skipped: list[Reject]
    audit: Audit
    max_length: int

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of it: `audit`, and notes where a user should hear of something."""
        notes = self.audit.notes(self.max_length)
        return {"audit": self.audit.as_facts(), **({NOTES: notes} if notes else {})}


def prepare(tokenizer: Any, work: Work) -> Prepared:
    """The examples of a training run. It needs no model, so that what is wrong with the rows is told before one loads.

    Raises:
        UserError: data, if truncation costs too many spans or too many rows give no example; config, if the rows lack
            what the run is to learn.
    """
    source, config = work.source("data"), work.config
    if isinstance(config, PreferenceConfig):
        audit, made = _read(tokenizer, source, config, PreferenceRecord, SIDES, _pair(config))
    else:
        audit, made = _read(tokenizer, source, config, record_type(source), (config.target,), _answer(source, config))
    audit.refuse_losses(config.max_lost_spans, config.max_length, f"node {work.name}, rows of {source.name}")
    return Prepared(*sorted_out(made, config, source), audit, config.max_length)


def pair_examples(tokenizer: Any, source: Source, config: PreferenceConfig) -> tuple[list[PairExample], list[Reject]]:
    """The pairs of rows, and those that gave none, without an audit."""
    _, made = _read(tokenizer, source, config, PreferenceRecord, SIDES, _pair(config))
    return sorted_out(made, config, source)


def record_type(source: Source) -> Any:
    """Which record type the rows of a source are."""
    return shards.record_type(source.data, RECORDS, source.name)


def sorted_out(made: list[Any], config: ModelConfig, source: Source) -> tuple[list[Any], list[Reject]]:
    """The examples, and the rows that gave none. Raises a data error for no examples, or too many rows left out."""
    skipped = [example for example in made if isinstance(example, Reject)]
    kept = [example for example in made if not isinstance(example, Reject)]
    if not made:
        raise UserError("data", "there are no rows.", source.name, "Look at the node that makes them.")
    if not kept or len(skipped) > config.max_skipped * len(made):
        cure = CURES.get(skipped[0].reason, "mend them")
        raise UserError(
            "data",
            f"{len(skipped)} of {len(made)} rows cannot be used. The first, {skipped[0].id}: "
            f"{skipped[0].reason} ({skipped[0].detail}).",
            source.name,
            f"{cure[0].upper()}{cure[1:]}; or raise max_skipped if such rows can be spared.",
        )
    return kept, skipped


Weigh = Callable[[Row], Any]
"""From a row that fits to its example, or a `Reject`."""


def _read(
    tokenizer: Any, source: Source, config: ModelConfig, record: Any, sides: tuple[str, ...], weigh: Weigh
) -> tuple[Audit, list[Any]]:
    """Every row of the data through tokenizer, truncation and mask, each step entered into the audit."""
    audit, made = Audit.of(*sides), []
    for found in read_records(source.data, record, config.limit):
        texts = texts_of(found)
        weight, control = getattr(found, "weight", 1.0), getattr(found, "control", ())
        row = encoded(tokenizer, found.id, found.prompt, texts, weight, control)
        fit = row if isinstance(row, Reject) else fitted(tokenizer, row, config.max_length, config.too_long)
        example = fit if isinstance(fit, Reject) else weigh(fit)
        audit.add(texts, row, fit, example)
        made.append(example)
    return audit, made


def _pair(config: PreferenceConfig) -> Weigh:
    return lambda row: pair_of(row, config.mask, config.seed)


def _answer(source: Source, config: SftConfig) -> Weigh:
    record = record_type(source).__name__
    if config.target not in TARGETS[record]:
        what = f"target '{config.target}' is not in the rows of {source.name}."
        raise UserError("config", what, "sft", f"They have {' and '.join(TARGETS[record])}.")
    policy = sft_policy(config.mask)
    if policy.reads_spans and TARGETS[record] != SIDES:
        what = f"the rows of {source.name} have no spans, and this mask goes by spans."
        raise UserError("config", what, "sft", "Train on broken answers or pairs, or with `mask: response`.")
    return lambda row: sft_of(row, config.target, policy, config.seed)
