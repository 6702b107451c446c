"""Statistics against textbook figures, and properties that hold for any vectors."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.statistics import (
    bootstrap_mean,
    crossed_mean,
    gap_closed,
    gap_interval,
    holm,
    kappa,
    mcnemar_exact,
    paired_bootstrap,
    pass_at_k,
    pass_rate,
    perplexity,
    sign_flip,
    wilson,
)

bits = st.sampled_from((0.0, 1.0))
quarters = st.integers(-8, 8).map(lambda value: value / 4)
bit_pairs = st.lists(st.tuples(bits, bits), min_size=1, max_size=40)
pairs = st.one_of(bit_pairs, st.lists(st.tuples(quarters, quarters), min_size=1, max_size=40))


def test_wilson_of_8_in_10():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_wilson_of_none_has_z_squared_over_n_plus_z_squared_as_its_upper_end():
    z = 1.959964
    assert wilson(0, 10) == pytest.approx((0.0, z**2 / (10 + z**2)), abs=1e-6)


def test_wilson_is_wider_at_more_confidence():
    low, high = wilson(8, 10, 0.95)
    wide_low, wide_high = wilson(8, 10, 0.99)
    assert wide_low < low < high < wide_high


@given(n=st.integers(1, 2000), share=st.floats(0, 1))
def test_wilson_contains_the_rate_and_stays_within_0_and_1(n, share):
    successes = round(share * n)
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1


@pytest.mark.parametrize("successes, n", [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_proportion(successes, n):
    with pytest.raises(ValueError, match=r"at least one answer|between 0 and n"):
        wilson(successes, n)


def test_mcnemar_by_hand():
    """Five prompts only `a` passes, one only `b`: 2 * (C(6,0) + C(6,1)) / 2**6 = 14 / 64."""
    a = [1] * 5 + [0] + [1, 0]
    b = [0] * 5 + [1] + [1, 0]
    assert mcnemar_exact(a, b) == pytest.approx(14 / 64)


def test_mcnemar_of_the_published_approval_ratings():
    """Agresti, Categorical Data Analysis, table 10.1: 150 and 86 changed their minds; R's binom.test(86, 236)."""
    a, b = [1] * 150 + [0] * 86, [0] * 150 + [1] * 86
    assert mcnemar_exact(a, b) == pytest.approx(3.716e-05, rel=1e-3)


def test_mcnemar_without_disagreement_is_1():
    assert mcnemar_exact([1, 0, 1], [1, 0, 1]) == 1.0


def test_sign_flip_in_every_way_by_hand():
    """Differences 1, 1, 2: of the 8 sign patterns only +++ and --- reach a sum of 4 in size."""
    assert sign_flip([1.5, 1.5, 2.5], [0.5, 0.5, 0.5], seed=0) == pytest.approx(2 / 8)


