"""What follows from how single answers did: pass@k, damage done on the way, and what training bought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from eval.report.arms import ERRORS, PASSED, ArmInput, Values, by_prompt, mean_of
from eval.statistics import bootstrap_mean, pass_at_k, wilson

POWERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""The k of pass@k that are reported, as far as there are samples; the number of samples itself comes last."""


class PassAt(TypedDict):
    """pass@k, the mean over prompts with at least k judged samples (`n`)."""

    k: int
    n: int
    rate: float
    ci: list[float]


class Collateral(TypedDict):
    """Prompts that the corrupted model gets right (`right`) and this arm wrong (`broken`), with the Wilson interval."""

    right: int
    broken: int
    rate: float | None
    ci: list[float] | None


class Efficiency(TypedDict):
    """The gain in pass rate over the corrupted model, and that gain for each million of training tokens and minute."""

    gain: float
    per_million_tokens: float | None
    per_minute: float | None


def rate_and_interval(
    prompts: Mapping[str, Sequence[float | None]], seed: int, resamples: int
) -> tuple[float | None, list[float] | None]:
    """The mean over prompts of their mean over samples, and its 95 % interval.

    Wilson's for one 0/1 value a prompt, else the bootstrap over prompts.
    """
    means = [mean for samples in prompts.values() if (mean := mean_of(samples)) is not None]
    if not means:
        return None, None
    if all(len(samples) == 1 for samples in prompts.values()) and all(mean in (0.0, 1.0) for mean in means):
        return sum(means) / len(means), list(wilson(int(sum(means)), len(means)))
    found = bootstrap_mean(means, seed=seed, resamples=resamples)
    return found.value, [found.low, found.high]


def passing_at(values: Values, seed: int, resamples: int) -> list[PassAt]:
    """pass@k where prompts have several samples; empty where they have one."""
    judged = [[v for v in samples if v is not None] for samples in values.get(PASSED, {}).values()]
    most = max((len(samples) for samples in judged), default=0)
    if most < 2:
        return []
    found = []
    for k in [*(power for power in POWERS if power < most), most]:
        rates = [pass_at_k(len(one), int(sum(one)), k) for one in judged if len(one) >= k]
        estimate = bootstrap_mean(rates, seed=seed, resamples=resamples)
        found.append(PassAt(k=k, n=estimate.n, rate=estimate.value, ci=[estimate.low, estimate.high]))
    return found


def collateral(values: Values, before: Values) -> Collateral:
    """What the arm breaks that was whole. With several samples a prompt is right where more than half of them pass."""
    ours, theirs = by_prompt(values, PASSED), by_prompt(before, PASSED)
    kept = [after for prompt, after in ours.items() if after is not None and (theirs.get(prompt) or 0.0) > 0.5]
    broken = sum(after <= 0.5 for after in kept)
    rate, ci = (broken / len(kept), list(wilson(broken, len(kept)))) if kept else (None, None)
    return Collateral(right=len(kept), broken=broken, rate=rate, ci=ci)


def efficiency(arm: ArmInput, rate: float | None, floor: float | None) -> Efficiency | None:
    """What training this arm bought; None where nothing is known of the training or of what it began with."""
    if rate is None or floor is None or arm.kind in ("reference", "corrupted"):
        return None
    if arm.train_tokens is None and arm.train_seconds is None:
        return None
    gain = rate - floor
    return Efficiency(
        gain=gain,
        per_million_tokens=gain / (arm.train_tokens / 1e6) if arm.train_tokens else None,
        per_minute=gain / (arm.train_seconds / 60) if arm.train_seconds else None,
    )


def erring(values: Values) -> dict[str, list[float | None]]:
    """For each prompt and sample whether a recogniser found an error: 1, 0, or None where none could judge."""
    worst: dict[str, list[float | None]] = {}
    for metric, prompts in values.items():
        if not metric.startswith(ERRORS):
            continue
        for prompt, samples in prompts.items():
            known = worst.setdefault(prompt, [None] * len(samples))
            for place, value in enumerate(samples):
                if value is not None:
                    known[place] = max(float(value > 0), known[place] or 0.0)
    return worst
