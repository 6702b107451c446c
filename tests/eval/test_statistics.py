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
    crossed_mean,
    gap_closed,
    holm,
    mcnemar_exact,
    paired_bootstrap,
    pass_at_k,
    pass_rate,
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


@settings(max_examples=40, deadline=None)
@given(pairs=pairs, seed=st.integers(0, 99))
def test_bootstrap_interval_contains_the_estimate(pairs, seed):
    a, b = zip(*pairs, strict=True)
    difference = paired_bootstrap(a, b, seed=seed, resamples=500)
    assert difference.low - 1e-12 <= difference.mean <= difference.high + 1e-12
    assert 0 <= difference.p_value <= 1


@settings(max_examples=40, deadline=None)
@given(pairs=pairs, seed=st.integers(0, 99))
def test_exchanging_the_arms_mirrors_the_difference(pairs, seed):
    a, b = zip(*pairs, strict=True)
    forth = paired_bootstrap(a, b, seed=seed, resamples=200)
    back = paired_bootstrap(b, a, seed=seed, resamples=200)
    assert (back.mean, back.low, back.high) == pytest.approx((-forth.mean, -forth.high, -forth.low))
    assert back.p_value == pytest.approx(forth.p_value)


@settings(max_examples=20, deadline=None)
@given(pairs=pairs, seed=st.integers(0, 99))
def test_the_seed_decides(pairs, seed):
    a, b = zip(*pairs, strict=True)
    assert paired_bootstrap(a, b, seed=seed, resamples=200) == paired_bootstrap(a, b, seed=seed, resamples=200)


def test_another_seed_draws_other_resamples():
    a, b = [0.1 * i * i for i in range(30)], [0.0] * 30
    assert paired_bootstrap(a, b, seed=0).low != paired_bootstrap(a, b, seed=1).low


@settings(max_examples=20, deadline=None)
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


@settings(deadline=None)
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