def test_holm_by_hand():
    """Sorted .005*4, .01*3, .03*2, .04*1, then never falling: .02, .03, .06, .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []


def test_bootstrap_interval_of_two_prompts_by_hand():
    """Differences 0 and 1: resampled means are 0, 1/2, 1 with chance 1/4, 1/2, 1/4, so the 95 % ends are 0 and 1."""
    difference = paired_bootstrap([1, 1], [1, 0], seed=0)
    assert (difference.mean, difference.low, difference.high, difference.n) == (0.5, 0.0, 1.0, 2)


def test_bootstrap_of_one_difference_everywhere_has_no_width():
    difference = paired_bootstrap([0.3] * 5, [0.1] * 5, seed=0)
    assert difference.low == difference.mean == difference.high == pytest.approx(0.2)


def test_one_prompt_proves_nothing():
    assert paired_bootstrap([1], [0], seed=0).p_value == 1.0


@pytest.mark.parametrize("a, b, message", [([], [], "there are none"), ([1], [1, 0], "aligned by prompt")])
def test_paired_comparison_refuses_vectors_that_do_not_pair(a, b, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(a, b, seed=0)


@settings(max_examples=40)
@given(pairs=pairs, seed=st.integers(0, 99))
def test_bootstrap_interval_contains_the_estimate(pairs, seed):
    a, b = zip(*pairs, strict=True)
    difference = paired_bootstrap(a, b, seed=seed, resamples=500)
    assert difference.low - 1e-12 <= difference.mean <= difference.high + 1e-12
    assert 0 <= difference.p_value <= 1


@settings(max_examples=40)
@given(pairs=pairs, seed=st.integers(0, 99))
def test_exchanging_the_arms_mirrors_the_difference(pairs, seed):
    a, b = zip(*pairs, strict=True)
    forth = paired_bootstrap(a, b, seed=seed, resamples=200)
    back = paired_bootstrap(b, a, seed=seed, resamples=200)
    assert (back.mean, back.low, back.high) == pytest.approx((-forth.mean, -forth.high, -forth.low))
    assert back.p_value == pytest.approx(forth.p_value)


@settings(max_examples=20)
@given(pairs=pairs, seed=st.integers(0, 99))
def test_the_seed_decides(pairs, seed):
    a, b = zip(*pairs, strict=True)
    assert paired_bootstrap(a, b, seed=seed, resamples=200) == paired_bootstrap(a, b, seed=seed, resamples=200)


def test_another_seed_draws_other_resamples():
    a, b = [0.1 * i * i for i in range(30)], [0.0] * 30
    assert paired_bootstrap(a, b, seed=0).low != paired_bootstrap(a, b, seed=1).low


@settings(max_examples=20)
@given(pairs=st.lists(st.tuples(bits, bits), min_size=1, max_size=8))
def test_mcnemar_is_the_sign_flip_test_of_bits(pairs):
    """Doubled values are no bits, so `sign_flip` enumerates them; the answer must be McNemar's."""
    a, b = zip(*pairs, strict=True)
    doubled = [[2 * value for value in side] for side in (a, b)]
    assert sign_flip(*doubled, seed=0) == pytest.approx(mcnemar_exact(a, b))


def test_pass_rate_leaves_unscored_answers_out():
    assert pass_rate([1.0, None, 0.0, 1.0, 1.0]) == 0.75


@pytest.mark.parametrize("passed", [[], [None]])
def test_pass_rate_of_nothing_scored_is_an_error(passed):
    with pytest.raises(ValueError, match="at least one scored answer"):
        pass_rate(passed)


@pytest.mark.parametrize(
    "n, passed, k, expected", [(5, 2, 1, 2 / 5), (5, 2, 2, 1 - 3 / 10), (5, 4, 2, 1.0), (5, 0, 3, 0)]
)
def test_pass_at_k_by_hand(n, passed, k, expected):
    assert pass_at_k(n, passed, k) == pytest.approx(expected)


def test_pass_at_k_refuses_more_draws_than_answers():
    with pytest.raises(ValueError, match="k <= n"):
        pass_at_k(2, 1, 3)


@pytest.mark.parametrize("arm, expected", [(0.75, 0.5), (0.5, 0.0), (1.0, 1.0), (0.25, -0.5)])
def test_gap_closed_by_hand(arm, expected):
    assert gap_closed(arm, floor=0.5, ceiling=1.0) == expected


def test_gap_closed_without_a_gap_is_undefined():
    assert gap_closed(0.5, floor=0.9, ceiling=0.9) is None


# Seeds crossed with prompts


def test_a_crossed_mean_by_hand():
    """Rows (seeds) 1 1 0 1 and 0 1 0 0: row means 3/4 and 1/4, column means 1/2 1 0 1/2, mean 1/2.

    MS_seeds = 4 * 2 * (1/4)^2 / 1 = 1/2; MS_prompts = 2 * (0 + 1/4 + 1/4 + 0) / 3 = 1/3; what is left is 1/4 in each of
    the four corners and -1/4 in the four others, so MS_rest = 8/16/3 = 1/6. Variance (1/2 + 1/3 - 1/6) / 8 = 1/12,
    degrees of freedom (2/3)^2 / (1/2)^2 = 16/9.
    """
    found = crossed_mean([[1, 1, 0, 1], [0, 1, 0, 0]])
    reach = 4.9245 * (1 / 12) ** 0.5  # the t quantile of 0.975 at 16/9 degrees of freedom, interpolated from a table
    assert (found.mean, found.seeds, found.prompts) == (0.5, 2, 4)
    assert found.high - found.mean == pytest.approx(reach, rel=0.02)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_a_crossed_mean_has_the_mean_squares_of_an_analysis_of_variance():
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    values = np.random.default_rng(3).normal(size=(4, 9)) + np.arange(4)[:, None] / 4 + np.arange(9)[None, :] / 9
    rows = [{"y": values[s, p], "s": s, "p": p} for s in range(4) for p in range(9)]
    ms_seeds, ms_prompts, ms_rest = anova_lm(ols("y ~ C(s) + C(p)", pd.DataFrame(rows)).fit())["mean_sq"]
    found = crossed_mean(values.tolist())
    from scipy.stats import t

    total = ms_seeds + max(ms_prompts - ms_rest, 0)
    quantile = t.ppf(0.975, total**2 / (ms_seeds**2 / 3))
    assert found.high - found.mean == pytest.approx(quantile * (total / 36) ** 0.5)
    assert found.p_value == pytest.approx(2 * t.sf(abs(found.mean) / (total / 36) ** 0.5, total**2 / (ms_seeds**2 / 3)))


