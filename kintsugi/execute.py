"""Makes what an experiment lacks: node after node, models that can share workers in one go."""

from __future__ import annotations

import re
import shutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import shorten

from kintsugi.console import Screen, captured
from kintsugi.graph import Graph, Node
from pipeline import cluster
from pipeline.contract import NOTES, Source, Work, identity
from pipeline.failures import UserError
from pipeline.llm.config import secret, writers
from pipeline.store import (
    MANIFEST,
    Manifest,
    Store,
    lease,
    read_manifest,
    remove_abandoned,
    write_atomically,
    write_json,
    write_text,
)

PACKAGES = "working_dir_files"
"""Ray unpacks a job's files below a directory of this name, and removes them when it likes."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RAISED = re.compile(r"^[\w.]*(?:Error|Exception): .*(?:\n[ \t]+.*)*", re.MULTILINE)
"""How a traceback ends: type and message, and the indented lines of a long one."""

REASON_LENGTH = 300

ENVIRONMENT = {"--store": "KINTSUGI_STORE", "--runs": "KINTSUGI_RUNS"}


@dataclass(frozen=True)
class Place:
    """Where artifacts and runs are kept. Paths are absolute: workers run in directories of their own."""

    store: Store
    runs: Path

    def run_directory(self, graph: Graph) -> Path:
        return self.runs / graph.experiment.name

    def check(self) -> None:
        """Raise a config error where a directory would not outlast the run, or is none."""
        for option, path in (("--store", self.store.root), ("--runs", self.runs)):
            if any(re.fullmatch(r"[a-z0-9+]{2,}:", part) for part in path.parts):
                hint = "Buckets are not supported: mount a shared file system and name a directory on it."
                raise UserError("config", f"{option} is a directory, not a URI.", str(path), hint)
            if PACKAGES in path.parts:
                hint = f"Give a directory that stays, as {option} DIR or {ENVIRONMENT[option]}=DIR on the cluster."
                raise UserError("config", f"{option} lies in the job's own files, which Ray removes.", str(path), hint)


def manifests(graph: Graph, store: Store) -> dict[str, Manifest]:
    """The manifests of the nodes that are made, by name."""
    found = {node.name: store.manifest(node.kind.product, node.key) for node in graph.nodes.values()}
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def execute(graph: Graph, place: Place, screen: Screen) -> None:
    """Make every missing node. What is made stays made, whatever happens to the rest."""
    place.check()
    remove_abandoned(place.store.root)
    run = place.run_directory(graph)
    write_json(run / "nodes.json", {node.name: f"{node.kind.product}/{node.key}" for node in graph.nodes.values()})
    found = manifests(graph, place.store)
    made = set(found)
    for node in graph.nodes.values():
        if node.name in made:
            inputs = {edge.role: identity(graph.nodes[edge.node].key, edge.split) for edge in node.inputs}
            screen.reused(node.name, node.kind.unmet(node.config, inputs, found[node.name]))
    with captured(run / "logs" / "run.log"):
        try:
            _make_missing(graph, made, place, screen)
        except KeyboardInterrupt:
            screen.stopping()
            raise
        finally:
            disconnect()
    _publish_reports(graph, place)


def _make_missing(graph: Graph, made: set[str], place: Place, screen: Screen) -> None:
    _check_keys(node for name, node in graph.nodes.items() if name not in made)
    shared = cluster.SharedStore(place.store.root)
    while batch := next_batch(graph, made):
        shared.check()
        try:
            _make(graph, batch, place, screen)
        except UserError:
            shared.check()  # a node that joined meanwhile and lacks the store says more than what failed there
            raise
        made.update(node.name for node in batch)


def _check_keys(missing: Iterable[Node]) -> None:
    """Raise an environment error for an endpoint's key that is not set: now, not hours into the run."""
    for node in missing:
        for writer in writers(node.config):
            if writer.backend == "endpoint":
                secret(writer)


def next_batch(graph: Graph, made: set[str]) -> list[Node]:
    """The nodes to make next, in order: one, or all of a group that need nothing but each other.

    Small batches come first, so that a group starts as late and as large as it can. A node waits for everything
    upstream of it, not only its inputs: a report looks at the models behind the scores.
    """
    missing = [node for node in graph.nodes.values() if node.name not in made]
    ready = [node for node in missing if graph.upstream(node.name) <= made]
    if not ready:
        assert not missing, "the graph is ordered, so something is ready while something is missing"
        return []
    batches = [_with_group(graph, node, missing, made) for node in ready]
    return min(batches, key=len)


def _with_group(graph: Graph, first: Node, missing: Sequence[Node], made: set[str]) -> list[Node]:
    """A ready node and every missing node of its group that needs only what is made or earlier in the batch."""
    group = first.kind.group(first.config)
    if group is None:
        return [first]
    batch: list[Node] = []
    known = set(made)
    for node in missing:
        if node.kind.group(node.config) == group and graph.upstream(node.name) <= known:
            batch.append(node)
            known.add(node.name)
    return batch


