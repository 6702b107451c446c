"""How many noisy pairs a clean one is worth: a model of accuracy by clean and noisy pairs, and its fit.

The model: a noisy pair counts as w clean ones, and accuracy is a straight line in the signed logarithm of the effective
number of pairs,

    n = clean + w noisy,    accuracy = a + b s(n),    s(n) = sign(n) log(1 + |n| / n0),    b >= 0,

with n0 the smallest number of pairs in the grid. s grows like a logarithm, as learning curves do over a wide range, is
0 where nothing was learnt (the baseline is the point n = 0), and goes on below: with w < 0 noisy pairs undo clean ones,
so N = 1 / w of them are worth a clean one only where w > 0.

w is the minimum of the squared error over a grid, a and b are least squares at every w. The interval is the percentile
bootstrap (Efron and Tibshirani 1993, section 13.3): prompts are drawn together for all cells, and in every cell its
training seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.statistics import CONFIDENCE, Vector

WEIGHTS = np.linspace(-2.0, 2.0, 801)
"""Where w is looked for. At the ends the data say no more than that it lies there or beyond."""
TOO_FEW = "there are too few cells: at least two amounts of pairs, and some noise, are needed"
NO_GAIN = "accuracy does not clearly rise with clean pairs, so there is nothing that noisy ones could be worth"
FALLING = "accuracy falls with more clean pairs, which the model rules out: train for less, or at a lower learning rate"


@dataclass(frozen=True, slots=True)
class Point:
    """Models trained on the same pairs: how many were clean and noisy; what each seed got right, [seeds, prompts]."""

    clean: int
    noisy: int
    values: Vector


@dataclass(frozen=True, slots=True)
class Worth:
    """The fit. `weight` is w, with its interval; `slope` is b; `r_squared` the share of variance between cells.

    `reason` says why there is no figure, where there is none.
    """

    weight: float | None = None
    ci: tuple[float, float] | None = None
    slope: float | None = None
    r_squared: float | None = None
    reason: str = ""


def worth(points: Sequence[Point], baseline: Vector, *, seed: int, resamples: int) -> Worth:
    """Fit the model to some cells and the baseline, whose values have shape [prompts]."""
    amounts = {point.clean + point.noisy for point in points}
    if len(points) < 2 or not any(point.noisy for point in points) or not any(not point.noisy for point in points):
        return Worth(reason=TOO_FEW)
    every = [Point(0, 0, baseline[None, :]), *points]
    scale = float(min(amounts))
    found = np.array([[point.values.mean() for point in every]])
    drawn = _resampled(every, seed, resamples)
    if reason := _ruled_out(every, drawn, scale):
        return Worth(reason=reason)
    (weight,), (slope,), (error,) = fitted(every, found, scale)
    weights, _, _ = fitted(every, drawn, scale)
    low, high = np.quantile(weights, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    spread = float(((found - found.mean()) ** 2).sum())
    explained = 1 - float(error) / spread if spread else None
    return Worth(float(weight), (float(low), float(high)), float(slope), explained)


def _ruled_out(points: Sequence[Point], drawn: Vector, scale: float) -> str:
    """Why resampled accuracies, [resamples, points], do not go with the model; empty where they do.

    Clean pairs alone have to help against the baseline, the first point, and more of them must not clearly harm.
    """
    clean = [place for place, point in enumerate(points) if not point.noisy]
    x = _signed_log(_pairs(points, 0.0), scale)
    sure = (1 + CONFIDENCE) / 2
    if (_slope(x[clean[1:]], drawn[:, clean[1:]]) < 0).mean() >= sure:
        return FALLING
    return NO_GAIN if (_slope(x[clean], drawn[:, clean]) > 0).mean() < sure else ""


def fitted(points: Sequence[Point], accuracies: Vector, scale: float) -> tuple[Vector, Vector, Vector]:
    """The best weight, its slope and squared error for each row of `accuracies`, [draws, points]."""
    x = np.stack([_signed_log(_pairs(points, float(weight)), scale) for weight in WEIGHTS])
    square = ((x - x.mean(1, keepdims=True)) ** 2).sum(1)
    slopes = np.stack([np.maximum(_slope(row, accuracies), 0.0) for row in x], axis=1)
    total = ((accuracies - accuracies.mean(1, keepdims=True)) ** 2).sum(1)
    errors = total[:, None] - slopes**2 * square
    best = errors.argmin(1)
    rows = np.arange(len(accuracies))
    return WEIGHTS[best], slopes[rows, best], errors[rows, best]


def exchange(weight: float) -> float | None:
    """N = 1 / w: noisy pairs that are worth a clean one. None where no number is."""
    return 1 / weight if weight > 0 else None


def _pairs(points: Sequence[Point], weight: float) -> Vector:
    return np.array([point.clean + weight * point.noisy for point in points])


def _signed_log(pairs: Vector, scale: float) -> Vector:
    return np.sign(pairs) * np.log1p(np.abs(pairs) / scale)


def _slope(x: Vector, accuracies: Vector) -> Vector:
    """The least-squares slope of each row of `accuracies`, [draws, points], over x."""
    centred = x - x.mean()
    square = float((centred**2).sum())
    return np.zeros(len(accuracies)) if square == 0 else np.asarray(accuracies @ centred / square)


def _resampled(points: Sequence[Point], seed: int, resamples: int) -> Vector:
    """Accuracies of all points over resamples, [resamples, points]."""
    draw = np.random.default_rng(seed)
    prompts = points[0].values.shape[1]
    shares = draw.multinomial(prompts, [1 / prompts] * prompts, resamples) / prompts
    columns = []
    for point in points:
        by_seed = shares @ point.values.T
        seeds = draw.integers(0, len(point.values), by_seed.shape)
        columns.append(np.take_along_axis(by_seed, seeds, axis=1).mean(1))
    return np.stack(columns, axis=1)
