"""Experiments that commands make of their options: the same graph, store and logs as an experiment file has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kintsugi.experiment import Experiment
from kintsugi.graph import Graph, build
from pipeline.failures import UserError, nearest
from pipeline.store import Manifest, Store


@dataclass(frozen=True)
class Inline(Experiment):
    """An experiment without a file. Errors name the option that a key came from, by its node and name."""

    options: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def where(self, *path: str) -> str:
        """The option behind a key path, or the command where there is none."""
        if len(path) > 2 and (path[1], path[2]) in self.options:
            return self.options[path[1], path[2]]
        return f"{self.file}: {'.'.join(path[1:])}" if len(path) > 2 else self.file


@dataclass(frozen=True)
class Made:
    """One node that a command made: where its files are, and what its manifest says."""

    name: str
    directory: Path
    manifest: Manifest


def inline(
    command: str, name: str, nodes: dict[str, dict[str, Any]], options: Mapping[tuple[str, str], str], seed: int = 0
) -> Graph:
    """The graph of a command's nodes. Keys whose value is None are left to their defaults."""
    given = {node: {key: value for key, value in raw.items() if value is not None} for node, raw in nodes.items()}
    return build(Inline(run_name(command, name), seed, given, f"kintsugi {command}", options=options))


def run_name(command: str, name: str) -> str:
    """The folder under runs/ of a command: its logs, and the names by which `view` and `export` find its nodes."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    return f"{command}-{plain}" if plain else command


def names_of(models: Sequence[str]) -> dict[str, str]:
    """Models by names of their own, for nodes and tables: the last part of a path, numbered where it comes up twice."""
    named: dict[str, str] = {}
    taken = {"prompts", "answers", "scores", "report", "judged", "duels", "ranked", "judge-model"}
    for model in models:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(model).name.rpartition(":")[2]).strip("-") or "model"
        stem = stem if stem[0].isalpha() else f"model-{stem}"
        candidates = (stem, *(f"{stem}-{number}" for number in range(2, len(models) + 3)))
        name = next(candidate for candidate in candidates if candidate not in taken)
        taken.add(name)
        named[name] = model
    return named


def made(graph: Graph, store: Store, name: str) -> Made:
    """A node of a graph that was executed."""
    node = graph.nodes[name]
    manifest = store.require(node.kind.product, node.key)
    return Made(name, store.directory(node.kind.product, node.key), manifest)


def is_made(graph: Graph, store: Store) -> bool:
    """Whether everything that the graph makes is in the store."""
    return all(store.manifest(node.kind.product, node.key) is not None for node in graph.nodes.values())


def refuse_unless_one_of(value: str, known: Sequence[str], option: str, what: str) -> None:
    """Raise a config error for a value that is not among the known ones."""
    if value not in known:
        raise UserError("config", f"there is no {what} '{value}'.", option, nearest(value, list(known)))
