"""Nodes of kind `pair`: a model's samples and what a collector thinks of them in, preference pairs out.

The answers are found through the manifests of what judged them. A prompt's answers stand in one shard, so pairs are
made shard by shard; only the values, a number each, are all in memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from eval.pairing import Meetings, Preferred, Rule, Sampled
from eval.report.evidence import behind, manifest_of
from pipeline.contract import DATA, REJECTS, Source, Work
from pipeline.failures import UserError, nearest
from pipeline.records import (
    REJECTED,
    GenerationRecord,
    PreferenceRecord,
    Reject,
    ScoredRecord,
    VerdictRecord,
    kept_and_rejected,
    table_of,
)
from pipeline.shards import read_records, read_shard, shard_paths
from pipeline.stages.annotate import marked
from pipeline.store import write_table

if TYPE_CHECKING:
    from eval.pair_nodes import PairConfig

WINS = "wins"
"""What decides where samples met two at a time: the share of its meetings that a sample wins."""


@dataclass(frozen=True)
class Opinion:
    """What a collector thinks of all answers: values with reasons by prompt and sample, and what it said of two."""

    metric: str
    values: Mapping[str, Mapping[int, tuple[float | None, str]]]
    meetings: Mapping[str, Meetings]

    def of(self, row: GenerationRecord) -> Sampled:
        """An answer with its value; one that the collector never saw is not judged."""
        value, why = self.values.get(row.id, {}).get(row.sample, (None, "unscored: the collector did not see it"))
        return Sampled(row.sample, row.response, value, why, row.finish_reason == "length")

    def direct(self, record_id: str) -> dict[tuple[int, int], float]:
        return self.meetings[record_id].direct() if record_id in self.meetings else {}


@dataclass(frozen=True)
class Lineage:
    """Where pairs come from, by content keys: the model that was sampled, its answers, what decided."""

    model: str
    answers: str
    metric: str

    def provenance(self, row: GenerationRecord, pair: Preferred) -> str:
        """As JSON. Preference training reads `model` from it: `training.stale`."""
        sides = {
            side: {"sample": one.sample, "value": one.value}
            for side, one in (("chosen", pair.chosen), ("rejected", pair.rejected))
        }
        told = {"source": row.source, "model": self.model, "answers": self.answers, "by": self.metric, **sides}
        return json.dumps(told, ensure_ascii=False, sort_keys=True)


def make_pairs(work: Work) -> None:
    """Make the pairs of a work, and commit. Raises a data error where none comes of it."""
    config: PairConfig = work.config
    source = work.source("input")
    opinion, answers = opinion_of(source, config.metric), answers_behind(source)
    rule = rule_of(config)
    lineage = Lineage(manifest_of(behind(answers, "models")).key, manifest_of(answers).key, opinion.metric)
    reasons: Counter[str] = Counter()
    kept = longer = 0
    for path in shard_paths(answers / DATA):
        pairs, rejects = kept_and_rejected(paired(read_shard(path, GenerationRecord), opinion, rule, lineage))
        marked_pairs = [marked(pair) for pair in pairs] if config.spans == "diff" else pairs
        write_table(work.directory / REJECTS / path.name, table_of(rejects, REJECTED))
        write_table(work.directory / DATA / path.name, table_of(marked_pairs, PreferenceRecord.SCHEMA))
        kept += len(pairs)
        longer += sum(len(pair.chosen) > len(pair.rejected) for pair in pairs)
        reasons.update(reject.reason for reject in rejects)
    if not kept:
        told = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common()) or "there are no answers"
        hint = "Sample more answers at a higher temperature, or lower the margin."
        raise UserError("data", f"no pair comes of these answers: {told}.", f"node {work.name}", hint)
    rejected = reasons.total()
    facts = {"by": opinion.metric, "rejected": dict(sorted(reasons.items())), "chosen_longer": longer}
    work.commit(rows={"in": kept + rejected, "out": kept, "rejected": rejected}, facts={"pairs": facts})


def rule_of(config: PairConfig) -> Rule:
    return Rule(
        config.choose, config.k or 1, config.margin, config.chosen_at_least, config.rejected_at_most, config.seed
    )


def paired(
    rows: Sequence[GenerationRecord], opinion: Opinion, rule: Rule, lineage: Lineage
) -> Iterator[PreferenceRecord | Reject]:
    """What becomes of the answers of a shard, prompt by prompt."""
    for record_id, group in groupby(sorted(rows, key=lambda row: (row.id, row.sample)), key=lambda row: row.id):
        answers = list(group)
        for found in rule.pairs(record_id, [opinion.of(row) for row in answers], opinion.direct(record_id)):
            yield found if isinstance(found, Reject) else _record(answers[0], found, lineage)


def _record(row: GenerationRecord, pair: Preferred, lineage: Lineage) -> PreferenceRecord:
    return PreferenceRecord(
        id=f"{row.id}#{pair.label}",
        prompt=row.prompt,
        chosen=pair.chosen.text,
        rejected=pair.rejected.text,
        provenance=lineage.provenance(row, pair),
    )


def answers_behind(source: Source) -> Path:
    """The directory of the answers that were judged. Raises a config error where it was no answers, or several's."""
    judged = [item for item in source.manifest().inputs if item.role == "input" and item.product == "generations"]
    if len(judged) != 1:
        what = f"'{source.name}' is not about the samples of one model."
        raise UserError("config", what, "input", "Score sampled answers, or set `among: samples` in the versus node.")
    return behind(source.root, "input")


def opinion_of(source: Source, metric: str | None) -> Opinion:
    """What a collector thinks, from its scores or its verdicts. Raises config errors about `metric`."""
    if source.product == "verdicts":
        return _by_verdicts(source, metric)
    values: dict[str, dict[int, tuple[float | None, str]]] = {}
    known: set[str] = set()
    for row in read_records(source.data, ScoredRecord):
        known.update(score.metric for score in row.scores)
        found = next((score for score in row.scores if score.metric == metric), None)
        if found:
            values.setdefault(row.id, {})[row.sample] = (found.value, found.explanation)
    if metric is None or metric not in known:
        what = f"there is no score '{metric}'." if metric else "with scores, `metric` says which one decides."
        raise UserError("config", what, f"{source.name}, metric", nearest(metric or "", sorted(known)))
    return Opinion(metric, values, {})


def _by_verdicts(source: Source, metric: str | None) -> Opinion:
    if metric is not None:
        raise UserError("config", "verdicts have no metric.", f"{source.name}, metric", "Leave it out.")
    if source.manifest().config.get("among") != "samples":
        what = f"'{source.name}' sets models against each other, not samples."
        raise UserError("config", what, "input", "Set `among: samples` in the versus node.")
    meetings: dict[str, Meetings] = {}
    for row in read_records(source.data, VerdictRecord):
        meetings.setdefault(row.id, Meetings()).add(int(row.a), int(row.b), row.value)
    values = {
        record_id: {sample: (met.value(sample), "unscored: no verdict") for sample, _ in met.said}
        for record_id, met in meetings.items()
    }
    return Opinion(WINS, values, meetings)
