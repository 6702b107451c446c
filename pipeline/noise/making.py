"""How the rows of few-shot and noise nodes are made: shard by shard, here, since Ray would take longer to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.contract import DATA, Work
from pipeline.noise.few_shot import FewShotStage
from pipeline.noise.nodes import CHARACTERS, FewShotConfig, NoiseConfig
from pipeline.noise.ring import Ring
from pipeline.noise.stage import NoiseStage, is_noisy
from pipeline.records import REJECTED, ChoiceRecord, PreferenceRecord, table_of
from pipeline.runner import Counts, Stage, counted, plan_tasks, refuse_no_rows
from pipeline.shards import read_records, read_shard, record_type
from pipeline.store import write_table


def make_few_shot(work: Work) -> None:
    """Make the rows of a few-shot node. Raises a data error where its inputs are no answers to choose from."""
    config: FewShotConfig = work.config
    source = work.source("input")
    pool = work.source("examples") if config.examples else source
    for found in (source, pool):
        record_type(found.data, (ChoiceRecord,), found.name)
    items = ((record.id, record) for record in read_records(pool.data, ChoiceRecord)) if config.shots else ()
    stage = FewShotStage(Ring(items, config.seed), config.shots, config.seed, config.give)
    schema = PreferenceRecord.SCHEMA if config.give == "pairs" else ChoiceRecord.SCHEMA
    work.commit(rows=_mapped(work, source.data, stage, ChoiceRecord, schema).as_rows())


def make_noise(work: Work) -> None:
    """Make the rows of a noise node. Raises a data error where its input are no pairs."""
    config: NoiseConfig = work.config
    source = work.source("input")
    record_type(source.data, (PreferenceRecord,), source.name)
    others = None
    if config.how == "random-rejected":
        pairs = read_records(source.data, PreferenceRecord, config.limit)
        others = Ring(((pair.id, (pair.prompt, pair.rejected)) for pair in pairs), config.seed)
    stage = NoiseStage(config.how, config.rate, config.seed, config.characters or CHARACTERS, others)
    counts = _mapped(work, source.data, stage, PreferenceRecord, PreferenceRecord.SCHEMA)
    noisy = count_noisy(work.directory / DATA, None)[0]
    work.commit(rows=counts.as_rows(), facts={"noisy": noisy, "noisy_share": noisy / counts.kept})


def count_noisy(data: Path, limit: int | None) -> tuple[int, int]:
    """How many of the first `limit` pairs are noisy, and how many pairs these are."""
    marks = [is_noisy(pair.provenance) for pair in read_records(data, PreferenceRecord, limit)]
    return sum(marks), len(marks)


def _mapped(work: Work, data: Path, stage: Stage, record: Any, schema: pa.Schema) -> Counts:
    tasks = plan_tasks(work.directory, data, work.config.limit)
    refuse_no_rows(work, data, tasks)
    for done, task in enumerate(tasks, start=1):
        if not task.data.exists():
            kept, rejected = stage(read_shard(task.source, record)[: task.rows])
            write_table(task.rejects, table_of(rejected, REJECTED))
            write_table(task.data, table_of(kept, schema))
        work.progress(done, len(tasks), "shards")
    return counted(work, tasks, work.config.max_rejected)
