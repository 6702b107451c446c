"""The only place where Ray Data touches a stage.

A stage is a function from the records of one shard to records and rejects. Each input shard gives one output shard, by
one task, written whole or not at all; a rerun makes only the shards that are missing. Randomness comes from the
records, so the shards are the same bytes whatever was interrupted.

A survey looks at all rows before a map: from the records of one shard to a small table, a file of scratch each. Put
together they tell the next map what no shard can know by itself, and a rerun looks only at what nobody has looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import cluster
from pipeline.contract import DATA, REJECTS, Resources, Work
from pipeline.failures import UserError
from pipeline.records import REJECTED, Reject, table_of
from pipeline.sandbox import launch
from pipeline.shards import read_shard, shard_name, shard_paths
from pipeline.store import SCRATCH, write_table, write_text

Stage = Callable[[Sequence[Any]], tuple[list[Any], list[Reject]]]
Look = Callable[[Sequence[Any]], pa.Table]


@dataclass(frozen=True)
class ShardTask:
    """One shard to be mapped: the first `rows` rows of `source`, to `data` and `rejects`.

    `sandbox` is scratch: what ran the shard's code, where any was run.
    """

    source: Path
    rows: int
    data: Path
    rejects: Path
    sandbox: Path


@dataclass(frozen=True)
class Counts:
    """Rows of a map: `taken` is always `kept + rejected`. `sandbox` names the mechanisms that ran code, if any did."""

    taken: int
    kept: int
    rejected: int
    sandbox: tuple[str, ...] = ()

    def as_rows(self) -> dict[str, int]:
        return {"in": self.taken, "out": self.kept, "rejected": self.rejected}

    def as_facts(self) -> dict[str, Any]:
        return {"sandbox": list(self.sandbox)} if self.sandbox else {}


def map_shards(
    work: Work,
    source: Path,
    stage: Stage,
    record_in: Any,
    schema_out: pa.Schema,
    *,
    resources: Resources,
    limit: int | None = None,
    max_rejected: float = 1.0,
) -> Counts:
    """Map `stage` over the shards of `source` into the work's directory and count.

    Raises a data error where there are no rows, or where more than the share `max_rejected` was rejected.
    """
    tasks = plan_tasks(work.directory, source, limit)
    refuse_no_rows(work, source, tasks)
    make_shards(work, tasks, _Mapper(stage, record_in, schema_out), resources)
    return counted(work, tasks, max_rejected)


def survey_shards(
    work: Work, source: Path, look: Look, record_in: Any, *, resources: Resources, limit: int | None = None
) -> list[pa.Table]:
    """What `look` says of each shard of `source`, in the order of the shards."""
    tasks = plan_tasks(work.directory / SCRATCH / "survey", source, limit)
    refuse_no_rows(work, source, tasks)
    make_shards(work, tasks, _Surveyor(look, record_in), resources)
    return [pq.read_table(task.data) for task in tasks]


def refuse_no_rows(work: Work, source: Path, tasks: Sequence[ShardTask]) -> None:
    if not any(task.rows for task in tasks):
        raise UserError(
            "data", "there are no rows to work on.", f"node {work.name}, {source}", "Look at the node before."
        )


class Task(Protocol):
    """One shard to be made; it is whole once `data` is there."""

    @property
    def rows(self) -> int: ...
    @property
    def data(self) -> Path: ...


def make_shards(work: Work, tasks: Sequence[Task], make: Callable[[Any], dict[str, Any]], resources: Resources) -> None:
    """Call `make` for each task whose shard is missing, and tell the work how many rows are done."""
    missing = [task for task in tasks if not task.data.exists()]
    total = sum(task.rows for task in tasks)
    done = total - sum(task.rows for task in missing)
    work.progress(done, total, "rows")
    for result in for_each(missing, make, resources):
        done += result["rows"]
        work.progress(done, total, "rows")


def counted(work: Work, tasks: Sequence[ShardTask], max_rejected: float, spared: Sequence[str] = ()) -> Counts:
    """Count what was made. Raises a data error where more than the share `max_rejected` was rejected.

    Rows rejected for a reason among `spared` could have been used and were not wanted: they do not count there.
    """
    counts = _count(work.directory, tasks)
    _refuse_too_many_rejects(work, counts, max_rejected, spared)
    return counts


def plan_tasks(directory: Path, source: Path, limit: int | None) -> list[ShardTask]:
    """One task for each input shard, until `limit` rows are taken."""
    tasks: list[ShardTask] = []
    left = limit
    for path in shard_paths(source):
        rows = pq.read_metadata(path).num_rows
        rows = rows if left is None else min(rows, left)
        if left is not None:
            left -= rows
        if rows or not tasks:
            name = shard_name(len(tasks))
            note = sandbox_note(directory, Path(name).stem)
            tasks.append(ShardTask(path, rows, directory / DATA / name, directory / REJECTS / name, note))
    return tasks


def for_each(items: Sequence[Any], function: Callable[[Any], dict[str, Any]], resources: Resources) -> Iterator[Any]:
    """Call `function` on each item in Ray tasks, one item a task, and give the results as they come."""
    if not items:
        return
    cluster.connect()
    import ray

    cluster.data_context()
    # Neither `range` nor `from_arrow`: they ask tasks for blocks or metadata, for which Ray starts more workers.
    numbers = [{"id": number} for number in range(len(items))]
    dataset = ray.data.from_items(numbers, override_num_blocks=len(items)).map_batches(
        _Call(list(items), function),
        batch_size=1,
        num_cpus=resources.cpus,
        num_gpus=resources.gpus or None,
        **_turns(resources, len(items)),
    )
    yield from dataset.iter_rows()


def _turns(resources: Resources, items: int) -> dict[str, Any]:
    """How many tasks run at a time, as arguments for Ray Data.

    On a Ray of our own a custom resource holds them to it, and as many again are submitted: a worker that is done has
    its next task at once. Ray Data alone would submit that only when it has seen the end of the last.
    """
    import ray
    from ray.data import TaskPoolStrategy

    width = cluster.width(resources.concurrency) if not resources.gpus else resources.concurrency
    if width is None:
        return {"compute": TaskPoolStrategy()}
    if cluster.TURNS in ray.cluster_resources():
        return {"compute": TaskPoolStrategy(size=min(2 * width, items)), "resources": {cluster.TURNS: 1 / width}}
    return {"compute": TaskPoolStrategy(size=min(width, items))}


@dataclass(frozen=True)
class _Call:
    """Picks the items by number: the items themselves never become Arrow columns."""

    items: list[Any]
    function: Callable[[Any], dict[str, Any]]

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        results = [self.function(self.items[int(number)]) for number in batch["id"]]
        return {name: [result[name] for result in results] for name in results[0]}


@contextmanager
def sandbox_noted(note: Path) -> Iterator[None]:
    """Write to scratch what ran code meanwhile, where any was run; what ran for another shard is told there."""
    launch.used()
    yield
    if mechanisms := launch.used():
        write_text(note, " ".join(mechanisms))


def sandbox_note(directory: Path, name: str) -> Path:
    """Where the note of a shard or of one of its trials lies, in the scratch of a work's directory."""
    return directory / SCRATCH / "sandbox" / name


