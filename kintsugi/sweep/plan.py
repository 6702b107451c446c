"""From a sweep file to its plan: the nodes that all trials share, one template for each arm, and the settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kintsugi.experiment import Experiment
from kintsugi.graph import EXPANDING, Graph, Node, build, expanded, with_config
from kintsugi.sweep.config import VALIDATION, Dimension, Sweep
from kintsugi.sweep.space import Setting, drawn, grid
from pipeline.failures import UserError, nearest
from pipeline.store import content_key
from training.configs import PreferenceConfig
from training.objectives import parameters

HELD_OUT = {VALIDATION, "test"}
"""Splits on which no trial may have been trained."""


@dataclass(frozen=True)
class Arm:
    """One variant of the tuned node. `template` is a node like its trials but for the setting."""

    name: str
    fields: dict[str, Any]
    space: dict[str, Dimension]
    template: Node


@dataclass(frozen=True)
class Planned:
    """One trial to come. Its setting is None where the results of others decide on it."""

    arm: str
    number: int
    setting: Setting | None

    @property
    def name(self) -> str:
        return f"{self.arm}/{self.number}"


@dataclass(frozen=True)
class Plan:
    """Everything that is known before a trial runs. `shared` holds the nodes that trials and their judgement need."""

    sweep: Sweep
    graph: Graph
    shared: Experiment
    arms: dict[str, Arm]
    trials: list[Planned]

    def node_of(self, arm: str, setting: Setting) -> Node:
        """The model node of a trial: the same as in an experiment that names this setting."""
        template = self.arms[arm].template
        return with_config(self.graph, template, with_setting(template.config, setting))

    def fingerprint(self) -> str:
        """What records of trials must agree in to be compared; not how many there are or how they are run."""
        config = self.sweep.config
        return content_key(
            {
                "space": config.space.model_dump(mode="json"),
                "how": [config.seed, config.search, config.scheduler, config.grace, config.metric],
                "arms": {arm.name: arm.template.key for arm in self.arms.values()},
                "evaluation": [config.evaluation.limit, config.evaluation.times, self.evaluation_key()],
            }
        )

    def evaluation_key(self) -> str:
        return self.graph.nodes[data_node(self.sweep)].key


def make_plan(sweep: Sweep) -> Plan:
    """Check a sweep against its experiment and plan its trials. Raises config errors that name the line."""
    _check_evaluation(sweep)
    combinations = _combinations(sweep)
    before = _before_tuned(sweep)
    full = with_arms(sweep, before, [{**fields, **_placeholder(sweep, fields)} for fields in combinations])
    everything = build(full)
    members = [node for node in everything.nodes.values() if node.origin == sweep.config.arms.node]
    _refuse_training_on_held_out(sweep, everything, members)
    shared = _shared(sweep, full, everything, members)
    arms = [
        Arm(_label(fields), fields, _space_of(sweep, fields), node)
        for fields, node in zip(combinations, members, strict=True)
    ]
    _check_space(sweep, arms)
    graph = build(shared)
    return Plan(sweep, graph, shared, {arm.name: arm for arm in arms}, _trials(sweep, arms))


def with_setting(config: Any, setting: Setting) -> Any:
    """A node's config with the values of a trial, checked like a written one."""
    return type(config).model_validate({**config.model_dump(by_alias=True), **setting})


def data_node(sweep: Sweep) -> str:
    return sweep.config.evaluation.data.rpartition(".")[0]


def with_arms(sweep: Sweep, experiment: Experiment, arms: list[dict[str, Any]]) -> Experiment:
    """The experiment with these arms, and no others, in the tuned node."""
    name = sweep.config.arms.node
    raw = {key: value for key, value in experiment.nodes[name].items() if key not in EXPANDING}
    swept = {key for arm in arms for key in arm}
    kept = {key: value for key, value in {**raw, **sweep.config.arms.set}.items() if key not in swept}
    return replace(experiment, nodes={**experiment.nodes, name: {**kept, "arms": arms}})


def _check_evaluation(sweep: Sweep) -> None:
    node, _, split = sweep.config.evaluation.data.rpartition(".")
    place = ("evaluation", "data")
    if split != VALIDATION:
        raise sweep.refuse(
            f"trials are judged on a split called {VALIDATION}, not on '{sweep.config.evaluation.data}'.",
            f"Name one, such as {node or 'qa'}.{VALIDATION}; the test split is for the report on the best.",
            *place,
        )
    if node not in sweep.experiment.nodes:
        raise sweep.refuse(f"there is no node '{node}'.", nearest(node, list(sweep.experiment.nodes)), *place)


def _combinations(sweep: Sweep) -> list[dict[str, Any]]:
    """The fields of each arm, the tuned ones and the seed left out."""
    name, experiment = sweep.config.arms.node, sweep.experiment
    place = ("arms", "node")
    if name not in experiment.nodes:
        raise sweep.refuse(f"there is no node '{name}'.", nearest(name, list(experiment.nodes)), *place)
    raw = experiment.nodes[name]
    if raw.get("kind") not in ("preference", "sft"):
        raise sweep.refuse(f"'{name}' is of kind {raw.get('kind')}.", "Tune a preference or sft node.", *place)
    if sweep.config.arms.matrix is not None:
        raw = {**raw, "matrix": sweep.config.arms.matrix}
        raw.pop("arms", None)
    lonely = replace(experiment, nodes={name: raw})
    found = _own_combinations(lonely, name)
    tuned = {*sweep.config.space.dimensions(), "seed"}
    return _distinct({key: value for key, value in fields.items() if key not in tuned} for fields in found)


