"""What is held out stays held out: while it trains, no model is measured on rows that it learns from, or on test rows.

Rows come from roots: nodes of rows without inputs of rows, such as sources, each with the split that was taken. Two
nodes of rows have something in common where they have a root in common, whatever was made of its rows on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.contract import identity
from pipeline.failures import UserError

if TYPE_CHECKING:
    from kintsugi.experiment import Experiment
    from kintsugi.graph import Edge, Node

TEST = "test"
"""The split that the report is about; sweeps and training look at others."""

Roots = dict[str, "Edge"]
"""Rows of roots by identity: the artifact and the split taken of it."""


def refuse_leaks(experiment: Experiment, nodes: Mapping[str, Node]) -> None:
    """Raise a config error where rows that a node is measured on are test rows, or rows that it follows from."""
    for node in nodes.values():
        for edge in (edge for edge in node.inputs if not edge.keyed):
            measured = _roots(nodes, [edge], through_models=False)
            learnt = _roots(nodes, [other for other in node.inputs if other.keyed], through_models=True)
            where = experiment.where("nodes", node.origin, *edge.role.split("."))
            _refuse(measured, learnt, where)


def _refuse(measured: Roots, learnt: Roots, where: str) -> None:
    for root, edge in measured.items():
        what = f"the model would be measured on rows of {identity(edge.node, edge.split)}"
        if edge.split == TEST:
            hint = "Measure on another split, such as one called validation."
            raise UserError("config", f"{what}, which is kept for the report.", where, hint)
        if root in learnt:
            hint = "Measure on rows that nothing before the model is made of."
            raise UserError("config", f"{what}, from which it learns.", where, hint)


def _roots(nodes: Mapping[str, Node], edges: Sequence[Edge], *, through_models: bool) -> Roots:
    """The rows that those behind some edges were made of; what models on the way learnt from only `through_models`."""
    found: Roots = {}
    for edge in edges:
        node = nodes[edge.node]
        if node.kind.product == "models" and not through_models:
            continue
        above = [other for other in node.inputs if other.keyed]
        deeper = _roots(nodes, above, through_models=through_models)
        own = {identity(node.key, edge.split): edge} if node.kind.product == "rows" else {}
        found |= deeper or own
    return found
