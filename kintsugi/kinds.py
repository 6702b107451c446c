"""Every node kind there is, by the name that experiment files use."""

from __future__ import annotations

from eval.nodes import Compare, Generate, Injections, Likelihood, Score, Versus
from eval.steering_nodes import Steering
from pipeline.attributes.nodes import Classify, Condition, Sentences
from pipeline.contract import NodeKind
from pipeline.llm.nodes import Rectify, TagKind
from pipeline.nodes import Annotate, Embed, Select, Source
from training.nodes import Import, Preference, Sft

KINDS: dict[str, NodeKind] = {
    kind.name: kind
    for kind in (
        Source(),
        Select(),
        Rectify(),
        TagKind(),
        Embed(),
        Annotate(),
        Sentences(),
        Classify(),
        Condition(),
        Import(),
        Sft(),
        Preference(),
        Generate(),
        Likelihood(),
        Score(),
        Injections(),
        Versus(),
        Compare(),
        Steering(),
    )
}
