"""The experiment graph: matrix and fan-out expansion, references, order and content keys."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, get_args, get_origin

from kintsugi.experiment import Experiment, checked
from kintsugi.held_out import refuse_leaks
from kintsugi.kinds import KINDS
from kintsugi.rounds import in_round, unrolled
from kintsugi.stale import refuse_stale_pairs
from pipeline.contract import KEYED, UNKEYED, NodeConfig, NodeKind, Reference, is_keyed
from pipeline.failures import UserError, nearest
from pipeline.store import content_key

EXPANDING = ("matrix", "arms")
"""Keys that make several nodes of one."""


@dataclass(frozen=True)
class Edge:
    """One input of a node: the field it stands in, the node it names, and the split."""

    role: str
    node: str
    split: str = ""

    @property
    def keyed(self) -> bool:
        """Whether the node follows from this input."""
        return is_keyed(self.role)


@dataclass(frozen=True)
class Node:
    """One node after expansion. `origin` is its name in the file, `label` tells it apart from its siblings."""

    name: str
    origin: str
    label: str
    kind: NodeKind
    config: Any
    inputs: tuple[Edge, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Graph:
    """Every node by name, in an order in which they can be made."""

    experiment: Experiment
    nodes: dict[str, Node]

    def upstream(self, name: str, *, keyed: bool = False) -> set[str]:
        """The names of all nodes that must be made before this one; with `keyed` those alone that it follows from."""
        direct = {edge.node for edge in self.nodes[name].inputs if edge.keyed or not keyed}
        return direct.union(*(self.upstream(other, keyed=keyed) for other in direct))


@dataclass(frozen=True)
class Draft:
    """A node before its references are resolved: the raw config and where it stands in the file."""

    name: str
    origin: str
    label: str
    raw: dict[str, Any]


def build(experiment: Experiment) -> Graph:
    """Expand, resolve, order and key an experiment. Raises config errors that name the line."""
    experiment = unrolled(experiment)
    drafts = [draft for name, raw in experiment.nodes.items() for draft in expanded(experiment, name, raw)]
    nodes = _fan_out(experiment, [_typed(experiment, draft) for draft in drafts])
    _refuse_same_names(experiment, nodes)
    resolved = {node.name: replace(node, inputs=_edges(experiment, node, nodes)) for node in nodes}
    ordered = [resolved[name] for name in _order(experiment, resolved)]
    nodes_by_name = _keyed(experiment, ordered)
    refuse_leaks(experiment, nodes_by_name)
    refuse_stale_pairs(experiment, nodes_by_name)
    return Graph(experiment, nodes_by_name)


def with_config(graph: Graph, node: Node, config: NodeConfig) -> Node:
    """The node with another config, keyed anew; its inputs stay what they are."""
    changed = replace(node, config=config)
    return replace(changed, key=_key(graph.experiment, changed, graph.nodes))


def expanded(experiment: Experiment, name: str, raw: dict[str, Any]) -> list[Draft]:
    """One draft for each of `arms` in each combination of `matrix`; the node itself where it has neither."""
    raw = dict(raw)
    matrix, arms = raw.pop("matrix", None), raw.pop("arms", None)
    if matrix is None and arms is None:
        return [Draft(name, name, "", raw)]
    listed = [{}] if arms is None else _arms(experiment, name, arms)
    varied = [{}] if matrix is None else _matrix(experiment, name, matrix, [raw, *listed])
    combinations = [{**arm, **variant} for arm in listed for variant in varied]
    labels = ["-".join(_label(*item) for item in combination.items()) for combination in combinations]
    return [
        Draft(f"{name}/{label}", name, label, {**raw, **combination})
        for label, combination in zip(labels, combinations, strict=True)
    ]


def _label(field: str, value: Any) -> str:
    """A value as a part of a node's name, which is a part of paths too."""
    if value is None:
        return f"no-{field}"
    if isinstance(value, dict):
        return "-".join([field, *(_inner_label(key, inner) for key, inner in value.items())])
    if isinstance(value, list):
        return "+".join(map(str, value)) or f"no-{field}"
    return str(value)


def _inner_label(key: str, value: Any) -> str:
    """A key of a mapping with its value: `rank8`, `rejected-spans`, `eos` or `no-eos`."""
    if isinstance(value, bool):
        return key if value else f"no-{key}"
    if value is None or isinstance(value, dict):
        return _label(key, value)
    return f"{key}-{value}" if isinstance(value, str) else f"{key}{_label(key, value)}"


