"""Whether preference nodes learn from samples of the model that they start from: what can be told before anything runs.

Pairs from outside the graph are looked at when a model is trained (`training.stale`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.failures import UserError

if TYPE_CHECKING:
    from kintsugi.experiment import Experiment
    from kintsugi.graph import Node

TRAINS, PAIRS = "preference", "pair"


def refuse_stale_pairs(experiment: Experiment, nodes: Mapping[str, Node]) -> None:
    """Raise a config error where pairs were sampled from another model than a preference node's `init`."""
    for node in nodes.values():
        if node.kind.name != TRAINS or node.config.stale == "allow":
            continue
        init = next((edge.node for edge in node.inputs if edge.role == "init"), node.config.init)
        key = nodes[init].key if init in nodes else ""
        for sampled in sampled_models(nodes, node):
            if nodes[sampled].key != key:
                what = f"its pairs are samples of '{sampled}', but it starts from '{init}'."
                where = experiment.where("nodes", node.origin, "data")
                raise UserError("config", what, where, f"Sample answers of '{init}', or set `stale: allow`.")


def sampled_models(nodes: Mapping[str, Node], node: Node) -> Iterator[str]:
    """The models whose samples the pairs are that a node learns from."""
    role = "data" if node.kind.name == TRAINS else "input"
    for other in _named(nodes, node, role):
        if other.kind.name == PAIRS:
            for judged in _named(nodes, other, "input"):
                for answers in _named(nodes, judged, "input"):
                    yield from (model.name for model in _named(nodes, answers, "models"))
        else:
            yield from sampled_models(nodes, other)


def _named(nodes: Mapping[str, Node], node: Node, role: str) -> Iterator[Node]:
    """The inputs of a node in a role."""
    return (nodes[edge.node] for edge in node.inputs if edge.role == role)
