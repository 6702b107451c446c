"""How far judges and recognisers agree with execution: Cohen's kappa over the answers of all arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from eval.report.answers import erring
from eval.report.arms import COMPILES, ERRORS, PASSED, Values
from eval.statistics import kappa

ANY = "errors (any)"


class Agreed(TypedDict):
    """One rater against execution, over the `n` answers that both judged. `kappa` is null where it is not defined.

    `means` says what of the rater should go with passing: "1" or "0". `agree` is the share of answers judged alike.
    """

    rater: str
    means: str
    n: int
    agree: float
    kappa: float | None
    ci: list[float] | None


def agreement(values: Mapping[str, Values], seed: int, resamples: int) -> list[Agreed]:
    """Every metric that says yes or no of answers, and the recognisers together, against whether the tests pass."""
    raters = [name for name in next(iter(values.values())) if name not in (PASSED, COMPILES)]
    found = [_agreed(name, [one[name] for one in values.values()], values, seed, resamples) for name in raters]
    together = [erring(one) for one in values.values()]
    several = sum(name.startswith(ERRORS) for name in raters) > 1
    first = [_agreed(ANY, together, values, seed, resamples)] if several else []
    return [one for one in (*first, *found) if one is not None]


def _agreed(
    name: str,
    ratings: Sequence[Mapping[str, Sequence[float | None]]],
    values: Mapping[str, Values],
    seed: int,
    resamples: int,
) -> Agreed | None:
    """None for a metric that is no yes or no, or that judged no answer that was executed."""
    # A metric of errors, a judge's too, says that something is wrong: 1 should go with failing.
    wrong = name == ANY or ERRORS in name
    tables: dict[str, list[list[int]]] = {}
    for rating, one in zip(ratings, values.values(), strict=True):
        for prompt, passed in one.get(PASSED, {}).items():
            for said, ran in zip(rating.get(prompt, ()), passed, strict=False):
                if said is None or ran is None:
                    continue
                if said not in (0.0, 1.0):
                    return None
                good = said < 0.5 if wrong else said > 0.5
                tables.setdefault(prompt, [[0, 0], [0, 0]])[int(good)][int(ran >= 1)] += 1
    if not tables:
        return None
    cells = [sum(table[row][column] for table in tables.values()) for row in (0, 1) for column in (0, 1)]
    found = kappa([tables[prompt] for prompt in sorted(tables)], seed=seed, resamples=resamples)
    return Agreed(
        rater=name,
        means="0" if wrong else "1",
        n=sum(cells),
        agree=(cells[0] + cells[3]) / sum(cells),
        kappa=found.kappa if found else None,
        ci=[found.low, found.high] if found else None,
    )
