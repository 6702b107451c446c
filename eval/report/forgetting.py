"""What mending made a model forget: scores on texts and task families that corruption left out, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from eval.report.answers import rate_and_interval
from eval.report.arms import PASSED, Values, aligned, by_prompt
from eval.report.measures import LOGP, TOKENS, perplexity_of
from eval.statistics import holm, paired_bootstrap

PASS_RATE = "pass rate"


@dataclass(frozen=True, slots=True)
class Kept:
    """One arm's scores on rows called `rows`; `before` is the arm that its training began with, if it is one."""

    arm: str
    rows: str
    before: str | None
    values: Values


class Forgotten(TypedDict):
    """One figure of one arm on rows that corruption left out, and what became of it since the model it started from.

    `metric` is `pass rate`, or `perplexity/SIDE` of all texts together. The change of a perplexity is one of its
    logarithm, the mean over texts of nats per token. Holm over all arms of the same rows and metric.
    """

    rows: str
    metric: str
    arm: str
    n: int
    value: float
    ci: list[float]
    before: str | None
    before_value: float | None
    change: float | None
    change_ci: list[float] | None
    p_value: float | None
    p_holm: float | None


def forgetting(kept: Sequence[Kept], seed: int, resamples: int) -> list[Forgotten]:
    """Rows by rows, metric by metric, in the order of the arms."""
    found: list[Forgotten] = []
    for rows in dict.fromkeys(one.rows for one in kept):
        members = {one.arm: one for one in kept if one.rows == rows}
        names = dict.fromkeys(metric for one in members.values() for metric in one.values)
        sides = [name.removeprefix(LOGP) for name in names if name.startswith(LOGP)]
        for metric in [*([PASSED] if PASSED in names else []), *(LOGP + side for side in sides)]:
            found += _of_metric(metric, members, seed, resamples)
    return found


def _of_metric(metric: str, members: Mapping[str, Kept], seed: int, resamples: int) -> list[Forgotten]:
    found = []
    for arm in members.values():
        made = _figure(metric, arm, seed, resamples)
        if made is None:
            continue
        before = members.get(arm.before or "")
        if before is not None:
            _since(made, metric, arm, before, seed, resamples)
        found.append(made)
    held = [one for one in found if one["p_value"] is not None]
    for one, adjusted in zip(held, holm([float(one["p_value"] or 0.0) for one in held]), strict=True):
        one["p_holm"] = adjusted
    return found


def _figure(metric: str, arm: Kept, seed: int, resamples: int) -> Forgotten | None:
    if metric == PASSED:
        name = PASS_RATE
        value, ci = rate_and_interval(arm.values.get(PASSED, {}), seed, resamples)
        n = sum(one is not None for one in by_prompt(arm.values, PASSED).values())
    else:
        side = metric.removeprefix(LOGP)
        name = f"perplexity/{side}"
        found = perplexity_of(arm.values, side, seed, resamples)
        value, ci, n = (found.value, [found.low, found.high], found.n) if found else (None, None, 0)
    if value is None or ci is None:
        return None
    return Forgotten(
        rows=arm.rows, metric=name, arm=arm.arm, n=n, value=value, ci=ci, before=None, before_value=None,
        change=None, change_ci=None, p_value=None, p_holm=None,
    )  # fmt: skip


def _since(made: Forgotten, metric: str, arm: Kept, before: Kept, seed: int, resamples: int) -> None:
    """Add what changed since the model that the arm's training began with, on the rows that both have."""
    start = _figure(metric, before, seed, resamples)
    ours, theirs = aligned(*(_by_row(one.values, metric) for one in (arm, before)))
    if start is None or not ours:
        return
    apart = paired_bootstrap(ours, theirs, seed=seed, resamples=resamples)
    made["before"], made["before_value"] = before.arm, start["value"]
    made["change"], made["change_ci"], made["p_value"] = apart.mean, [apart.low, apart.high], apart.p_value


def _by_row(values: Values, metric: str) -> Mapping[str, float | None]:
    """Passing, or nats per token, of each row."""
    if metric == PASSED:
        return by_prompt(values, PASSED)
    logps, tokens = by_prompt(values, metric), by_prompt(values, TOKENS + metric.removeprefix(LOGP))
    return {
        row: -logp / count if logp is not None and (count := tokens.get(row)) else None for row, logp in logps.items()
    }
