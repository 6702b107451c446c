"""What is held out stays held out: while it trains, no model is measured on rows that it learns from, or on test rows.

Rows come from roots: nodes of rows without inputs of rows, such as sources, each with the split that was taken. Two
nodes of rows have something in common where they have a root in common, whatever was made of its rows on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.failures import UserError

if TYPE_CHECKING:
    from kintsugi.experiment import Experiment
    from kintsugi.graph import Edge, Node

TEST = "test"
"""The split that the report is about; sweeps and training look at others."""

Root = tuple[str, str]
"""A node of rows and the split taken of it, empty where it has none."""


def refuse_leaks(experiment: Experiment, nodes: Mapping[str, Node]) -> None:
    """Raise a config error where rows that a node is measured on are test rows, or rows that it follows from."""
    for node in nodes.values():
        for edge in (edge for edge in node.inputs if not edge.keyed):
            measured = _roots(nodes, edge, through_models=False)
            learnt = set().union(*(_roots(nodes, other, through_models=True) for other in node.inputs if other.keyed))
            where = experiment.where("nodes", node.origin, *edge.role.split("."))
            _refuse(measured, learnt, where)


def _refuse(measured: set[Root], learnt: set[Root], where: str) -> None:
    for name in sorted(name for name, split in measured if split == TEST):
        what = f"the model would be measured on rows of {name}.{TEST}, which is kept for the report."
        raise UserError("config", what, where, "Measure on another split, such as one called validation.")
    for name, split in sorted(measured & learnt):
        what = f"the model would be measured on rows of {f'{name}.{split}' if split else name}, from which it learns."
        raise UserError("config", what, where, "Measure on a split that nothing before the model is made of.")


def _roots(nodes: Mapping[str, Node], edge: Edge, *, through_models: bool) -> set[Root]:
    """Where the rows behind an edge come from; those that a model on the way has learnt from only `through_models`."""
    node = nodes[edge.node]
    if node.kind.product == "models" and not through_models:
        return set()
    above = [_roots(nodes, other, through_models=through_models) for other in node.inputs if other.keyed]
    found = set().union(*above)
    return {(edge.node, edge.split)} if node.kind.product == "rows" and not found else found
