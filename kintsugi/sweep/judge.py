"""The last word on finished trials: greedy answers to validation prompts, tested; then the best of each arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kintsugi.console import Screen
from kintsugi.execute import Place, execute
from kintsugi.experiment import Experiment
from kintsugi.graph import Graph, build
from kintsugi.sweep.ledger import Trial
from kintsugi.sweep.plan import Plan, with_arms
from pipeline.contract import DATA
from pipeline.failures import UserError
from pipeline.store import Store

ANSWERS, SCORES = "validation_answers", "validation_scores"


def judged(plan: Plan, trials: Sequence[Trial], place: Place, screen: Screen) -> dict[str, tuple[int, int]]:
    """(passed, judged) of every finished trial's model and of the one they start from, by model key.

    The answers and scores are ordinary nodes: one engine answers for all, and a rerun makes none of them again.
    """
    graph = build(judgement(plan, trials))
    execute(graph, place, screen)
    return {_model_key(graph, name): _counts(graph, name, place.store) for name in _scores(graph)}


def judgement(plan: Plan, trials: Sequence[Trial]) -> Experiment:
    """The experiment that generates and scores the answers of these trials."""
    sweep, tuned = plan.sweep, plan.sweep.config.arms.node
    settings = {trial.key: {**plan.arms[trial.arm].fields, **trial.setting} for trial in trials}
    arms: list[dict[str, Any]] = [{**fields, "seed": sweep.config.seeds[0]} for fields in settings.values()]
    with_tuned = replace(plan.shared, nodes={**plan.shared.nodes, tuned: sweep.experiment.nodes[tuned]})
    trained = with_arms(sweep, with_tuned, arms)
    config = sweep.config.evaluation
    answers = {
        "kind": "generate",
        "models": [*_starts(plan), tuned],
        "prompts": config.data,
        "max_tokens": config.max_tokens,
        **({"limit": config.limit} if config.limit else {}),
    }
    scores = {"kind": "score", "input": ANSWERS, "scorers": ["execution"]}
    return replace(trained, nodes={**trained.nodes, ANSWERS: answers, SCORES: scores})


def start_keys(plan: Plan) -> dict[str, str]:
    """The models that trials start from, where they are nodes: their keys by name."""
    return {name: plan.graph.nodes[name].key for name in _starts(plan)}


def _starts(plan: Plan) -> list[str]:
    edges = [edge for arm in plan.arms.values() for edge in arm.template.inputs]
    return list(dict.fromkeys(edge.node for edge in edges if edge.role == "init"))


def _scores(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes.values() if node.origin == SCORES]


def _model_key(graph: Graph, score: str) -> str:
    answers = graph.nodes[graph.nodes[score].inputs[0].node]
    model = next(edge.node for edge in answers.inputs if edge.role == "models")
    return graph.nodes[model].key


def _counts(graph: Graph, name: str, store: Store) -> tuple[int, int]:
    from pipeline.records import ScoredRecord
    from pipeline.shards import read_records

    node = graph.nodes[name]
    rows = read_records(store.directory(node.kind.product, node.key) / DATA, ScoredRecord)
    values = [score.value for row in rows for score in row.scores if score.metric == "passed"]
    known = [value for value in values if value is not None]
    if not known:
        raise UserError(
            "config", "no answer could be judged: the validation rows have no tests.", name, "Set judge: metric."
        )
    return int(sum(known)), len(known)


def best_of(trials: Sequence[Trial], metric: str, mode: str) -> Trial | None:
    """The finished trial with the highest pass rate; the better metric decides between equals, or where none is
    judged, and then the earlier trial."""
    sign = 1 if mode == "min" else -1

    def rank(trial: Trial) -> tuple[float, float, int]:
        figure = trial.figure(metric)
        return (-(trial.pass_rate or 0.0), float("inf") if figure is None else sign * figure, trial.number)

    return min((trial for trial in trials if trial.state == "finished"), key=rank, default=None)
