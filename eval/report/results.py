"""From every arm's scores to one results object: pass rates, errors by type, paired differences and the rest.

Rates are shares in [0, 1], kept at full precision; rounding belongs to the reports. In an arm, `n` counts the answers
whose passing could be judged and is the denominator of `pass_rate`; `compiles` is a count of answers out of `answers`;
`error_rate` is the share with at least one recognised error among answers that at least one recogniser could judge.
Where a prompt has several answers, it is the prompt that is drawn: rates are means over prompts of the mean over their
samples, and intervals and tests resample prompts. What has nothing to be computed from is null, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypedDict

from eval.report.agreement import Agreed, agreement
from eval.report.answers import (
    Collateral,
    Efficiency,
    PassAt,
    collateral,
    efficiency,
    erring,
    passing_at,
    rate_and_interval,
)
from eval.report.arms import (
    COMPILES,
    ERRORS,
    PASSED,
    ArmInput,
    Kind,
    Values,
    aligned,
    by_prompt,
    samples_of,
    scored,
    values_of,
)
from eval.report.forgetting import Forgotten, Kept, forgetting
from eval.report.measures import Measure, measures
from eval.report.pooled import TRAINED, Pooled, pool
from eval.report.rewards import Reward
from eval.report.wins import Wins, wins
from eval.statistics import RESAMPLES, gap_closed, gap_interval, holm, paired_bootstrap
from pipeline.failures import UserError, nearest
from pipeline.records import VerdictRecord

Ends = dict[str, tuple[str | None, str | None]]
"""Arm -> the arms that are the floor and the ceiling of its gap."""


class Arm(TypedDict):
    """One arm in the results."""

    name: str
    family: str
    kind: Kind
    loss: str | None
    mask: str | None
    seed: int
    samples: int
    answers: int
    n: int
    passed: int
    pass_rate: float | None
    pass_rate_ci: list[float] | None
    pass_at: list[PassAt]
    compiles: int | None
    error_rate: float | None
    error_rate_ci: list[float] | None
    errors_by_type: dict[str, int]
    unscored_by_type: dict[str, int]
    train_seconds: float | None
    train_tokens: int | None
    gap_closed: float | None
    gap_closed_ci: list[float] | None
    collateral: Collateral | None
    efficiency: Efficiency | None


class Comparison(TypedDict):
    """The pass rate of `a` less that of `b`: bootstrap interval, exact McNemar p-value, Holm over all comparisons.

    `only_a` and `only_b` count the prompts that one of the two passes alone: all that McNemar's test looks at. With
    several samples a prompt they count where one passes more often, and the p-value is that of the sign-flip test.
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
    """What bootstrap intervals were drawn with."""

    seed: int
    resamples: int


class Results(TypedDict):
    """The whole of results.json."""

    experiment: str
    n_prompts: int
    arms: list[Arm]
    differences: list[Comparison]
    pooled: Pooled
    measures: list[Measure]
    wins: list[Wins]
    rewards: list[Reward]
    forgetting: list[Forgotten]
    agreement: list[Agreed]
    training: dict[str, Training]
    bootstrap: Bootstrap
    notes: list[str]


Verdicts = Mapping[str, Sequence[VerdictRecord]]
"""What each judge said, by the name of its node."""


def build_results(
    arms: Sequence[ArmInput],
    *,
    experiment: str,
    floor: str | None = None,
    ceiling: str | None = None,
    notes: Sequence[str] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
    verdicts: Verdicts | None = None,
    kept: Sequence[Kept] = (),
    rewards: Sequence[Reward] = (),
) -> Results:
    """Compare `arms`, which must all have been scored on the same answers; metrics that some lack are left out.

    `floor` and `ceiling` name the arms between which `gap_closed` is measured; without both it is null. `kept` are the
    scores on what corruption left out.
    """
    values, said = values_of(arms)
    ends = _ends(arms, floor, ceiling)
    drawn = seed, resamples
    judged = [wins(by, rows, {arm.node: arm.name for arm in arms}, *drawn) for by, rows in (verdicts or {}).items()]
    return Results(
        experiment=experiment,
        n_prompts=len(_prompts(values[arms[0].name])),
        arms=[_arm(arm, values, ends[arm.name], *drawn) for arm in arms],
        differences=_compare(_pairs(arms), values, *drawn),
        pooled=_pooled(arms, values, ends),
        measures=measures(arms, values, {name: low for name, (low, _) in ends.items()}, *drawn),
        wins=[found for found, _ in judged if found["pairs"]],
        rewards=list(rewards),
        forgetting=forgetting(kept, *drawn),
        agreement=agreement(values, *drawn),
        training={arm.name: Training(node=arm.node, learning_rate=arm.learning_rate) for arm in arms},
        bootstrap=Bootstrap(seed=seed, resamples=resamples),
        notes=[*notes, *said, *(note for _, left_out in judged for note in left_out)],
    )