def test_crossed_intervals_cover_the_truth_as_often_as_they_say():
    """Seeds, prompts and the rest all vary: about 95% of intervals over five seeds and forty prompts hold the truth."""
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        table = 0.3 + 0.1 * draw.normal(size=(5, 1)) + 0.3 * draw.normal(size=(1, 40)) + 0.4 * draw.normal(size=(5, 40))
        found = crossed_mean(table.tolist())
        held += found.low <= 0.3 <= found.high
    assert 0.93 <= held / 600 <= 0.98


@given(st.lists(st.lists(bits, min_size=3, max_size=3), min_size=2, max_size=5))
def test_a_crossed_interval_holds_its_mean_and_turns_with_the_sign(table):
    found, mirrored = crossed_mean(table), crossed_mean([[-value for value in row] for row in table])
    assert found.low <= found.mean + 1e-9 and found.mean <= found.high + 1e-9
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    assert 0 <= found.p_value <= 1
    assert found.p_value == pytest.approx(mirrored.p_value)


@pytest.mark.parametrize(("table", "p_value"), [([[1, 1], [1, 1]], 0.0), ([[0, 0], [0, 0]], 1.0)])
def test_a_table_without_variance(table, p_value):
    found = crossed_mean(table)
    assert (found.low, found.high, found.p_value) == (table[0][0], table[0][0], p_value)


@pytest.mark.parametrize("table", [[[1, 0]], [[1], [0]], []])
def test_a_crossed_mean_needs_two_of_each(table):
    with pytest.raises(ValueError, match="at least two of each"):
        crossed_mean(table)


# Figures over prompts with several samples


def test_the_bootstrap_of_a_mean_by_counting():
    """Values 0, 0, 0, 1: a resampled mean is k / 4 with chance C(4, k) 3**(4 - k) / 4**4: .316, .422, .211, .047, .004.

    2.5 % lie at or below 0, 97.5 % at or below 3/4.
    """
    found = bootstrap_mean([0, 0, 0, 1], seed=0)
    assert (found.value, found.low, found.high, found.n) == (0.25, 0.0, 0.75, 4)


def test_the_bootstrap_of_the_treated_mice():
    """Efron and Tibshirani 1993, table 2.1: the mean is 86.86, and table 2.2 gives its bootstrap error as 23.36.

    The mean of a bootstrap distribution is nearly normal: 68.27 % lie within one error.
    """
    found = bootstrap_mean([94, 197, 16, 38, 99, 141, 23], seed=0, confidence=0.6827)
    assert found.value == pytest.approx(86.86, abs=0.005)
    assert (found.high - found.low) / 2 == pytest.approx(23.36, rel=0.05)


def test_a_constant_share_has_the_interval_of_wilson_and_another_constant_none():
    assert bootstrap_mean([1.0] * 10, seed=0).low == pytest.approx(wilson(10, 10)[0])
    assert bootstrap_mean([0.0] * 10, seed=0).high == pytest.approx(wilson(0, 10)[1])
    assert bootstrap_mean([7.5] * 3, seed=0).low == 7.5


def test_nothing_has_no_mean():
    with pytest.raises(ValueError, match="at least one prompt"):
        bootstrap_mean([], seed=0)