def _own_combinations(experiment: Experiment, name: str) -> list[dict[str, Any]]:
    raw = experiment.nodes[name]
    keys = {*(raw.get("matrix") or {}), *(key for arm in raw.get("arms") or [] for key in arm)}
    return [{key: draft.raw[key] for key in draft.raw if key in keys} for draft in expanded(experiment, name, raw)]


def _distinct(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({content_key(item): item for item in items}.values())


def _before_tuned(sweep: Sweep) -> Experiment:
    """The experiment without what follows from the tuned node: its arms will have other names."""
    graph, tuned = build(sweep.experiment), sweep.config.arms.node
    origins = {name: node.origin for name, node in graph.nodes.items()}
    after = {origins[name] for name in graph.nodes if any(origins[other] == tuned for other in graph.upstream(name))}
    nodes = {name: raw for name, raw in sweep.experiment.nodes.items() if name not in after}
    return replace(sweep.experiment, nodes=nodes)


def _label(fields: dict[str, Any]) -> str:
    return "-".join(str(value).replace("/", "_") for value in fields.values()) or "only"


def _placeholder(sweep: Sweep, fields: dict[str, Any]) -> dict[str, Any]:
    """Some setting of the space, so that templates are whole nodes, and the seed of all trials."""
    return {**drawn(_space_of(sweep, fields), 0, "", 1)[0], "seed": sweep.config.seeds[0]}


def _space_of(sweep: Sweep, fields: dict[str, Any]) -> dict[str, Dimension]:
    """The dimensions that an arm reads: the learning rate, and what its loss does."""
    raw = {**sweep.experiment.nodes[sweep.config.arms.node], **sweep.config.arms.set, **fields}
    read = {"learning_rate"}
    if raw.get("kind") == "preference":
        read.update(parameters(raw.get("loss", PreferenceConfig.model_fields["loss"].default)))
    return {name: value for name, value in sweep.config.space.dimensions().items() if name in read}


def _check_space(sweep: Sweep, arms: list[Arm]) -> None:
    for name, dimension in sweep.config.space.dimensions().items():
        if not any(name in arm.space for arm in arms):
            raise sweep.refuse(f"no arm reads '{name}'.", "Remove it from the space.", "space", name)
        if sweep.config.search == "grid" and dimension.choice is None:
            raise sweep.refuse("a grid needs lists of values.", "For example [1e-5, 1e-4].", "space", name)
    for arm in arms:
        if not arm.space:
            raise sweep.refuse(f"the arm {arm.name} reads nothing of the space.", "Leave the arm out.", "space")
        size = len(grid(arm.space, 0, ""))
        if sweep.config.search == "grid" and sweep.config.trials > size:
            hint = f"Ask for {size} at most: every arm gets the same number."
            raise sweep.refuse(f"the grid of {arm.name} has {size} settings only.", hint, "trials")


def _refuse_training_on_held_out(sweep: Sweep, graph: Graph, members: list[Node]) -> None:
    for name in sorted({name for node in members for name in (node.name, *graph.upstream(node.name, keyed=True))}):
        for edge in graph.nodes[name].inputs:
            if edge.keyed and edge.split in HELD_OUT:
                origin = graph.nodes[name].origin
                raise UserError(
                    "config",
                    f"trials would learn from {edge.node}.{edge.split}.",
                    sweep.experiment.where("nodes", origin, edge.role),
                    "Train on another split: what is held out must not come before a trial.",
                )


def _shared(sweep: Sweep, full: Experiment, graph: Graph, members: list[Node]) -> Experiment:
    """Only the nodes that trials train from and that judge them, under the sweep's name."""
    names = {data_node(sweep)}.union(*(graph.upstream(node.name) for node in members))
    names |= set().union(*(graph.upstream(name) for name in names if name in graph.nodes))
    origins = {graph.nodes[name].origin for name in names}
    nodes = {name: raw for name, raw in full.nodes.items() if name in origins}
    return replace(full, name=sweep.config.name, nodes=nodes)


def _trials(sweep: Sweep, arms: list[Arm]) -> list[Planned]:
    """Arm by arm in turn, so that budgets stay equal whenever a sweep is interrupted."""
    settings = {arm.name: _settings(sweep, arm) for arm in arms}
    numbers = range(1, sweep.config.trials + 1)
    return [Planned(arm.name, number, settings[arm.name][number - 1]) for number in numbers for arm in arms]


def _settings(sweep: Sweep, arm: Arm) -> Sequence[Setting | None]:
    config = sweep.config
    if config.search == "grid":
        return grid(arm.space, config.seed, arm.name)
    if config.search == "random":
        return drawn(arm.space, config.seed, arm.name, config.trials)
    return [None] * config.trials
