"""The figures about collected preferences: models by round, collectors, their agreement, and who likes length.

Pure functions of plain values; statistics from `eval.statistics`. Every rate has its interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypedDict

from eval.report.answers import rate_and_interval
from eval.report.arms import aligned, mean_of
from eval.report.wins import Wins
from eval.statistics import holm, kappa, paired_bootstrap, wilson
from pipeline.records import VerdictRecord

Values = Mapping[str, Sequence[float | None]]
"""Prompt id -> the metric of each sample."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One model and its judged answers. `before` names the model that it was trained from, where that is known.

    `collector` and `round` say which collector's pairs it learnt from, and how many rounds after the base.
    """

    name: str
    values: Values
    lengths: Mapping[tuple[str, int], int]
    collector: str = ""
    round: int | None = None
    before: str = ""
    pairs: int | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """The pairs of one collector, and how it orders every two answers: (prompt, sample, sample) -> 1, 0 or -1."""

    name: str
    by: str
    model: str
    answers: str
    pairs: Sequence[tuple[str, str]]
    rejected: Mapping[str, int]
    orders: Mapping[tuple[str, int, int], int]


class Policy(TypedDict):
    """One model. `change` is its rate less that of the model `before` it, over the prompts that both have judged."""

    name: str
    collector: str
    round: int | None
    pairs: int | None
    n: int
    rate: float | None
    ci: list[float] | None
    before: str
    change: float | None
    change_ci: list[float] | None
    p_value: float | None
    p_holm: float | None
    length: float


class Length(TypedDict):
    """How often the longer of two answers was preferred: of the `n` choices between answers of different length."""

    name: str
    n: int
    longer: int
    rate: float | None
    ci: list[float] | None


class Collector(TypedDict):
    """What one collector made of one model's answers. Lengths are mean characters."""

    name: str
    by: str
    model: str
    pairs: int
    rejected: dict[str, int]
    chosen_length: float
    rejected_length: float


class Agreed(TypedDict):
    """Two collectors on the same answers: kappa over the `n` pairs of answers that both decide; the others are counted.

    `kappa` is null where a collector puts all into one category.
    """

    a: str
    b: str
    n: int
    only_a: int
    only_b: int
    neither: int
    agree: float | None
    kappa: float | None
    ci: list[float] | None


class Figures(TypedDict):
    """What results.json holds."""

    experiment: str
    metric: str
    n_prompts: int
    policies: list[Policy]
    collectors: list[Collector]
    agreement: list[Agreed]
    lengths: list[Length]
    wins: list[Wins]
    seed: int
    resamples: int
    notes: list[str]


def policies(models: Sequence[Judged], seed: int, resamples: int) -> list[Policy]:
    """Every model with its rate, and what its round changed; p-values are Holm-adjusted over all rounds."""
    known = {model.name: model for model in models}
    changes = {}
    for model in (model for model in models if model.before in known):
        after, before = aligned(_means(model.values), _means(known[model.before].values))
        if after:
            changes[model.name] = paired_bootstrap(after, before, seed=seed, resamples=resamples)
    adjusted = dict(zip(changes, holm([change.p_value for change in changes.values()]), strict=True))
    made = []
    for model in models:
        rate, ci = rate_and_interval(model.values, seed, resamples)
        change = changes.get(model.name)
        made.append(
            Policy(
                name=model.name,
                collector=model.collector,
                round=model.round,
                pairs=model.pairs,
                n=sum(mean_of(samples) is not None for samples in model.values.values()),
                rate=rate,
                ci=ci,
                before=model.before if change else "",
                change=change.mean if change else None,
                change_ci=[change.low, change.high] if change else None,
                p_value=change.p_value if change else None,
                p_holm=adjusted.get(model.name),
                length=_mean(list(model.lengths.values())),
            )
        )
    return made


def _means(values: Values) -> dict[str, float | None]:
    return {prompt: mean_of(samples) for prompt, samples in values.items()}


def collector(found: Collected) -> Collector:
    return Collector(
        name=found.name,
        by=found.by,
        model=found.model,
        pairs=len(found.pairs),
        rejected=dict(found.rejected),
        chosen_length=_mean([len(chosen) for chosen, _ in found.pairs]),
        rejected_length=_mean([len(rejected) for _, rejected in found.pairs]),
    )


def agreements(collectors: Sequence[Collected], seed: int, resamples: int) -> list[Agreed]:
    """Every two collectors that judged the same answers."""
    return [
        _agreed(one, other, seed, resamples)
        for one, other in combinations(collectors, 2)
        if one.answers == other.answers
    ]


def _agreed(one: Collected, other: Collected, seed: int, resamples: int) -> Agreed:
    """Cohen's kappa over pairs of answers: which of the two is better. Pairs of one prompt are alike, so they go
    together where intervals are drawn."""
    tables: dict[str, list[list[int]]] = {}
    single: Counter[str] = Counter()
    for key in sorted(one.orders.keys() & other.orders.keys()):
        left, right = one.orders[key], other.orders[key]
        if left and right:
            tables.setdefault(key[0], [[0, 0], [0, 0]])[left > 0][right > 0] += 1
        else:
            single["a" if left else "b" if right else "neither"] += 1
    cells = [sum(table[row][column] for table in tables.values()) for row in (0, 1) for column in (0, 1)]
    found = kappa([tables[prompt] for prompt in sorted(tables)], seed=seed, resamples=resamples) if tables else None
    return Agreed(
        a=one.name,
        b=other.name,
        n=sum(cells),
        only_a=single["a"],
        only_b=single["b"],
        neither=single["neither"],
        agree=(cells[0] + cells[3]) / sum(cells) if tables else None,
        kappa=found.kappa if found else None,
        ci=[found.low, found.high] if found else None,
    )


def length_of_pairs(found: Collected) -> Length:
    """How often the chosen answer of a pair is the longer one."""
    return _length(found.name, [len(chosen) - len(rejected) for chosen, rejected in found.pairs])


def length_of_verdicts(
    name: str, verdicts: Sequence[VerdictRecord], lengths: Mapping[str, Mapping[tuple[str, int], int]]
) -> Length:
    """How often the longer of two models' answers wins; ties, and answers whose length is not known, do not count."""
    leads = []
    for verdict in verdicts:
        sides = [lengths.get(node, {}).get((verdict.id, verdict.sample)) for node in (verdict.a, verdict.b)]
        if verdict.value in (0.0, 1.0) and sides[0] is not None and sides[1] is not None:
            lead = sides[0] - sides[1]
            leads.append(lead if verdict.value == 1.0 else -lead)
    return _length(name, leads)


def _length(name: str, leads: Sequence[int]) -> Length:
    """`leads`: by how much the preferred answer of each choice is the longer one."""
    different = [lead for lead in leads if lead]
    longer = sum(lead > 0 for lead in different)
    n = len(different)
    return Length(
        name=name,
        n=n,
        longer=longer,
        rate=longer / n if n else None,
        ci=list(wilson(longer, n)) if n else None,
    )


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0