def _matrix(experiment: Experiment, name: str, matrix: Any, given: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    where = experiment.where("nodes", name, "matrix")
    if not isinstance(matrix, dict) or not all(isinstance(values, list) and values for values in matrix.values()):
        raise UserError(
            "config", "a matrix maps fields to lists of values.", where, "For example {loss: [dpo, tdpo2]}."
        )
    for field in matrix:
        if any(field in other for other in given):
            where = experiment.where("nodes", name, "matrix", field)
            what = f"'{field}' is given in the matrix and in the node or its arms."
            raise UserError("config", what, where, "Remove one.")
    return [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())]


def _arms(experiment: Experiment, name: str, arms: Any) -> list[dict[str, Any]]:
    where = experiment.where("nodes", name, "arms")
    if not isinstance(arms, list) or not arms or not all(isinstance(arm, dict) and arm for arm in arms):
        raise UserError("config", "arms is a list of mappings.", where, "For example [{loss: dpo, mask: granular}].")
    return arms


def _typed(experiment: Experiment, draft: Draft) -> Node:
    place = ("nodes", draft.origin)
    kind_name = draft.raw.get("kind")
    if kind_name is None:
        raise UserError("config", "the node has no kind.", experiment.where(*place), f"Kinds: {', '.join(KINDS)}.")
    if not isinstance(kind_name, str) or kind_name not in KINDS:
        where = experiment.where(*place, "kind")
        raise UserError("config", f"there is no kind '{kind_name}'.", where, nearest(str(kind_name), list(KINDS)))
    kind = KINDS[kind_name]
    raw = {"seed": experiment.seed, **draft.raw}
    config = checked(kind.Config, raw, experiment, place, EXPANDING)
    named = in_round(experiment, draft.origin, raw, kind.inputs(config))
    if named is not raw:
        config = checked(kind.Config, named, experiment, place, EXPANDING)
    return Node(draft.name, draft.origin, draft.label, kind, config)


def _fan_out(experiment: Experiment, nodes: Sequence[Node]) -> list[Node]:
    """Multiply each node whose kind fans out: one node for every node that the field refers to."""
    result = list(nodes)
    pending = [node for node in nodes if node.kind.fan_out]
    while pending:
        node = next((node for node in pending if not _refers_to(node, pending)), pending[0])
        pending.remove(node)
        place = result.index(node)
        result[place : place + 1] = _members(experiment, node, result)
    return result


def _fanned_references(node: Node) -> list[str]:
    value = getattr(node.config, str(node.kind.fan_out))
    return value if isinstance(value, list) else [value]


def _refers_to(node: Node, others: Sequence[Node]) -> bool:
    names = {name for other in others for name in (other.origin, _group(other))}
    return any(text in names for text in _fanned_references(node))


def _members(experiment: Experiment, node: Node, nodes: Sequence[Node]) -> list[Node]:
    """The members of a fanned-out node. A member of a member keeps its label: scores/x judges answers/x."""
    field = str(node.kind.fan_out)
    members = []
    for text in _fanned_references(node):
        targets, split = _targets(experiment, node, Reference(field, text, ()), nodes)
        for target in targets:
            short = target.label if target.kind.fan_out else target.name
            reference = f"{target.name}.{split}" if split else target.name
            config = node.config.model_copy(update={field: reference})
            label = f"{node.label}/{short}" if node.label else short
            members.append(Node(f"{node.name}/{short}", node.origin, label, node.kind, config))
    return members


def _group(node: Node) -> str:
    """What the nodes of all rounds of a `repeat` are called together: `policy` of `policy/1`; else nothing."""
    return node.origin.rpartition("/")[0]


def _targets(experiment: Experiment, node: Node, reference: Reference, nodes: Sequence[Node]) -> tuple[list[Node], str]:
    """The nodes that a reference means (one, or every member of a group) and the split it names."""
    for text, split in ((reference.text, ""), (reference.text.rpartition(".")[0], reference.text.rpartition(".")[2])):
        exact = [other for other in nodes if text == other.name]
        members = [other for other in nodes if text == other.origin]
        found = exact or members or [other for other in nodes if text and text == _group(other)]
        if found:
            return found, split
    if reference.open:
        return [], ""
    where = experiment.where("nodes", node.origin, *reference.role.split("."))
    hint = nearest(reference.text.split(".")[0], sorted({other.origin for other in nodes}))
    raise UserError("config", f"'{reference.text}' refers to no node.", where, hint)


