"""From the cells of a noise study to its figures: accuracies, what noise costs, and what a noisy pair is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from eval.statistics import Vector, bootstrap_mean, crossed_mean, holm, paired_bootstrap, wilson
from eval.worth.cells import CLEAN, Cell, Level, Study
from eval.worth.fit import WEIGHTS, Point, exchange, worth

KIND = "worth"


class Change(TypedDict):
    """A difference of accuracies on the same prompts; Holm over all differences of its kind in the report."""

    difference: float
    ci: list[float]
    p_value: float
    p_holm: float


class Figure(TypedDict):
    """One cell: a way of training on some pairs. `gain` is over the baseline, `cost` against as many clean pairs."""

    way: str
    how: str
    rate: str
    rows: int
    clean: int
    noisy: int
    seeds: list[int]
    accuracies: list[float]
    accuracy: float
    ci: list[float]
    gain: Change
    cost: Change | None


class Model(TypedDict):
    """A model that was trained on no pairs, such as the baseline."""

    name: str
    accuracy: float
    ci: list[float]


class Fit(TypedDict):
    """How many noisy pairs a clean one is worth. In `worth_ci` null is "no number, however large"."""

    way: str
    how: str
    cells: int
    weight: float | None
    weight_ci: list[float] | None
    worth: float | None
    worth_ci: list[float | None] | None
    slope: float | None
    r_squared: float | None
    reason: str


class Results(TypedDict):
    """results.json. Rates are shares of 1, in full precision."""

    kind: str
    experiment: str
    metric: str
    n_prompts: int
    baseline: str
    models: list[Model]
    cells: list[Figure]
    fits: list[Fit]
    notes: list[str]
    bootstrap: dict[str, int]


@dataclass(frozen=True)
class _Found:
    mean: float
    low: float
    high: float
    p_value: float


def results_of(study: Study, *, experiment: str, metric: str, seed: int, resamples: int) -> Results:
    """All figures of a study."""
    base = study.models[study.baseline]
    cells = sorted(study.cells, key=_order)
    gains = _changes([_difference(cell.values, base[None, :], seed) for cell in cells])
    pairs = [_clean_of(cell, cells) for cell in cells]
    costs = iter(_changes([_against(cell, clean, seed) for cell, clean in zip(cells, pairs, strict=True) if clean]))
    figures = [
        _figure(cell, seed, gain, next(costs) if clean else None)
        for cell, gain, clean in zip(cells, gains, pairs, strict=True)
    ]
    models = [Model(name=name, accuracy=float(row.mean()), ci=_one(row, seed)) for name, row in study.models.items()]
    return Results(
        kind=KIND,
        experiment=experiment,
        metric=metric,
        n_prompts=len(study.prompts),
        baseline=study.baseline,
        models=models,
        cells=figures,
        fits=_fits(cells, base, seed, resamples),
        notes=_notes(study),
        bootstrap={"seed": seed, "resamples": resamples},
    )


def _order(cell: Cell) -> tuple[str, bool, str, int, list[float]]:
    level = cell.level
    return cell.way, level.how != CLEAN, level.how, level.rows, [float(rate) for rate in level.rate.split(" + ")]


def _figure(cell: Cell, seed: int, gain: Change, cost: Change | None) -> Figure:
    level = cell.level
    return Figure(
        way=cell.way,
        how=level.how,
        rate=level.rate,
        rows=level.rows,
        clean=level.clean,
        noisy=level.noisy,
        seeds=list(cell.seeds),
        accuracies=[float(row.mean()) for row in cell.values],
        accuracy=float(cell.values.mean()),
        ci=_interval(cell.values, seed),
        gain=gain,
        cost=cost,
    )


def _interval(values: Vector, seed: int) -> list[float]:
    """Over seeds and prompts where there are several of both, else over prompts."""
    if min(values.shape) > 1:
        found = crossed_mean(values.tolist())
        return [max(0.0, found.low), min(1.0, found.high)]
    return _one(values.mean(0), seed)


def _one(values: Vector, seed: int) -> list[float]:
    """One model's interval over prompts: Wilson's where each is right or wrong."""
    if np.isin(values, (0.0, 1.0)).all():
        return list(wilson(int(values.sum()), values.size))
    found = bootstrap_mean(values.tolist(), seed=seed)
    return [found.low, found.high]


def _difference(a: Vector, b: Vector, seed: int) -> _Found:
    """The mean of a - b, [seeds, prompts] each or one row for all seeds."""
    table = a - b
    if min(table.shape) > 1:
        crossed = crossed_mean(table.tolist())
        return _Found(crossed.mean, crossed.low, crossed.high, crossed.p_value)
    paired = paired_bootstrap(a.mean(0).tolist(), b.mean(0).tolist(), seed=seed)
    return _Found(paired.mean, paired.low, paired.high, paired.p_value)


def _changes(found: Sequence[_Found]) -> list[Change]:
    adjusted = holm([one.p_value for one in found])
    return [
        Change(difference=one.mean, ci=[one.low, one.high], p_value=one.p_value, p_holm=p_holm)
        for one, p_holm in zip(found, adjusted, strict=True)
    ]


def _clean_of(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """The cell of the same way and number of pairs without noise that shares seeds with this one, if there is one."""
    if not cell.level.noisy:
        return None
    same = [
        other
        for other in cells
        if other.way == cell.way
        and other.level.rows == cell.level.rows
        and not other.level.noisy
        and set(other.seeds) & set(cell.seeds)
        and other.level.how in (cell.level.how, CLEAN)
    ]
    return next((other for other in same if other.level.how == cell.level.how), same[0] if same else None)


def _against(cell: Cell, clean: Cell, seed: int) -> _Found:
    shared = [one for one in cell.seeds if one in clean.seeds]
    rows = [found.values[[found.seeds.index(one) for one in shared]] for found in (cell, clean)]
    return _difference(rows[0], rows[1], seed)


def _fits(cells: Sequence[Cell], baseline: Vector, seed: int, resamples: int) -> list[Fit]:
    """One for every way and kind of noise. Clean pairs that no noise node made count for every kind."""
    kinds = dict.fromkeys((cell.way, cell.level.how) for cell in cells if cell.level.how != CLEAN)
    made = []
    for way, how in kinds:
        known = [cell for cell in cells if cell.way == way and cell.level.how in (how, CLEAN)]
        found = worth(
            [Point(cell.level.clean, cell.level.noisy, cell.values) for cell in known],
            baseline,
            seed=seed,
            resamples=resamples,
        )
        low, high = found.ci or (0.0, 0.0)
        made.append(
            Fit(
                way=way,
                how=how,
                cells=len(known),
                weight=found.weight,
                weight_ci=list(found.ci) if found.ci else None,
                worth=exchange(found.weight) if found.weight is not None else None,
                worth_ci=[exchange(high), exchange(low)] if found.ci else None,
                slope=found.slope,
                r_squared=found.r_squared,
                reason=found.reason,
            )
        )
    return made


def _notes(study: Study) -> list[str]:
    """What a reader must know before believing the figures."""
    notes = []
    if any(len(cell.seeds) == 1 for cell in study.cells):
        notes.append(
            "Some cells were trained once, with one seed. Their intervals cover the choice of prompts, not the chance "
            "in training."
        )
    if study.unjudged:
        notes.append(f"{study.unjudged} prompts are left out, since some model's answer to them could not be judged.")
    return notes


def at_an_end(fit: Fit) -> bool:
    """Whether the interval of w reaches the end of where w was looked for, and so may be wider."""
    ends = fit["weight_ci"] or [0.0, 0.0]
    return ends[0] <= WEIGHTS[0] or ends[1] >= WEIGHTS[-1]


def levels_of(cells: Sequence[Figure]) -> list[str]:
    """The rates of some cells, in order."""
    return sorted({cell["rate"] for cell in cells}, key=lambda rate: [float(one) for one in rate.split(" + ")])


__all__ = ["KIND", "Figure", "Fit", "Level", "Results", "at_an_end", "levels_of", "results_of"]
