"""From every arm's scores to one results object: pass rates, errors by type, paired differences.

Rates are shares in [0, 1], kept at full precision; rounding belongs to the reports. In an arm, `n` counts the answers
whose passing could be judged and is the denominator of `pass_rate`; `compiles` is a count of answers out of
`n_prompts`; `error_rate` is the share with at least one recognised error among answers that at least one recogniser
could judge. What has nothing to be computed from is null, never 0.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypedDict

from eval.report.pooled import TRAINED, Pooled, pool
from eval.statistics import RESAMPLES, gap_closed, holm, paired_bootstrap, pass_rate, wilson
from pipeline.failures import UserError, nearest
from pipeline.records import ScoreRecord

Kind = Literal["reference", "corrupted", "mended", "control", "model"]
ERRORS = "errors/"


@dataclass(frozen=True, slots=True)
class ArmInput:
    """One model of the comparison: how it was trained, and every score of its answers.

    `family` is the name it shares with the arms that differ from it in their training seed alone.
    """

    name: str
    node: str
    family: str
    kind: Kind
    loss: str | None
    mask: str | None
    seed: int
    learning_rate: float | None
    train_seconds: float | None
    train_tokens: int | None
    scores: Sequence[ScoreRecord]


class Arm(TypedDict):
    """One arm in the results."""

    name: str
    family: str
    kind: Kind
    loss: str | None
    mask: str | None
    seed: int
    n: int
    passed: int
    pass_rate: float | None
    pass_rate_ci: list[float] | None
    compiles: int
    error_rate: float | None
    error_rate_ci: list[float] | None
    errors_by_type: dict[str, int]
    unscored_by_type: dict[str, int]
    train_seconds: float | None
    train_tokens: int | None
    gap_closed: float | None


class Comparison(TypedDict):
    """The pass rate of `a` less that of `b`: bootstrap interval, exact McNemar p-value, Holm over all comparisons.

    `only_a` and `only_b` count the prompts that one of the two passes alone: all that McNemar's test looks at.
    """

    a: str
    b: str
    difference: float
    ci: list[float]
    only_a: int
    only_b: int
    p_value: float
    p_holm: float


class Training(TypedDict):
    """Where an arm comes from."""

    node: str
    learning_rate: float | None


class Bootstrap(TypedDict):
    """What the intervals of the differences were drawn with."""

    seed: int
    resamples: int


class Results(TypedDict):
    """The whole of results.json."""

    experiment: str
    n_prompts: int
    arms: list[Arm]
    differences: list[Comparison]
    pooled: Pooled
    training: dict[str, Training]
    bootstrap: Bootstrap
    notes: list[str]


Values = dict[str, dict[str, float | None]]
"""Metric -> prompt id -> value, of one arm."""


def build_results(
    arms: Sequence[ArmInput],
    *,
    experiment: str,
    floor: str | None = None,
    ceiling: str | None = None,
    notes: Sequence[str] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Results:
    """Compare `arms`, which must all have been scored on the same prompts by the same metrics.

    `floor` and `ceiling` name the arms between which `gap_closed` is measured; without both it is null.
    """
    values = {arm.name: _values(arm) for arm in arms}
    _check_alike(arms, values)
    rates = {name: _rate(value) for name, value in values.items()}
    low, high = (_named(name, rates) for name in (floor, ceiling))
    return Results(
        experiment=experiment,
        n_prompts=len(_prompts(arms[0])),
        arms=[_arm(arm, values[arm.name], _gap(rates[arm.name], low, high)) for arm in arms],
        differences=_compare(_pairs(arms), values, seed, resamples),
        pooled=pool(arms, {name: value.get("passed", {}) for name, value in values.items()}, floor=low, ceiling=high),
        training={arm.name: Training(node=arm.node, learning_rate=arm.learning_rate) for arm in arms},
        bootstrap=Bootstrap(seed=seed, resamples=resamples),
        notes=list(notes),
    )


def to_json(results: Results) -> str:
    """The text of results.json: the same results always give the same text."""
    return json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _values(arm: ArmInput) -> Values:
    values: Values = {}
    for score in arm.scores:
        metric = values.setdefault(score.metric, {})
        if score.id in metric:
            raise UserError(
                "data", f"prompt {score.id!r} has more than one score '{score.metric}'.", f"arm '{arm.name}'"
            )
        metric[score.id] = score.value
    return values


def _prompts(arm: ArmInput) -> set[str]:
    return {score.id for score in arm.scores}


def _check_alike(arms: Sequence[ArmInput], values: dict[str, Values]) -> None:
    """A comparison is fair only if every arm has every score that another has."""
    if not arms or not arms[0].scores:
        raise UserError("data", "there are no scores to compare.", hint="Score the answers of at least one arm first.")
    if len(values) < len(arms):
        raise UserError("data", "two arms have the same name.", ", ".join(arm.name for arm in arms))
    first, *others = arms
    for other in others:
        for what, key in (("prompts", lambda score: score.id), ("metrics", lambda score: (score.metric, score.id))):
            _check_same(first, other, what, {key(s) for s in first.scores} ^ {key(s) for s in other.scores})


def _check_same(first: ArmInput, other: ArmInput, what: str, apart: set[object]) -> None:
    if apart:
        raise UserError(
            "data",
            f"not scored on the same {what}: {len(apart)} are in one only, such as {min(apart, key=str)!r}.",
            f"arms '{first.name}' and '{other.name}'",
            "Generate and score the answers of all arms from the same prompts, with the same scorers.",
        )


def _scored(values: Values, metric: str) -> list[float]:
    return [value for value in values.get(metric, {}).values() if value is not None]


def _rate(values: Values) -> float | None:
    scored = _scored(values, "passed")
    return pass_rate(scored) if scored else None


def _named(name: str | None, rates: dict[str, float | None]) -> float | None:
    if name is None:
        return None
    if name not in rates:
        raise UserError("config", f"no arm is named '{name}'.", "floor and ceiling", nearest(name, list(rates)))
    return rates[name]


def _gap(rate: float | None, floor: float | None, ceiling: float | None) -> float | None:
    if rate is None or floor is None or ceiling is None:
        return None
    return gap_closed(rate, floor, ceiling)


def _arm(arm: ArmInput, values: Values, gap: float | None) -> Arm:
    passed, n = int(sum(_scored(values, "passed"))), len(_scored(values, "passed"))
    wrong = _any_error(values)
    types = sorted(metric.removeprefix(ERRORS) for metric in values if metric.startswith(ERRORS))
    return Arm(
        name=arm.name,
        family=arm.family,
        kind=arm.kind,
        loss=arm.loss,
        mask=arm.mask,
        seed=arm.seed,
        n=n,
        passed=passed,
        pass_rate=_rate(values),
        pass_rate_ci=list(wilson(passed, n)) if n else None,
        compiles=int(sum(_scored(values, "compiles"))),
        error_rate=sum(wrong) / len(wrong) if wrong else None,
        error_rate_ci=list(wilson(sum(wrong), len(wrong))) if wrong else None,
        errors_by_type={name: int(sum(_scored(values, ERRORS + name))) for name in types},
        unscored_by_type={name: list(values[ERRORS + name].values()).count(None) for name in types},
        train_seconds=arm.train_seconds,
        train_tokens=arm.train_tokens,
        gap_closed=gap,
    )


def _any_error(values: Values) -> list[bool]:
    """Whether each answer has a recognised error, for the answers that any recogniser could judge."""
    worst: dict[str, float] = {}
    for metric in values:
        for prompt, value in values[metric].items():
            if metric.startswith(ERRORS) and value is not None:
                worst[prompt] = max(value, worst.get(prompt, 0.0))
    return [value > 0 for value in worst.values()]


def _pairs(arms: Sequence[ArmInput]) -> list[tuple[str, str]]:
    """Every two trained arms of one seed, then every trained arm against the corrupted and the reference models.

    An arm without siblings of other seeds is compared with all.
    """
    trained = [arm for arm in arms if arm.kind in TRAINED]
    siblings = Counter(arm.family for arm in trained)
    alike = [
        (a.name, b.name)
        for a, b in combinations(trained, 2)
        if a.seed == b.seed or siblings[a.family] == 1 or siblings[b.family] == 1
    ]
    baselines = [arm.name for kind in ("corrupted", "reference") for arm in arms if arm.kind == kind]
    return [*alike, *((arm.name, baseline) for arm in trained for baseline in baselines)]


def _compare(
    pairs: Sequence[tuple[str, str]], values: dict[str, Values], seed: int, resamples: int
) -> list[Comparison]:
    comparisons = []
    for a, b in pairs:
        left, right = _aligned(values[a], values[b])
        if left:
            found = paired_bootstrap(left, right, seed=seed, resamples=resamples)
            comparisons.append((a, b, found))
    adjusted = holm([found.p_value for _, _, found in comparisons])
    return [
        Comparison(
            a=a,
            b=b,
            difference=found.mean,
            ci=[found.low, found.high],
            only_a=found.won,
            only_b=found.lost,
            p_value=found.p_value,
            p_holm=p_holm,
        )
        for (a, b, found), p_holm in zip(comparisons, adjusted, strict=True)
    ]


def _aligned(a: Values, b: Values) -> tuple[list[float], list[float]]:
    """Whether each prompt passed, for both arms, by prompt id; prompts unscored in either are left out."""
    left, right = a.get("passed", {}), b.get("passed", {})
    both = [(left[prompt], right[prompt]) for prompt in sorted(left)]
    kept = [(x, y) for x, y in both if x is not None and y is not None]
    return [x for x, _ in kept], [y for _, y in kept]
