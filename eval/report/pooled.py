"""Arms that differ in their training seed alone, taken together: means over seeds and prompts, and their differences.

An interval over prompts for one trained model says nothing about the next training run. Here both the seeds and the
prompts are draws, and intervals cover both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Protocol, TypedDict

from eval.statistics import Crossed, crossed_mean, gap_closed, holm

TRAINED = ("mended", "control", "model")


class Trained(Protocol):
    """What is asked of an arm: its family is what all arms share that differ in their seed alone."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def loss(self) -> str | None: ...
    @property
    def mask(self) -> str | None: ...
    @property
    def seed(self) -> int: ...


class PooledArm(TypedDict):
    """One way of training over several seeds. `pass_rates` stand in the order of `seeds`."""

    name: str
    kind: str
    loss: str | None
    mask: str | None
    seeds: list[int]
    n: int
    pass_rates: list[float]
    pass_rate: float | None
    pass_rate_ci: list[float] | None
    gap_closed: float | None


class PooledComparison(TypedDict):
    """The mean pass rate of `a` less that of `b` over the seeds that both have; Holm over all pooled comparisons."""

    a: str
    b: str
    seeds: int
    n: int
    difference: float
    ci: list[float]
    p_value: float
    p_holm: float


class Pooled(TypedDict):
    """What is known over seeds; both lists are empty where no arm was trained with more than one."""

    arms: list[PooledArm]
    differences: list[PooledComparison]


Verdicts = Mapping[str, float | None]
"""Prompt id -> share of its answers that passed, None where none was judged."""
Ends = tuple[float | None, float | None]
"""The pass rates of floor and ceiling."""


def pool(arms: Sequence[Trained], passed: Mapping[str, Verdicts], ends: Mapping[str, Ends] | None = None) -> Pooled:
    """Pool the trained arms that have more than one seed.

    `passed` gives every arm's verdicts by its name, `ends` the pass rates between which the gap of a family lies.
    """
    families: dict[str, list[Trained]] = {}
    for arm in arms:
        if arm.kind in TRAINED:
            families.setdefault(arm.family, []).append(arm)
    several = {family: members for family, members in families.items() if len({arm.seed for arm in members}) > 1}
    if not several:
        return Pooled(arms=[], differences=[])
    singles = {arm.name: [arm] for kind in ("corrupted", "reference") for arm in arms if arm.kind == kind}
    between: Mapping[str, Ends] = ends or {}
    return Pooled(
        arms=[_arm(family, members, passed, *between.get(family, (None, None))) for family, members in several.items()],
        differences=_differences(several, singles, passed),
    )


def _arm(
    family: str, members: Sequence[Trained], passed: Mapping[str, Verdicts], floor: float | None, ceiling: float | None
) -> PooledArm:
    table = _judged_by_all([passed[arm.name] for arm in members])
    found = crossed_mean(table) if len(table[0]) > 1 else None
    return PooledArm(
        name=family,
        kind=members[0].kind,
        loss=members[0].loss,
        mask=members[0].mask,
        seeds=[arm.seed for arm in members],
        n=len(table[0]),
        pass_rates=[sum(row) / len(row) for row in table if row],
        pass_rate=found.mean if found else None,
        pass_rate_ci=[max(0.0, found.low), min(1.0, found.high)] if found else None,
        gap_closed=_gap(found, floor, ceiling),
    )


def _gap(found: Crossed | None, floor: float | None, ceiling: float | None) -> float | None:
    if found is None or floor is None or ceiling is None:
        return None
    return gap_closed(found.mean, floor, ceiling)


def _differences(
    several: Mapping[str, Sequence[Trained]],
    singles: Mapping[str, Sequence[Trained]],
    passed: Mapping[str, Verdicts],
) -> list[PooledComparison]:
    """Every two pooled arms, seed by seed, and each against the corrupted and the reference model."""
    groups = {**several, **singles}
    pairs = [*combinations(several, 2), *((family, single) for family in several for single in singles)]
    tables = {(a, b): _difference_table(groups[a], groups[b], passed) for a, b in pairs}
    found = {pair: crossed_mean(table) for pair, table in tables.items() if len(table) > 1 and len(table[0]) > 1}
    adjusted = holm([mean.p_value for mean in found.values()])
    return [
        PooledComparison(
            a=a,
            b=b,
            seeds=mean.seeds,
            n=mean.prompts,
            difference=mean.mean,
            ci=[mean.low, mean.high],
            p_value=mean.p_value,
            p_holm=p_holm,
        )
        for ((a, b), mean), p_holm in zip(found.items(), adjusted, strict=True)
    ]


def _difference_table(a: Sequence[Trained], b: Sequence[Trained], passed: Mapping[str, Verdicts]) -> list[list[float]]:
    """Seeds by prompts, for the seeds that both have; a model that was trained once stands against every seed."""
    others = {arm.seed: arm for arm in b}
    pairs = [(arm, b[0] if len(b) == 1 else others[arm.seed]) for arm in a if len(b) == 1 or arm.seed in others]
    if not pairs:
        return []
    table = _judged_by_all([passed[arm.name] for pair in pairs for arm in pair])
    sides = zip(table[::2], table[1::2], strict=True)
    return [[x - y for x, y in zip(left, right, strict=True)] for left, right in sides]


def _judged_by_all(verdicts: Sequence[Verdicts]) -> list[list[float]]:
    """One row for each arm, one column for each prompt that could be judged in all of them."""
    prompts = [prompt for prompt in sorted(verdicts[0]) if all(one.get(prompt) is not None for one in verdicts)]
    return [[float(one[prompt] or 0.0) for prompt in prompts] for one in verdicts]
