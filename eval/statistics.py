"""Intervals, paired comparisons and pass rates: thin, typed fronts to scipy and statsmodels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
RESAMPLES = 10_000
BATCH = 1_000
"""Resamples held in memory at once; it does not change the draws."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """``mean(a) - mean(b)`` over `n` prompts, its interval, and the two-sided p-value of the sign-flip test.

    `won` and `lost` count the prompts on which `a` is above and below `b`.
    """

    mean: float
    low: float
    high: float
    p_value: float
    n: int
    won: int
    lost: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure over `n` prompts and its interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cohen's kappa of two raters over `n` answers, its interval, and the share of answers on which they agree."""

    kappa: float
    low: float
    high: float
    agree: float
    n: int


@dataclass(frozen=True, slots=True)
class Crossed:
    """A mean over `seeds` and `prompts`: its interval and the p-value of "it is zero"."""

    mean: float
    low: float
    high: float
    p_value: float
    seeds: int
    prompts: int


def pass_rate(passed: Sequence[float | None]) -> float:
    """The mean of the scored values; None is unscored and counts on neither side."""
    scored = [value for value in passed if value is not None]
    if not scored:
        raise ValueError("a pass rate needs at least one scored answer; all of these are unscored or there are none")
    return float(np.mean(scored))


def pass_at_k(n: int, passed: int, k: int) -> float:
    """The chance that at least one of `k` answers passes, drawn without replacement from `n` of which `passed` do.

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374, equation 1), 1 - C(n - c, k) / C(n, k): one minus the
    hypergeometric chance of drawing no passing answer.
    """
    if not 0 <= passed <= n or not 1 <= k <= n:
        raise ValueError(f"pass@k needs 0 <= passed <= n and 1 <= k <= n; got n={n}, passed={passed}, k={k}")
    return float(stats.hypergeom.sf(0, n, passed, k))


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The score interval of a proportion: Wilson 1927 (JASA 22:209-212); Agresti and Coull 1998, equation 2.

    It stays within [0, 1] and keeps a sensible width at 0 and n successes, where the normal interval collapses.
    """
    if n < 1:
        raise ValueError(f"an interval of a proportion needs at least one answer; n is {n}")
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n; got {successes} of {n}")
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Difference:
    """``mean(a) - mean(b)`` with its percentile bootstrap interval; `a` and `b` are aligned by prompt.

    Prompts are resampled, each with both of its values (Efron and Tibshirani 1993, section 13.3), which for a mean is
    the one-sample bootstrap of the differences. Percentile rather than BCa: BCa is undefined for the near-constant
    vectors that good arms give, and percentiles keep ``(b, a)`` the mirror image of ``(a, b)``. Where every prompt has
    the same difference d, the interval is [d, d]. The p-value does not come from the resamples: see `sign_flip`.
    """
    differences = _differences(a, b)
    p_value = sign_flip(a, b, seed=seed, resamples=resamples)
    counts = differences.size, int((differences > 0).sum()), int((differences < 0).sum())
    if np.ptp(differences) == 0:
        same = float(differences[0])
        return Difference(same, same, same, p_value, *counts)
    low, high = _ends(_resampled((differences,), np.mean, seed, resamples), confidence)
    return Difference(float(differences.mean()), low, high, p_value, *counts)


def bootstrap_mean(
    values: Sequence[float], *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of one value a prompt and its percentile bootstrap interval over prompts.

    Where a prompt has several answers, its value is the mean over them: prompts, not answers, are the draws, so whole
    clusters are resampled (Davison and Hinkley 1997, section 3.8). The bootstrap of a constant has no width, which says
    too much: shares that are the same for every prompt get their Wilson interval.
    """
    found = _vector(values)
    mean = float(found.mean())
    if np.ptp(found) > 0:
        low, high = _ends(_resampled((found,), np.mean, seed, resamples), confidence)
    elif 0 <= mean <= 1:
        low, high = proportion_confint(mean * found.size, found.size, 1 - confidence, method="wilson")
    else:
        low = high = mean
    return Estimate(mean, float(low), float(high), found.size)


