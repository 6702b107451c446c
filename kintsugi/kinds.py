"""Every node kind there is, by the name that experiment files use."""

from __future__ import annotations

from eval.nodes import Compare, Generate, Injections, Likelihood, Score
from eval.pair_nodes import Collected, Pair
from eval.steering_nodes import Steering
from eval.versus_nodes import Versus
from eval.worth.nodes import Worth
from pipeline.attributes.nodes import Classify, Condition, Sentences
from pipeline.contract import NodeKind
from pipeline.llm.nodes import Rectify, TagKind
from pipeline.nodes import Annotate, Embed, Select, Source
from pipeline.noise.nodes import FewShot, Noise
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
        FewShot(),
        Noise(),
        Pair(),
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
        Collected(),
        Compare(),
        Worth(),
        Steering(),
    )
}
