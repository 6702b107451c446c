"""How the rows of a select node are made: shard by shard, here, since Ray would take longer to start."""

from __future__ import annotations

from collections import Counter

import pyarrow.parquet as pq

from pipeline.contract import Work
from pipeline.failures import UserError, nearest
from pipeline.records import REJECTED, CorruptionRecord, QARecord, TaggedRecord, table_of
from pipeline.runner import counted, plan_tasks
from pipeline.shards import read_shard, record_type
from pipeline.stages.select import NOT_SELECTED, SelectStage, fits
from pipeline.store import write_table


def select_rows(work: Work) -> None:
    """Make the rows. Raises a data error where no row is left, or a pattern fits none and so is misspelt."""
    source = work.source("input")
    record = record_type(source.data, (QARecord, TaggedRecord, CorruptionRecord), source.name)
    stage = SelectStage(tuple(work.config.only), tuple(work.config.without))
    tasks = plan_tasks(work.directory, source.data, None)
    labels = (label for task in tasks for label in pq.read_table(task.source, columns=["source"])["source"].to_pylist())
    sources = Counter(labels)
    for pattern in (*stage.only, *stage.without):
        if not any(fits(label, [pattern]) for label in sources):
            what = f"none of {sources.total()} rows is from '{pattern}'."
            raise UserError("data", what, f"node {work.name}", nearest(pattern, sorted(sources)))
    for done, task in enumerate(tasks, start=1):
        if not task.data.exists():
            kept, rejected = stage(read_shard(task.source, record))
            write_table(task.rejects, table_of(rejected, REJECTED))
            write_table(task.data, table_of(kept, record.SCHEMA))
        work.progress(done, len(tasks), "shards")
    counts = counted(work, tasks, 0.0, spared=(NOT_SELECTED,))
    taken = {label: count for label, count in sorted(sources.items()) if stage.selects(label)}
    work.commit(rows=counts.as_rows(), facts={"sources": taken})
