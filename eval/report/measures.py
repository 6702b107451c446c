"""Every figure about answers but passing, compiling and known errors: judges' verdicts, distances, perplexities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from eval.report.answers import rate_and_interval
from eval.report.arms import COMPILES, ERRORS, PASSED, ArmInput, Values, aligned, by_prompt
from eval.statistics import Estimate, holm, paired_bootstrap, perplexity

LOGP, TOKENS, PERPLEXITY = "logp/", "tokens/", "perplexity/"


class Measure(TypedDict):
    """One metric of one arm: its mean over `n` prompts, and how far it is from the corrupted model's.

    A perplexity is that of all texts together, and not the mean over texts. Holm over the arms of one metric.
    """

    metric: str
    arm: str
    n: int
    value: float
    ci: list[float]
    difference: float | None
    difference_ci: list[float] | None
    p_value: float | None
    p_holm: float | None


def by_frequency(totals: Mapping[str, float]) -> list[str]:
    """The names that occur, the most frequent first."""
    return sorted((name for name, total in totals.items() if total), key=lambda name: (-totals[name], name))


def measures(
    arms: Sequence[ArmInput], values: Mapping[str, Values], floors: Mapping[str, str | None], seed: int, resamples: int
) -> list[Measure]:
    """Metric by metric, arm by arm. `floors` names for each arm the one that it is held against."""
    names = list(values[arms[0].name])
    found: list[Measure] = []
    for metric in names:
        if not _is_told_elsewhere(metric, names):
            found += _of_metric(metric, arms, values, floors, seed, resamples)
    for side in (name.removeprefix(LOGP) for name in names if name.startswith(LOGP)):
        if TOKENS + side in names:
            found += _perplexities(side, arms, values, seed, resamples)
    return found


def _is_told_elsewhere(metric: str, names: Sequence[str]) -> bool:
    """Verdicts and errors have figures of their own; of log-probabilities the perplexity over all texts is shown."""
    if metric in (PASSED, COMPILES) or metric.startswith((ERRORS, TOKENS)):
        return True
    side = metric.removeprefix(LOGP).removeprefix(PERPLEXITY)
    return side != metric and TOKENS + side in names and LOGP + side in names


def _of_metric(
    metric: str,
    arms: Sequence[ArmInput],
    values: Mapping[str, Values],
    floors: Mapping[str, str | None],
    seed: int,
    resamples: int,
) -> list[Measure]:
    found: list[Measure] = []
    for arm in arms:
        mean, ci = rate_and_interval(values[arm.name][metric], seed, resamples)
        if mean is None or ci is None:
            continue
        mine = by_prompt(values[arm.name], metric)
        made = _measure(metric, arm.name, sum(value is not None for value in mine.values()), mean, ci)
        floor = floors.get(arm.name)
        if floor is not None and floor != arm.name:
            ours, theirs = aligned(mine, by_prompt(values[floor], metric))
            if ours:
                apart = paired_bootstrap(ours, theirs, seed=seed, resamples=resamples)
                made["difference"], made["difference_ci"] = apart.mean, [apart.low, apart.high]
                made["p_value"] = apart.p_value
        found.append(made)
    held = [one for one in found if one["p_value"] is not None]
    for one, adjusted in zip(held, holm([float(one["p_value"] or 0.0) for one in held]), strict=True):
        one["p_holm"] = adjusted
    return found


def _perplexities(
    side: str, arms: Sequence[ArmInput], values: Mapping[str, Values], seed: int, resamples: int
) -> list[Measure]:
    found = []
    for arm in arms:
        estimate = perplexity_of(values[arm.name], side, seed, resamples)
        if estimate is not None:
            ci = [estimate.low, estimate.high]
            found.append(_measure(PERPLEXITY + side, arm.name, estimate.n, estimate.value, ci))
    return found


def perplexity_of(values: Values, side: str, seed: int, resamples: int) -> Estimate | None:
    """The perplexity of all texts of a side together, from their log-probabilities and tokens."""
    logps, tokens = aligned(by_prompt(values, LOGP + side), by_prompt(values, TOKENS + side))
    return perplexity(logps, tokens, seed=seed, resamples=resamples) if sum(tokens) > 0 else None


def _measure(metric: str, arm: str, n: int, value: float, ci: list[float]) -> Measure:
    return Measure(
        metric=metric, arm=arm, n=n, value=value, ci=ci, difference=None, difference_ci=None, p_value=None, p_holm=None
    )