def test_the_interval_over_prompts_covers_where_samples_of_a_prompt_are_alike():
    """60 prompts of 8 samples; a prompt's chance of passing is 0 or 1 or between. 200 draws of the whole.

    The interval over prompts covers the true rate 1/2 in about 95 % of the draws. That over answers, as if all 480 were
    independent, is too narrow: it covers far less often.
    """
    draw = np.random.default_rng(5)
    chances = draw.beta(0.3, 0.3, size=(200, 60))
    passed = draw.binomial(8, chances)
    clustered = [bootstrap_mean((row / 8).tolist(), seed=0, resamples=400) for row in passed]
    answers = [wilson(int(row.sum()), 480) for row in passed]
    assert 0.90 <= np.mean([one.low <= 0.5 <= one.high for one in clustered]) <= 0.99
    assert np.mean([low <= 0.5 <= high for low, high in answers]) < 0.75


# The share of a gap

PLACEBO = [9243, 9671, 11792, 13357, 9055, 6290, 12412, 18806]
OLD = [17649, 12013, 19979, 21816, 13850, 9806, 17208, 29044]
NEW = [16449, 14614, 17274, 23798, 12560, 10157, 16570, 26325]


def test_the_share_of_a_gap_is_the_ratio_of_the_patch_data():
    """Efron and Tibshirani 1993, section 10.3, table 10.1: (new - old) / (old - placebo) is -0.0713.

    The share (new - placebo) / (old - placebo) is one more than that. Its error by the delta method, with R the ratio
    and z the differences below: sqrt(sum (y - R z)**2) / (n mean(z)).
    """
    means = [float(np.mean(values)) for values in (NEW, PLACEBO, OLD)]
    assert gap_closed(*means) == pytest.approx(1 - 0.0713, abs=5e-5)
    y, z = np.subtract(NEW, OLD), np.subtract(OLD, PLACEBO)
    error = np.sqrt(((y + 0.0713 * z) ** 2).sum()) / z.sum()
    found = gap_interval(NEW, PLACEBO, OLD, seed=0, confidence=0.6827)
    assert found is not None
    assert (found[1] - found[0]) / 2 == pytest.approx(error, rel=0.1)


def test_a_gap_that_may_not_be_there_bounds_no_share():
    assert gap_interval([1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], seed=0) is None
    assert gap_interval([1, 0], [0, 1], [1, 0], seed=0) is None
    assert gap_interval([1], [0], [1], seed=0) is None
    assert gap_interval([1, 1], [0, 0], [1, 1], seed=0) == (1.0, 1.0)


def test_the_interval_of_a_share_covers_it():
    """300 draws of 80 prompts that pass with 0.2, 0.6 and 0.9: the share is 4/7."""
    draw = np.random.default_rng(3)
    ease = draw.normal(size=(300, 80, 1))
    levels = np.array([-1.19, 0.358, 1.812])  # the normal quantiles of these rates for a sum of variance 2
    passed = (ease + draw.normal(size=(300, 80, 3)) < levels).astype(float)
    found = [gap_interval(one[:, 1], one[:, 0], one[:, 2], seed=0, resamples=400) for one in passed]
    covered = [ends is not None and ends[0] <= 4 / 7 <= ends[1] for ends in found]
    assert 0.90 <= np.mean(covered) <= 0.99


# Perplexity


def test_perplexity_weighs_texts_by_their_tokens():
    """Two texts at log 2 and log 8 a token, of 3 and 1 tokens: exp((3 log 2 + log 8) / 4) = 2**1.5."""
    found = perplexity([-3 * np.log(2), -np.log(8)], [3, 1], seed=0)
    assert found.value == pytest.approx(2**1.5)
    assert (found.low, found.high) == (pytest.approx(2), pytest.approx(8))
    alone = perplexity([-np.log(4)], [1], seed=0)
    assert (alone.value, alone.low, alone.high) == (pytest.approx(4),) * 3


# Agreement


def answers_of(table: list[list[int]]) -> list[list[list[int]]]:
    """Each answer of a table as a prompt of its own."""
    size = range(len(table))
    cells = [(row, column) for row in size for column in size for _ in range(table[row][column])]
    return [[[int((i, j) == cell) for j in size] for i in size] for cell in cells]