@dataclass(frozen=True)
class _Mapper:
    """Maps one shard. The data is written last: where that shard exists, the rejects and the note do."""

    stage: Stage
    record_in: Any
    schema_out: pa.Schema

    def __call__(self, task: ShardTask) -> dict[str, Any]:
        records = read_shard(task.source, self.record_in)[: task.rows]
        with sandbox_noted(task.sandbox):
            kept, rejected = self.stage(records)
        assert len(kept) + len(rejected) == len(records), "a stage lost or invented rows"
        write_table(task.rejects, table_of(rejected, REJECTED))
        write_table(task.data, table_of(kept, self.schema_out))
        return {"rows": task.rows}


@dataclass(frozen=True)
class _Surveyor:
    """Looks at one shard."""

    look: Look
    record_in: Any

    def __call__(self, task: ShardTask) -> dict[str, Any]:
        write_table(task.data, self.look(read_shard(task.source, self.record_in)[: task.rows]))
        return {"rows": task.rows}


def _count(directory: Path, tasks: Sequence[ShardTask]) -> Counts:
    taken = sum(task.rows for task in tasks)
    kept = sum(pq.read_metadata(task.data).num_rows for task in tasks)
    rejected = sum(pq.read_metadata(task.rejects).num_rows for task in tasks)
    assert taken == kept + rejected, f"{taken} rows in, {kept} out and {rejected} rejected"
    notes = [note.read_text(encoding="utf-8") for note in sandbox_note(directory, "").glob("[!.]*")]
    return Counts(taken, kept, rejected, tuple(sorted({name for note in notes for name in note.split()})))


def _refuse_too_many_rejects(work: Work, counts: Counts, max_rejected: float, spared: Sequence[str]) -> None:
    found = pq.read_table(work.directory / REJECTS, schema=REJECTED, columns=["reason"])
    reasons = found["reason"].value_counts().to_pylist()
    unused = sum(item["counts"] for item in reasons if item["values"] in spared)
    rejected = counts.rejected - unused
    if counts.kept and rejected <= max_rejected * counts.taken:
        return
    listed = ", ".join(f"{item['values']} {item['counts']}" for item in reasons if item["values"] not in spared)
    what = f"{rejected} of {counts.taken} rows were rejected ({listed})"
    allowed = "; raise max_rejected if they can be spared" if counts.kept else ""
    raise UserError(
        "data",
        f"{what}; at most {max_rejected:.0%} may be." if counts.kept else f"{what}: none is left.",
        f"node {work.name}",
        f"The rows and reasons are in {work.directory / REJECTS}{allowed}.",
    )
