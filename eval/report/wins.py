"""Who wins against whom: verdicts of a judge or a pair ranker on every two models' answers to the same prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypedDict

from eval.report.arms import mean_of
from eval.statistics import Estimate, bootstrap_mean
from pipeline.records import VerdictRecord


class Win(TypedDict):
    """How often `a` wins against `b`; a tie is half a win.

    Counts are of verdicts. `rate` is the mean over the `n` prompts that were judged, each the mean over its samples.
    """

    a: str
    b: str
    n: int
    won: int
    lost: int
    tied: int
    unjudged: int
    rate: float | None
    ci: list[float] | None


class Standing(TypedDict):
    """An arm's win rate against all others: the mean over its opponents for each prompt, then over the `n` prompts."""

    arm: str
    n: int
    rate: float | None
    ci: list[float] | None


class Wins(TypedDict):
    """All that one judge said."""

    by: str
    pairs: list[Win]
    standings: list[Standing]


Judged = dict[tuple[str, str], dict[str, list[float | None]]]
"""(arm, other arm) -> prompt -> the value of each sample, 1 where the first wins."""


def wins(
    by: str, verdicts: Sequence[VerdictRecord], names: Mapping[str, str], seed: int, resamples: int
) -> tuple[Wins, list[str]]:
    """The win rates between the arms that `names` has (node -> arm), in its order, and notes on what is left out."""
    judged: Judged = {}
    unknown = {}
    for verdict in sorted(verdicts, key=lambda one: (one.id, one.sample, one.a, one.b)):
        apart = [node for node in (verdict.a, verdict.b) if node not in names]
        if apart:
            unknown.update(dict.fromkeys(apart))
            continue
        a, b = names[verdict.a], names[verdict.b]
        judged.setdefault((a, b), {}).setdefault(verdict.id, []).append(verdict.value)
        other = None if verdict.value is None else 1 - verdict.value
        judged.setdefault((b, a), {}).setdefault(verdict.id, []).append(other)
    order = [name for name in dict.fromkeys(names.values()) if any(name == a for a, _ in judged)]
    pairs = [_win(a, b, judged[a, b], seed, resamples) for a, b in combinations(order, 2) if (a, b) in judged]
    notes = [f"Verdicts by {by} on {', '.join(unknown)} are left out: no arms of this comparison."] if unknown else []
    return Wins(by=by, pairs=pairs, standings=_standings(order, judged, seed, resamples)), notes


def _win(a: str, b: str, prompts: Mapping[str, Sequence[float | None]], seed: int, resamples: int) -> Win:
    every = [value for samples in prompts.values() for value in samples]
    found = _estimate(prompts, seed, resamples)
    return Win(
        a=a,
        b=b,
        n=found.n if found else 0,
        won=sum(value is not None and value > 0.5 for value in every),
        lost=sum(value is not None and value < 0.5 for value in every),
        tied=every.count(0.5),
        unjudged=every.count(None),
        rate=found.value if found else None,
        ci=[found.low, found.high] if found else None,
    )


def _standings(order: Sequence[str], judged: Judged, seed: int, resamples: int) -> list[Standing]:
    """The best first, arms without a verdict last."""
    made = []
    for arm in order:
        means: dict[str, list[float | None]] = {}
        for other in order:
            for prompt, samples in judged.get((arm, other), {}).items():
                means.setdefault(prompt, []).append(mean_of(samples))
        found = _estimate(means, seed, resamples)
        ci = [found.low, found.high] if found else None
        made.append(Standing(arm=arm, n=found.n if found else 0, rate=found.value if found else None, ci=ci))
    return sorted(made, key=lambda one: 1.0 if one["rate"] is None else -one["rate"])


def _estimate(prompts: Mapping[str, Sequence[float | None]], seed: int, resamples: int) -> Estimate | None:
    means = [mean for prompt in sorted(prompts) if (mean := mean_of(prompts[prompt])) is not None]
    return bootstrap_mean(means, seed=seed, resamples=resamples) if means else None