def test_kappa_of_cohens_example():
    """Cohen 1968 (Psychological Bulletin 70:213-220), table 1, after Cohen 1960: 200 diagnoses, kappa is .492."""
    found = kappa(answers_of([[88, 10, 2], [14, 40, 6], [18, 10, 12]]), seed=0)
    assert found is not None
    assert found.kappa == pytest.approx(0.492, abs=5e-4)
    assert (found.agree, found.n) == (pytest.approx(0.7), 200)


def test_kappa_by_hand():
    """20 and 15 of 50 agree, 5 and 10 do not: observed 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5, so 0.4."""
    found = kappa(answers_of([[20, 5], [10, 15]]), seed=0)
    assert found is not None
    assert found.kappa == pytest.approx(0.4)
    assert found.low < 0.4 < found.high


@pytest.mark.parametrize("table", [[[5, 0], [0, 0]], [[3, 4], [0, 0]], [[3, 0], [4, 0]]])
def test_a_rater_who_always_says_the_same_has_no_kappa(table):
    assert kappa(answers_of(table), seed=0) is None


def test_both_intervals_of_kappa_agree_where_answers_are_independent():
    """The bootstrap, forced by one prompt with two answers, beside the large-sample interval."""
    apart = answers_of([[60, 20], [15, 55]])
    joined = [(np.array(apart[0]) + np.array(apart[-1])).tolist(), *apart[1:-1]]
    large, drawn = kappa(apart, seed=0), kappa(joined, seed=0)
    assert large is not None and drawn is not None
    assert (drawn.low, drawn.high) == (pytest.approx(large.low, abs=0.02), pytest.approx(large.high, abs=0.02))


def test_the_interval_of_kappa_covers_where_answers_to_a_prompt_are_alike():
    """40 prompts of 10 answers; in half of the prompts the raters always agree, in the others they toss a coin each.

    Both say yes half of the time, so kappa is 1/2.
    """
    draw = np.random.default_rng(11)
    covered = []
    for _ in range(200):
        first, other = draw.integers(0, 2, (2, 40, 10))
        other = np.where(draw.random((40, 1)) < 0.5, first, other)
        tables = [
            [[int(((a == i) & (b == j)).sum()) for j in (0, 1)] for i in (0, 1)]
            for a, b in zip(first, other, strict=True)
        ]
        found = kappa(tables, seed=0, resamples=400)
        assert found is not None
        covered.append(found.low <= 0.5 <= found.high)
    assert 0.88 <= np.mean(covered) <= 0.99


# pass@k against enumeration


@settings(max_examples=200)
@given(passing=st.lists(st.booleans(), min_size=1, max_size=9), data=st.data())
def test_pass_at_k_is_the_share_of_all_draws_with_a_passing_answer(passing, data):
    """By enumerating every way to draw k of the n answers."""
    k = data.draw(st.integers(1, len(passing)))
    draws = list(combinations(passing, k))
    assert pass_at_k(len(passing), sum(passing), k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


@given(n=st.integers(1, 400), data=st.data())
def test_pass_at_k_agrees_with_exact_fractions_and_only_grows(n, data):
    """Chen et al. 2021, equation 1, in whole numbers; more draws or more passing answers never make it less."""
    passed, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - Fraction(comb(n - passed, k), comb(n, k))
    assert pass_at_k(n, passed, k) == pytest.approx(float(exact), abs=1e-9)
    if k < n:
        assert pass_at_k(n, passed, k + 1) >= pass_at_k(n, passed, k) - 1e-12
    assert pass_at_k(n, passed, 1) == pytest.approx(passed / n)


@settings(max_examples=50)
@given(passing=st.lists(st.booleans(), min_size=2, max_size=7), data=st.data())
def test_pass_at_k_is_unbiased(passing, data):
    """Over all samples of n from a larger lot, its mean is the chance of the lot itself."""
    n = data.draw(st.integers(1, len(passing)))
    k = data.draw(st.integers(1, n))
    samples = list(combinations(passing, n))
    mean = sum(pass_at_k(n, sum(sample), k) for sample in samples) / len(samples)
    assert mean == pytest.approx(pass_at_k(len(passing), sum(passing), k), abs=1e-12)