def _edges(experiment: Experiment, node: Node, nodes: Sequence[Node]) -> tuple[Edge, ...]:
    edges = []
    for reference in node.kind.inputs(node.config):
        targets, split = _targets(experiment, node, reference, nodes)
        if len(targets) > 1 and not _takes_several(node.config, reference.role):
            where = experiment.where("nodes", node.origin, *reference.role.split("."))
            names = ", ".join(target.name for target in targets)
            raise UserError("config", f"'{reference.text}' is {len(targets)} nodes.", where, f"Name one of: {names}.")
        edges += [_edge(experiment, node, reference, target, split) for target in targets]
    return tuple(edges)


def _takes_several(config: NodeConfig, role: str) -> bool:
    """Whether a field may hold a list of references: then the name of a group means all of its members."""
    if "." in role:
        return False
    annotation = type(config).model_fields[role].annotation
    return list in {get_origin(option) for option in (annotation, *get_args(annotation))}


def _edge(experiment: Experiment, node: Node, reference: Reference, target: Node, split: str) -> Edge:
    where = experiment.where("nodes", node.origin, *reference.role.split("."))
    if target.kind.product not in reference.products:
        wanted = " or ".join(reference.products)
        what = f"'{reference.text}' gives {target.kind.product}, but {reference.role} takes {wanted}."
        raise UserError("config", what, where, f"Name a node that gives {wanted}.")
    splits = target.kind.splits(target.config)
    if splits and not split:
        raise UserError(
            "config", f"'{target.name}' has splits.", where, f"Name one, such as {target.name}.{splits[0]}."
        )
    if split and split not in splits:
        hint = nearest(split, list(splits)) if splits else "It has no splits: leave that off."
        raise UserError("config", f"'{target.name}' has no split '{split}'.", where, hint)
    return Edge(reference.role, target.name, split)


def _refuse_same_names(experiment: Experiment, nodes: Sequence[Node]) -> None:
    seen: set[str] = set()
    for node in nodes:
        if node.name in seen:
            where = experiment.where("nodes", node.origin)
            raise UserError("config", f"'{node.name}' comes up twice.", where, "Remove the repeated combination.")
        seen.add(node.name)


def _order(experiment: Experiment, nodes: dict[str, Node]) -> list[str]:
    """The order of the file, but for nodes that must come earlier."""
    try:
        TopologicalSorter({node.name: [edge.node for edge in node.inputs] for node in nodes.values()}).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        where = experiment.where("nodes", nodes[circle[0]].origin)
        raise UserError("config", f"the graph has a cycle: {' -> '.join(circle)}.", where, "Break it.") from None
    ordered: dict[str, None] = {}

    def place(name: str) -> None:
        for edge in nodes[name].inputs:
            if edge.node not in ordered:
                place(edge.node)
        ordered[name] = None

    for name in nodes:
        place(name)
    return list(ordered)


def _keyed(experiment: Experiment, ordered: Sequence[Node]) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for node in ordered:
        nodes[node.name] = replace(node, key=_key(experiment, node, nodes))
    return nodes


def _key(experiment: Experiment, node: Node, upstream: dict[str, Node]) -> str:
    """Hash of kind, version, config and inputs; names count only where they are part of the result."""
    named = node.kind.named_inputs
    inside = frozenset(edge.role for edge in node.inputs)
    config: NodeConfig = node.config
    return content_key(
        {
            "kind": node.kind.name,
            "version": node.kind.version,
            "config": config.model_dump(
                mode="json", exclude={*UNKEYED, *inside, *node.kind.outside_fields}, context=KEYED
            ),
            "outside": _outside(experiment, node, inside),
            "inputs": [
                [edge.role, upstream[edge.node].key, edge.split, *([edge.node] if named else [])]
                for edge in node.inputs
                if edge.keyed
            ],
            **({"experiment": experiment.name} if named else {}),
        }
    )


def _outside(experiment: Experiment, node: Node, inside: frozenset[str]) -> dict[str, str]:
    """What the node depends on outside the store. Kinds name a field where it is at fault; the file has its line."""
    try:
        return node.kind.outside(node.config, inside)
    except UserError as error:
        fields = {info.alias or name for name, info in type(node.config).model_fields.items()}
        if error.where not in fields:
            raise
        where = experiment.where("nodes", node.origin, error.where)
        raise UserError(error.kind, error.what, where, error.hint) from None
