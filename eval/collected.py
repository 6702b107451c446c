"""The report on collected preferences: finds out what stands behind models and pairs, and writes its four files.

Which round and which collector a model belongs to follows from manifests: from `init` to `init` back to the base, and
from its rows back to the node of kind `pair`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from eval.collected_figures import (
    Collected,
    Figures,
    Judged,
    agreements,
    collector,
    length_of_pairs,
    length_of_verdicts,
    policies,
)
from eval.collected_page import to_csv, to_html, to_markdown
from eval.collecting import Opinion, answers_behind, opinion_of
from eval.report.arms import values_of_rows
from eval.report.evidence import Evidence, evidence_of, input_of, manifest_of
from eval.report.files import write_all
from eval.report.wins import wins
from pipeline.contract import DATA, Source, Work
from pipeline.failures import UserError
from pipeline.records import GenerationRecord, PreferenceRecord, VerdictRecord
from pipeline.shards import read_records
from pipeline.store import Manifest, Store

if TYPE_CHECKING:
    from eval.pair_nodes import CollectedConfig

PAIR, PREFERENCE = "pair", "preference"


def write_collected(work: Work) -> None:
    """Write results.json, results.csv, report.md and index.html, and commit."""
    figures = figures_of(work)
    write_all(work.directory, figures, to_csv(figures), to_markdown(figures), to_html(figures))
    number = len(figures["policies"])
    work.commit(rows={"in": number, "out": number, "rejected": 0})


def figures_of(work: Work) -> Figures:
    """All figures of a work."""
    config: CollectedConfig = work.config
    drawn = config.seed, config.resamples
    store = Store(work.directory.parent.parent)
    evidence = evidence_of(work.all_sources("scores"))
    base = work.source("base")
    # Artifacts may have been made under other names: here they are called as this experiment calls them.
    named = {one.model.key: one.name for one in evidence}
    called = {source.key: collector_name(source.name) for source in work.all_sources("pairs")}
    models = [_judged(store, one, config.metric, base.key, named, called) for one in evidence]
    collected = [_collected(source, named) for source in work.all_sources("pairs")]
    verdicts = {one.name: list(read_records(one.data, VerdictRecord)) for one in work.all_sources("verdicts")}
    won = [wins(by, rows, {one.name: one.name for one in evidence}, *drawn) for by, rows in verdicts.items()]
    lengths = {model.name: model.lengths for model in models}
    notes = [] if any(model.name == base.name for model in models) else [f"'{base.name}' was not scored."]
    return Figures(
        experiment=work.experiment,
        metric=config.metric,
        n_prompts=len({prompt for model in models for prompt in model.values}),
        policies=policies(models, *drawn),
        collectors=[collector(found) for found in collected],
        agreement=agreements(collected, *drawn),
        lengths=[
            *(length_of_pairs(found) for found in collected),
            *(length_of_verdicts(by, rows, lengths) for by, rows in verdicts.items()),
        ],
        wins=[found for found, _ in won if found["pairs"]],
        seed=config.seed,
        resamples=config.resamples,
        notes=[*notes, *(note for _, said in won for note in said)],
    )


def _judged(
    store: Store, evidence: Evidence, metric: str, base: str, named: Mapping[str, str], called: Mapping[str, str]
) -> Judged:
    """One model with its scores. Raises a config error where it was not scored by the metric.

    `named` has the names of models by their keys, `called` those of collectors by the keys of their pairs.
    """
    values = values_of_rows(list(evidence.scores.values()))
    if metric not in values:
        hint = f"It has {', '.join(sorted(values))}."
        raise UserError("config", f"'{evidence.name}' has no score '{metric}'.", "metric", hint)
    pairs = pairs_behind(store, evidence.model)
    init = next((item.key for item in evidence.model.inputs if item.role == "init"), "")
    return Judged(
        name=evidence.name,
        values=values[metric],
        lengths={key: len(answer.response) for key, answer in evidence.answers.items()},
        collector=called.get(pairs[1].key, collector_name(pairs[0])) if pairs else "",
        round=round_of(store, evidence.model, base),
        before=named.get(init, "") if evidence.model.kind == PREFERENCE else "",
        pairs=_taken(evidence.model, pairs[1]) if pairs else None,
    )


def _taken(model: Manifest, pairs: Manifest) -> int:
    """How many pairs a model learnt from, at most: all, or its limit."""
    limit, there = model.config.get("limit"), pairs.rows["out"]
    return there if limit is None else min(limit, there)


def round_of(store: Store, model: Manifest, base: str) -> int | None:
    """How many rounds of preference training lie between a model and the base; None where it does not come from it."""
    rounds = 0
    while model.key != base:
        init = next((item for item in model.inputs if item.role == "init"), None)
        if init is None or model.kind != PREFERENCE:
            return None
        rounds += 1
        model = store.require(init.product, init.key)
    return rounds


def pairs_behind(store: Store, model: Manifest) -> tuple[str, Manifest] | None:
    """The node of kind `pair` that a model's rows come from, by name, and its manifest."""
    step = next((item for item in model.inputs if item.role == "data"), None)
    while step is not None and model.kind == PREFERENCE:
        found = store.require(step.product, step.key)
        if found.kind == PAIR:
            return step.name, found
        step = next((item for item in found.inputs if item.role == "input" and item.product == "rows"), None)
    return None


def collector_name(node: str) -> str:
    """What a collector is called: its node, without the number of the round."""
    name, slash, number = node.rpartition("/")
    return name if slash and number.isdecimal() else node


def _collected(source: Source, named: Mapping[str, str]) -> Collected:
    manifest = source.manifest()
    judged = _input_source(source.root)
    answers = answers_behind(judged)
    sampled = input_of(answers, "models")
    return Collected(
        name=source.name,
        by=manifest.facts["pairs"]["by"],
        model=named.get(sampled.key, sampled.name) if sampled else "",
        answers=manifest_of(answers).key,
        pairs=[(row.chosen, row.rejected) for row in read_records(source.data, PreferenceRecord)],
        rejected=manifest.facts["pairs"]["rejected"],
        orders=dict(_orders(opinion_of(judged, manifest.config["metric"]), answers)),
    )


def _input_source(root: Path) -> Source:
    """The scores or verdicts that pairs were made of."""
    item = input_of(root, "input")
    assert item is not None, f"{root} was made of nothing"
    directory = Store(root.parent.parent).directory(item.product, item.key)
    return Source("input", item.name, item.product, item.key, item.split, directory)


def _orders(opinion: Opinion, answers: Path) -> Iterator[tuple[tuple[str, int, int], int]]:
    """Every two judged answers to a prompt: 1 where the first is better, -1 where the second is, 0 where neither."""
    prompts: dict[str, list[int]] = {}
    for row in read_records(answers / DATA, GenerationRecord):
        if opinion.of(row).value is not None:
            prompts.setdefault(row.id, []).append(row.sample)
    for record_id, samples in prompts.items():
        direct, values = opinion.direct(record_id), opinion.values[record_id]
        for one, other in combinations(sorted(samples), 2):
            lead = (values[one][0] or 0.0) - (values[other][0] or 0.0)
            said = direct.get((one, other))
            lead = lead if said is None else said - 0.5
            yield (record_id, one, other), (lead > 0) - (lead < 0)
