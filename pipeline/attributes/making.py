"""How the artifacts of control tokens are made: shards through their stages, and what manifests say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.attributes.nodes import ClassifyConfig, ConditionConfig, SentencesConfig, classifiers_of
from pipeline.attributes.records import ControlledRecord, LabelledRecord
from pipeline.attributes.stages import ConditionStage, LabelStage, token_of
from pipeline.contract import DATA, REJECTS, Resources, Work
from pipeline.failures import UserError, nearest
from pipeline.records import REJECTED, CorruptionRecord, GenerationRecord, QARecord, table_of
from pipeline.runner import ShardTask, Stage, make_shards, map_shards, plan_tasks, refuse_no_rows, sandbox_noted
from pipeline.sentences import SentenceStage
from pipeline.shards import count_rows, read_records, read_shard, record_type
from pipeline.store import SCRATCH, write_table


def make_sentences(work: Work) -> None:
    """Make the sentences. Raises a data error where too many are left out, or none is kept."""
    config: SentencesConfig = work.config
    stage = SentenceStage(config.min_chars, config.max_chars)
    rows, facts = _expanded(work, stage, QARecord, QARecord.SCHEMA, config.limit, config.resources)
    if not rows["out"] or rows["rejected"] > config.max_rejected * rows["in"]:
        what = f"{rows['rejected']} of {rows['in']} sentences are left out."
        hint = f"The reasons are in {work.directory / REJECTS}; mend the bounds, or raise max_rejected."
        raise UserError("data", what, f"node {work.name}", hint)
    work.commit(rows=rows, facts=facts)


def make_labels(work: Work) -> None:
    """Label the texts. The manifest counts the labels of each attribute, `None` for texts without one."""
    config: ClassifyConfig = work.config
    source = work.source("input")
    record = record_type(source.data, (QARecord, CorruptionRecord, GenerationRecord), source.name)
    stage = LabelStage(classifiers_of(config))
    rows, facts = _expanded(work, stage, record, LabelledRecord.SCHEMA, config.limit, config.resources)
    work.commit(rows=rows, facts={**facts, "labels": _counted(work)})


def _counted(work: Work) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for row in read_records(work.directory / DATA, LabelledRecord):
        for label in row.labels:
            found.setdefault(label.attribute, Counter())[str(label.name)] += 1
    return {attribute: dict(sorted(counts.items())) for attribute, counts in found.items()}


def make_controlled(work: Work) -> None:
    """Put tokens before texts. Raises a config error where a token would be that of two attributes."""
    config: ConditionConfig = work.config
    source = work.source("input")
    labels: dict[str, dict[str, int]] = source.manifest().facts["labels"]
    for name in config.attributes:
        if name not in labels:
            what = f"the texts of {source.name} have no attribute '{name}'."
            raise UserError("config", what, f"node {work.name}", nearest(name, list(labels)))
    owners = _owners(labels, work)
    counts = map_shards(
        work,
        source.data,
        ConditionStage(tuple(config.attributes), config.omit, config.seed),
        LabelledRecord,
        ControlledRecord.SCHEMA,
        resources=config.resources,
        limit=config.limit,
        max_rejected=config.max_rejected,
    )
    rows = list(read_records(work.directory / DATA, ControlledRecord))
    without = sum(not row.control for row in rows) if config.attributes else 0
    tokens = Counter(token for row in rows for token in row.control)
    facts = {"attributes": owners, "tokens": dict(sorted(tokens.items())), "without_tokens": without}
    work.commit(rows=counts.as_rows(), facts=facts)


def _owners(labels: Mapping[str, Mapping[str, int]], work: Work) -> dict[str, list[str]]:
    """The labels of each attribute; a label belongs to one alone, since its token has to."""
    known = {attribute: [name for name in counts if name != str(None)] for attribute, counts in labels.items()}
    owners: dict[str, str] = {}
    for attribute, names in known.items():
        for name in names:
            if owners.setdefault(name, attribute) != attribute:
                what = f"{token_of(name)} would stand for {owners[name]} and for {attribute}."
                hint = "Label them by classifiers whose classes have different names."
                raise UserError("config", what, f"node {work.name}", hint)
    return known


@dataclass(frozen=True)
class _Expander:
    """Maps one shard to any number of records. The data is written last."""

    stage: Stage
    record: Any
    schema: pa.Schema

    def __call__(self, task: ShardTask) -> dict[str, Any]:
        with sandbox_noted(task.sandbox):
            kept, rejected = self.stage(read_shard(task.source, self.record)[: task.rows])
        write_table(task.rejects, table_of(rejected, REJECTED))
        write_table(task.data, table_of(kept, self.schema))
        return {"rows": task.rows}


def _expanded(
    work: Work, stage: Stage, record: Any, schema: pa.Schema, limit: int | None, resources: Resources
) -> tuple[dict[str, int], dict[str, Any]]:
    """Map shards by a stage that makes several records of one; the rows and facts of the manifest.

    `in` counts what came of the records of the input, which are the fact `texts`: so `in == out + rejected` holds.
    """
    source = work.source("input").data
    tasks = plan_tasks(work.directory, source, limit)
    refuse_no_rows(work, source, tasks)
    make_shards(work, tasks, _Expander(stage, record, schema), resources)
    out, rejected = count_rows(work.directory / DATA), count_rows(work.directory / REJECTS)
    notes = [path.read_text(encoding="utf-8") for path in (work.directory / SCRATCH / "sandbox").glob("[!.]*")]
    ran = sorted({name for note in notes for name in note.split()})
    facts = {"texts": sum(task.rows for task in tasks), **({"sandbox": ran} if ran else {})}
    return {"in": out + rejected, "out": out, "rejected": rejected}, facts