def _prompts(values: Values) -> set[str]:
    """The prompts that were answered; those of every metric where none says whether answers pass."""
    return set(values[PASSED]) if PASSED in values else {prompt for prompts in values.values() for prompt in prompts}


def _answers(values: Values) -> int:
    most: dict[str, int] = {}
    for metric, prompts in values.items():
        if metric == PASSED or PASSED not in values:
            for prompt, samples in prompts.items():
                most[prompt] = max(most.get(prompt, 0), len(samples))
    return sum(most.values())


def _ends(arms: Sequence[ArmInput], floor: str | None, ceiling: str | None) -> Ends:
    """Between which arms the gap of each arm lies."""
    names = [arm.name for arm in arms]
    ends = {arm.name: (arm.floor or floor, arm.ceiling or ceiling) for arm in arms}
    for name in (name for pair in ends.values() for name in pair):
        if name is not None and name not in names:
            raise UserError("config", f"no arm is named '{name}'.", "floor and ceiling", nearest(name, names))
    return ends


def _rate(values: Values) -> float | None:
    (judged,) = aligned(by_prompt(values, PASSED))
    return sum(judged) / len(judged) if judged else None


def _gap(
    arm: str, values: Mapping[str, Values], ends: tuple[str | None, str | None], seed: int, resamples: int
) -> tuple[float | None, list[float] | None]:
    """The share of the gap that is closed, and its interval over the prompts that all three have judged."""
    floor, ceiling = ends
    if floor is None or ceiling is None:
        return None, None
    rates = [_rate(values[name]) for name in (arm, floor, ceiling)]
    if None in rates:
        return None, None
    share = gap_closed(*(rate for rate in rates if rate is not None))
    three = aligned(*(by_prompt(values[name], PASSED) for name in (arm, floor, ceiling)))
    # Between the ends themselves the share is 0 or 1 by definition, without any chance in it.
    found = gap_interval(*three, seed=seed, resamples=resamples) if arm not in ends and three[0] else None
    return share, list(found) if found and share is not None else None


def _arm(
    arm: ArmInput, every: Mapping[str, Values], ends: tuple[str | None, str | None], seed: int, resamples: int
) -> Arm:
    values, drawn = every[arm.name], (seed, resamples)
    wrong = erring(values)
    rate, rate_ci = rate_and_interval(values.get(PASSED, {}), *drawn)
    error_rate, error_rate_ci = rate_and_interval(wrong, *drawn)
    gap, gap_ci = _gap(arm.name, every, ends, *drawn)
    types = sorted(metric.removeprefix(ERRORS) for metric in values if metric.startswith(ERRORS))
    before = every[ends[0]] if ends[0] is not None and ends[0] != arm.name else None
    return Arm(
        name=arm.name,
        family=arm.family,
        kind=arm.kind,
        loss=arm.loss,
        mask=arm.mask,
        seed=arm.seed,
        samples=samples_of(values),
        answers=_answers(values),
        n=len(scored(values, PASSED)),
        passed=int(sum(scored(values, PASSED))),
        pass_rate=rate,
        pass_rate_ci=rate_ci,
        pass_at=passing_at(values, *drawn),
        compiles=int(sum(scored(values, COMPILES))) if COMPILES in values else None,
        error_rate=error_rate,
        error_rate_ci=error_rate_ci,
        errors_by_type={name: int(sum(scored(values, ERRORS + name))) for name in types},
        unscored_by_type={
            name: sum(samples.count(None) for samples in values[ERRORS + name].values()) for name in types
        },
        train_seconds=arm.train_seconds,
        train_tokens=arm.train_tokens,
        gap_closed=gap,
        gap_closed_ci=gap_ci,
        collateral=collateral(values, before) if before and PASSED in values and arm.kind != "reference" else None,
        efficiency=efficiency(arm, rate, _rate(before) if before is not None else None),
    )


def _pooled(arms: Sequence[ArmInput], values: Mapping[str, Values], ends: Ends) -> Pooled:
    rates = {name: _rate(one) for name, one in values.items()}
    between = {arm.family: (rates.get(ends[arm.name][0] or ""), rates.get(ends[arm.name][1] or "")) for arm in arms}
    return pool(arms, {name: by_prompt(one, PASSED) for name, one in values.items()}, between)


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
    return [*alike, *((arm.name, end) for arm in trained for end in baselines if _is_end(arm, end))]


def _is_end(arm: ArmInput, end: str) -> bool:
    """Whether an arm is held against this end; one of several runs only against the ends of its own."""
    own = (arm.floor, arm.ceiling)
    return own == (None, None) or end in own


def _compare(
    pairs: Sequence[tuple[str, str]], values: Mapping[str, Values], seed: int, resamples: int
) -> list[Comparison]:
    comparisons = []
    for a, b in pairs:
        left, right = aligned(by_prompt(values[a], PASSED), by_prompt(values[b], PASSED))
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