def _make(graph: Graph, batch: Sequence[Node], place: Place, screen: Screen) -> None:
    logs = place.run_directory(graph) / "logs"
    # Nodes of one key are one artifact, whatever their names.
    artifacts = {node.key: node for node in reversed(batch)}
    with ExitStack() as stack:
        # In the order of keys, so that two runs that share nodes cannot wait for each other.
        for key in sorted(artifacts):
            lock = place.store.lock(artifacts[key].kind.product, key)
            stack.enter_context(lease(lock, partial(screen.waiting, artifacts[key].name)))
        missing = [node for node in batch if artifacts[node.key] is node and _absent(node, place.store)]
        if not missing:
            return
        if any(wants_gpus(node) for node in missing):
            stack.enter_context(cluster.gpu_turn(partial(screen.waiting, missing[0].name, "uses the GPUs")))
        log = logs / f"{missing[0].name}.log"
        for node in missing[1:]:
            write_text(logs / f"{node.name}.log", f"Made in one go with {missing[0].name}: see {log}\n")
        stack.enter_context(screen.making([node.name for node in missing], log))
        works = [_watched(work_of(graph, node, place.store), screen) for node in missing]
        with _failures_explained(missing[0].name, log):
            missing[0].kind.make(works)
    notes: dict[str, list[str]] = {}
    for node in batch:
        manifest = place.store.manifest(node.kind.product, node.key)
        if manifest is None:
            where = str(logs / f"{node.name}.log")
            raise UserError("run", f"'{node.name}' was not made.", where, "The log says why.")
        for note in manifest.facts.get(NOTES, []):
            notes.setdefault(note, []).append(node.name)
    for note, names in notes.items():
        screen.note(names, note)


def wants_gpus(node: Node) -> bool:
    resources = getattr(node.config, "resources", None)
    return resources is not None and resources.gpus > 0


def _absent(node: Node, store: Store) -> bool:
    """Whether the artifact must be made. One that was whole once and is damaged now is removed first."""
    directory = store.directory(node.kind.product, node.key)
    if read_manifest(directory) is not None:
        return False
    if (directory / MANIFEST).exists():
        shutil.rmtree(directory)
    return True


@contextmanager
def _failures_explained(name: str, log: Path) -> Iterator[None]:
    """Turn whatever a library raises into an error that says where to look; the traceback goes to the log."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        told = told_by_us(error)
        if told is not None:
            raise UserError(*told.args) from error
        hint = "What was made is kept; the same command goes on from here. The traceback is in the log."
        raise UserError("run", f"'{name}' failed: {reason_of(error)}", str(log), hint) from error


def reason_of(error: BaseException) -> str:
    """Type and message, in a line, of what was raised. Of a lost actor Ray has the traceback as text: its end."""
    while (inner := getattr(error, "cause", None)) is not None:
        error = inner
    text = COLOUR.sub("", f"{type(error).__name__}: {error}")
    raised = RAISED.findall(text) or text.splitlines()[:1]
    return shorten(raised[-1], REASON_LENGTH, placeholder=" ...")


def told_by_us(error: BaseException | None) -> UserError | None:
    """The user's error at the bottom of what Ray wrapped around it."""
    while error is not None:
        if type(error) is UserError:
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None


def work_of(graph: Graph, node: Node, store: Store) -> Work:
    """What is needed to make a node of a graph in a store."""
    sources = []
    for edge in node.inputs:
        other = graph.nodes[edge.node]
        root = store.directory(other.kind.product, other.key)
        sources.append(Source(edge.role, other.name, other.kind.product, other.key, edge.split, root))
    directory = store.directory(node.kind.product, node.key)
    directory.mkdir(parents=True, exist_ok=True)
    return Work(
        experiment=graph.experiment.name,
        name=node.name,
        kind=node.kind.name,
        version=node.kind.version,
        product=node.kind.product,
        key=node.key,
        config=node.config,
        directory=directory,
        sources=sources,
    )


def _watched(work: Work, screen: Screen) -> Work:
    return replace(work, progress=screen.progress_of(work.name), finished=partial(screen.finish, work.name))


def _publish_reports(graph: Graph, place: Place) -> None:
    """Copy each comparison to runs/<experiment>/; the one called `report`, or the only one, to report/."""
    tables = [node for node in graph.nodes.values() if node.kind.product == "tables"]
    for node in tables:
        name = "report" if len(tables) == 1 else node.name
        for path in place.store.directory("tables", node.key).iterdir():
            if path.name != "manifest.json":
                target = place.run_directory(graph) / name / path.name
                write_atomically(target, partial(shutil.copyfile, path))


def disconnect() -> None:
    """Stop the local Ray, or leave the cluster, where Ray was used at all."""
    if "ray" in sys.modules:
        cluster.disconnect()