def gap_interval(
    arm: Sequence[float],
    floor: Sequence[float],
    ceiling: Sequence[float],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> tuple[float, float] | None:
    """The percentile bootstrap interval of `gap_closed` over prompts, each resampled with its three values.

    A ratio of means by pairs, as the patch data of Efron and Tibshirani 1993, section 10.3. A gap that is not there or
    turned round in more than (1 - confidence) / 2 of the resamples bounds no share (Fieller 1954): None.
    """
    over, gap = _differences(arm, floor), _differences(ceiling, floor)
    if over.size != gap.size:
        raise ValueError(f"paired values must be aligned by prompt; got {over.size} and {gap.size} of them")
    if gap.size < 2 or gap.mean() == 0:
        return None

    def parts(over: Vector, gap: Vector, axis: int = -1) -> Any:
        return np.stack([over.mean(axis), gap.mean(axis)])

    above, below = _resampled((over, gap), parts, seed, resamples)
    kept = below * gap.mean() > 0
    if kept.mean() < (1 + confidence) / 2:
        return None
    return _ends(above[kept] / below[kept], confidence)


def perplexity(
    logps: Sequence[float],
    tokens: Sequence[float],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """exp(-sum of log-probabilities / sum of tokens) over all texts, with its bootstrap interval over texts."""
    sums, counts = _vector(logps), _vector(tokens)
    found = float(_perplexity(sums, counts))
    if sums.size < 2:
        return Estimate(found, found, found, sums.size)
    low, high = _ends(_resampled((sums, counts), _perplexity, seed, resamples), confidence)
    return Estimate(found, low, high, sums.size)


def _perplexity(logps: Vector, tokens: Vector, axis: int = -1) -> Any:
    return np.exp(-logps.sum(axis) / tokens.sum(axis))


def kappa(
    tables: Sequence[Sequence[Sequence[int]]],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Agreement | None:
    """Cohen's kappa (1960, Educational and Psychological Measurement 20:37-46) of two raters.

    Args:
        tables: for each prompt a square table of counts, rows by one rater's category, columns by the other's. One
            table alone is taken as one of independent answers.

    With one answer a prompt the interval is the large-sample one of Fleiss, Cohen and Everitt (1969, Psychological
    Bulletin 72:323-327); with several it is the percentile bootstrap over prompts, since answers to one prompt are
    alike. None where a rater puts every answer into one category: kappa is then 0, or not defined, whatever the other
    says.
    """
    counts = np.asarray(tables, dtype=np.float64)
    total = counts.sum(0)
    if max(total.sum(0).max(), total.sum(1).max()) == total.sum():
        return None
    found = cohens_kappa(total)
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * float(found.std_kappa)
    low, high = found.kappa - reach, found.kappa + reach
    if len(counts) > 1 and (counts.sum((1, 2)) > 1).any():
        draws = np.random.default_rng(seed).multinomial(len(counts), [1 / len(counts)] * len(counts), resamples)
        low, high = _ends(
            _kappas(np.asarray(np.tensordot(draws.astype(np.float64), counts, 1), dtype=np.float64)), confidence
        )
    agree, answers = float(np.trace(total) / total.sum()), int(total.sum())
    return Agreement(float(found.kappa), max(float(low), -1.0), min(float(high), 1.0), agree, answers)


def _kappas(tables: Vector) -> Vector:
    """The kappas of tables of shape [..., c, c] that have one."""
    agree = np.trace(tables, axis1=-2, axis2=-1) / tables.sum((-2, -1))
    chance = _chance(tables)
    kept = chance < 1 - 1e-12
    return np.asarray((agree[kept] - chance[kept]) / (1 - chance[kept]))


def _chance(tables: Vector) -> Vector:
    """The agreement of two raters who keep their shares and draw by chance."""
    shares = tables / tables.sum((-2, -1), keepdims=True)
    return np.asarray((shares.sum(-1) * shares.sum(-2)).sum(-1))


def sign_flip(a: Sequence[float], b: Sequence[float], *, seed: int, resamples: int = RESAMPLES) -> float:
    """Two-sided p-value of "which arm gave which answer does not matter", by exchanging the two values of prompts.

    Fisher's paired randomisation test (The Design of Experiments, 1935, section 21). On 0/1 values it *is* the exact
    McNemar test, which is then used; other values are exchanged at random `resamples` times, or in every way if fewer.
    """
    differences = _differences(a, b)
    if np.isin([a, b], (0.0, 1.0)).all():
        return mcnemar_exact(a, b)
    if differences.size == 1:
        return 1.0
    outcome = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda left, right, axis: np.mean(left - right, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=BATCH,
        rng=np.random.default_rng(seed),
    )
    return float(outcome.pvalue)


def mcnemar_exact(a: Sequence[float], b: Sequence[float]) -> float:
    """Exact two-sided McNemar p-value of two 0/1 vectors aligned by prompt: McNemar 1947 (Psychometrika 12:153-157).

    Only prompts on which the two disagree count: under the null each side wins such a prompt with chance 1/2.
    """
    differences = _differences(a, b)
    only_a, only_b = int((differences > 0).sum()), int((differences < 0).sum())
    return float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue)


def crossed_mean(table: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> Crossed:
    """The mean of a table of seeds (rows) by prompts (columns), both of them draws, with its t interval.

    A two-way layout without replication, rows and columns random: the analysis of multi-reader multi-case studies
    (Dorfman, Berbaum and Metz 1992, Investigative Radiology 27:723-731), with training seeds for readers and prompts
    for cases. Its variance is (MS_seeds + max(MS_prompts - MS_rest, 0)) / (seeds * prompts), its degrees of freedom
    are Hillis's (2007, Statistics in Medicine 26:596-619): the square of that sum over MS_seeds^2 / (seeds - 1).

    Few seeds give few degrees of freedom, and so wide intervals: that is the point. A table without any variance has
    the mean for an interval, and a p-value of 0, or of 1 where the mean is 0.
    """
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"an interval over seeds and prompts needs at least two of each; the table is {values.shape}")
    seeds, prompts = values.shape
    mean = float(values.mean())
    by_seed, by_prompt = values.mean(1) - mean, values.mean(0) - mean
    rest = values - mean - by_seed[:, None] - by_prompt[None, :]
    ms_seeds = prompts * float((by_seed**2).sum()) / (seeds - 1)
    ms_prompts = seeds * float((by_prompt**2).sum()) / (prompts - 1)
    ms_rest = float((rest**2).sum()) / ((seeds - 1) * (prompts - 1))
    total = ms_seeds + max(ms_prompts - ms_rest, 0.0)
    error = math.sqrt(total / (seeds * prompts))
    if error < 1e-12:
        return Crossed(mean, mean, mean, float(abs(mean) < 1e-12), seeds, prompts)
    freedom = total**2 / (ms_seeds**2 / (seeds - 1)) if ms_seeds > 0 else math.inf
    reach = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Crossed(mean, mean - reach, mean + reach, p_value, seeds, prompts)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number, in the order given: Holm 1979 (Scand. J. Statist. 6:65-70)."""
    if not p_values:
        return []
    return [float(value) for value in multipletests(p_values, method="holm")[1]]


def gap_closed(arm: float, floor: float, ceiling: float) -> float | None:
    """The share of the way from `floor` to `ceiling` that `arm` has come; None where the two are equal.

    Below 0 where the arm is worse than the floor, above 1 where it is better than the ceiling. The field's "performance
    gap recovered": Burns et al. 2023 (arXiv 2312.09390, section 3).
    """
    if ceiling == floor:
        return None
    return (arm - floor) / (ceiling - floor)


def _resampled(values: tuple[Vector, ...], statistic: Callable[..., Any], seed: int, resamples: int) -> Vector:
    """A statistic of vectors aligned by prompt, over resamples of the prompts, shape [..., resamples]."""
    found = stats.bootstrap(
        values,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=BATCH,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return np.asarray(found.bootstrap_distribution, dtype=np.float64)


def _ends(resamples: Vector, confidence: float) -> tuple[float, float]:
    """The percentile interval (Efron and Tibshirani 1993, section 13.3)."""
    low, high = np.quantile(resamples, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def _vector(values: Sequence[float]) -> Vector:
    if not len(values):
        raise ValueError("a figure needs at least one prompt; there are none")
    return np.asarray(values, dtype=np.float64)


def _differences(a: Sequence[float], b: Sequence[float]) -> Vector:
    """``a - b`` by prompt, shape [n], float64."""
    if len(a) != len(b):
        raise ValueError(f"paired values must be aligned by prompt; got {len(a)} and {len(b)} of them")
    if not len(a):
        raise ValueError("a paired comparison needs at least one prompt; there are none")
    return np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
