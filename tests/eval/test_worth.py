"""How many noisy pairs a clean one is worth: the fit on data whose answer is known, and what the report says of it."""

from __future__ import annotations

import csv
import json
import re
from io import StringIO
from math import log
from typing import Any

import numpy as np
import pytest

from eval.worth.cells import CLEAN, Cell, Level, Study, way_names
from eval.worth.fit import FALLING, NO_GAIN, TOO_FEW, Point, Worth, exchange, fitted, worth
from eval.worth.page import heat_maps, to_html
from eval.worth.results import Results, levels_of, results_of
from eval.worth.text import fit_cells, maps, sentence, to_csv, to_markdown
from pipeline.failures import UserError
from pipeline.store import Manifest

GRID = [(rows, rate) for rows in (80, 160, 320) for rate in (0.0, 0.25, 0.5)]


def line(effective: float) -> float:
    """The model by hand, with n0 = 80: 0.2 + 0.2 s(n)."""
    sign = (effective > 0) - (effective < 0)
    return 0.2 + 0.2 * sign * log(1 + abs(effective) / 80)


def points(weight: float, prompts: int = 4, noise: Any = None) -> list[Point]:
    """Cells whose accuracies are the model's, the same for each of two seeds; or prompts drawn with that chance."""
    made = []
    for rows, rate in GRID:
        noisy = int(rows * rate)
        chance = line(rows - noisy + weight * noisy)
        values = np.full((2, prompts), chance) if noise is None else (noise.random((2, prompts)) < chance) * 1.0
        made.append(Point(rows - noisy, noisy, values))
    return made


BASE = np.full(4, line(0))


@pytest.mark.parametrize("weight", [-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5])
def test_the_fit_finds_the_weight_that_made_the_data(weight: float) -> None:
    found = worth(points(weight), BASE, seed=0, resamples=50)
    assert found.weight == pytest.approx(weight, abs=1e-9)
    assert found.slope == pytest.approx(0.2, abs=1e-9)
    assert found.r_squared == pytest.approx(1.0, abs=1e-9)
    assert found.ci == pytest.approx((weight, weight), abs=1e-9)


def test_two_cells_and_the_baseline_by_hand() -> None:
    """80 clean pairs give 0.5; 40 clean and 40 noisy as much as 60 clean ones would: w = 1/2, N = 2."""
    slope = 0.3 / log(2)
    cells = [Point(80, 0, np.array([[0.5]])), Point(40, 40, np.array([[0.2 + slope * log(1 + 60 / 80)]]))]
    found = worth(cells, np.array([0.2]), seed=0, resamples=10)
    assert found.weight == pytest.approx(0.5, abs=1e-9) and found.slope == pytest.approx(slope)
    assert exchange(0.5) == 2


@pytest.mark.parametrize(("weight", "expected"), [(0.25, 4.0), (1.0, 1.0), (2.0, 0.5), (0.0, None), (-1.0, None)])
def test_noisy_pairs_that_do_not_help_are_worth_no_number(weight: float, expected: float | None) -> None:
    assert exchange(weight) == expected


def test_the_interval_covers_the_weight_about_as_often_as_it_says() -> None:
    """40 data sets of 300 prompts and two seeds: a right 95% interval misses more than six with chance 0.01."""
    missed = 0
    for number in range(40):
        draw = np.random.default_rng(number)
        base = (draw.random(300) < line(0)) * 1.0
        found = worth(points(0.5, 300, draw), base, seed=number, resamples=300)
        assert found.ci is not None
        missed += not found.ci[0] <= 0.5 <= found.ci[1]
    assert missed <= 6


def test_without_gain_from_clean_pairs_nothing_is_said() -> None:
    draw = np.random.default_rng(0)
    flat = [Point(rows, noisy, (draw.random((2, 200)) < 0.3) * 1.0) for rows, noisy in ((80, 0), (160, 0), (80, 80))]
    found = worth(flat, (draw.random(200) < 0.3) * 1.0, seed=0, resamples=200)
    assert found == Worth(reason=NO_GAIN)


def test_where_more_clean_pairs_do_harm_the_model_is_not_fitted() -> None:
    """80 clean pairs beat the baseline and 320 do too, but less: a monotone curve has no room for that."""
    draw = np.random.default_rng(0)
    chances = {(80, 0): 0.8, (320, 0): 0.6, (160, 160): 0.3}
    made = [Point(*pairs, (draw.random((2, 200)) < chance) * 1.0) for pairs, chance in chances.items()]
    found = worth(made, (draw.random(200) < 0.2) * 1.0, seed=0, resamples=200)
    assert found == Worth(reason=FALLING)


@pytest.mark.parametrize("cells", [[(80, 0)], [(80, 0), (160, 0)], [(40, 40), (80, 80)]])
def test_too_few_kinds_of_cells_fit_nothing(cells: list[tuple[int, int]]) -> None:
    made = [Point(clean, noisy, np.ones((1, 4))) for clean, noisy in cells]
    assert worth(made, BASE, seed=0, resamples=10) == Worth(reason=TOO_FEW)


def test_a_slope_is_never_negative() -> None:
    made = [Point(0, 0, BASE[None]), Point(80, 0, BASE[None]), Point(160, 0, BASE[None])]
    falling = np.array([[0.5, 0.4, 0.3]])
    _, slopes, errors = fitted(made, falling, 80.0)
    assert slopes.tolist() == [0] and errors == pytest.approx([0.02])


# Results


def cell(rows: int, noisy: int, *seeds: list[int], how: str = "flip", way: str = "dpo / response") -> Cell:
    rate = f"{noisy / rows:g}"
    values = np.array([[1.0] * right + [0.0] * (len(seeds[0]) and 10 - right) for (right,) in seeds])
    return Cell(way, Level(how, rate, rows - noisy, noisy), tuple(range(len(seeds))), values)


def study(*cells: Cell) -> Study:
    base = np.array([1.0] * 2 + [0.0] * 8)
    ceiling = np.ones(10)
    return Study(list(cells), {"corrupted": base, "<b>top</b>": ceiling}, "corrupted", [str(n) for n in range(10)], 0)


CLEAN_CELL = cell(80, 0, [6], [8], how=CLEAN)
NOISY_CELL = cell(80, 40, [4], [5])


def results(*cells: Cell) -> Results:
    return results_of(study(*cells), experiment="<i>n", metric="passed", seed=0, resamples=200)


def test_a_cell_is_held_against_the_baseline_and_as_many_clean_pairs_seed_by_seed() -> None:
    made = results(CLEAN_CELL, NOISY_CELL)
    clean, noisy = made["cells"]
    assert (noisy["how"], noisy["rate"], noisy["clean"], noisy["noisy"]) == ("flip", "0.5", 40, 40)
    assert noisy["accuracies"] == [0.4, 0.5] and noisy["accuracy"] == pytest.approx(0.45)
    assert noisy["gain"]["difference"] == pytest.approx(0.25)
    assert noisy["cost"] is not None and noisy["cost"]["difference"] == pytest.approx(-0.25)
    assert noisy["cost"]["ci"][0] < -0.25 < noisy["cost"]["ci"][1]
    assert clean["cost"] is None and clean["gain"]["difference"] == pytest.approx(0.5)
    assert noisy["cost"]["p_holm"] == noisy["cost"]["p_value"]
    assert clean["gain"]["p_holm"] >= clean["gain"]["p_value"]


def test_the_clean_cell_is_of_the_same_way_rows_and_kind() -> None:
    others = [cell(160, 0, [9], [9]), cell(80, 0, [9], [9], way="ipo / response"), cell(80, 0, [9], [9], how="weaker")]
    made = results(*others, NOISY_CELL)
    found = next(one for one in made["cells"] if one["noisy"])
    assert found["cost"] is None


def test_one_seed_gives_an_interval_over_prompts_and_a_note() -> None:
    made = results(cell(80, 0, [6], how=CLEAN), cell(80, 40, [4]))
    assert made["cells"][0]["ci"] == pytest.approx([0.3127, 0.8318], abs=1e-4)  # Wilson, 6 of 10
    assert "one seed" in made["notes"][0]


def test_clean_pairs_count_for_every_kind_of_noise() -> None:
    made = results(CLEAN_CELL, cell(160, 0, [9], [9], how=CLEAN), NOISY_CELL, cell(80, 40, [5], [6], how="weaker"))
    assert [(fit["how"], fit["cells"]) for fit in made["fits"]] == [("flip", 3), ("weaker", 3)]


def test_rates_are_in_the_order_of_numbers() -> None:
    made = results(*(cell(80, noisy, [5]) for noisy in (0, 4, 8, 80)))
    assert levels_of(made["cells"]) == ["0", "0.05", "0.1", "1"]


# What is written


def fit(weight: float | None, low: float = 0.0, high: float = 0.0) -> Any:
    return {
        "way": "dpo", "how": "flip", "cells": 3, "weight": weight, "weight_ci": None if weight is None else [low, high],
        "worth": exchange(weight) if weight is not None else None,
        "worth_ci": None if weight is None else [exchange(high), exchange(low)],
        "slope": 0.1, "r_squared": 0.9, "reason": "" if weight is not None else "nothing rises",
    }  # fmt: skip


NONE = "dpo, flip: no number of noisy pairs is worth a clean one"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (fit(0.5, 0.25, 0.8), "dpo, flip: a clean pair is worth 2.00 noisy ones (95% interval 1.25 to 4.00)."),
        (fit(0.5, -0.25, 0.8), "dpo, flip: a clean pair is worth 2.00 noisy ones (95% interval 1.25 to no number)."),
        (fit(-0.5, -1, -0.1), f"{NONE} (one counts as -0.50, 95% interval -1.00 to -0.10)."),
        (fit(-0.1, -1, 0.5), f"{NONE} (one counts as -0.10, 95% interval -1.00 to 0.50)."),
        (fit(None), "dpo, flip: nothing rises."),
    ],
)  # fmt: skip
def test_a_fit_in_words(found: Any, said: str) -> None:
    assert sentence(found) == said


def test_an_interval_that_reaches_the_end_of_the_search_says_so() -> None:
    assert fit_cells(fit(1.5, 0.5, 2.0))[-2] == "0.50 to 2.00 or beyond"


def test_all_four_say_the_same() -> None:
    made = results(CLEAN_CELL, NOISY_CELL)
    lines = list(csv.DictReader(StringIO(to_csv(made))))
    found = {(one["section"], one["other"], one["figure"]): one["value"] for one in lines if one["section"] == "cells"}
    assert float(found["cells", "flip 0.5, 40 clean and 40 noisy pairs", "accuracy"]) == made["cells"][1]["accuracy"]
    assert "| **45.0%** |" in to_markdown(made) and "45.0%" in to_html(made)
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_names_never_become_markup() -> None:
    page = to_html(results(CLEAN_CELL, NOISY_CELL))
    assert "<i>n" not in page and "&lt;i&gt;n" in page and "&lt;b&gt;top&lt;/b&gt;" in page
    assert "<script" not in page and "style=" not in page
    assert re.search(r"style-src 'sha256-[^']+'", page.replace("&#39;", "'"))
    assert "<b>" not in to_markdown(results(CLEAN_CELL))


def test_a_heat_map_shades_by_the_distance_from_the_baseline() -> None:
    made = results(cell(80, 0, [10], [10]), cell(80, 40, [2], [2]), cell(80, 80, [0], [0]))
    (heat,) = heat_maps(made)
    assert heat["rows"] == [80]
    assert [(rate, cells[0]["style"]) for rate, cells in heat["rates"]] == [
        ("0", "h6 wins"),
        ("0.5", "h0"),
        ("1", "h2"),
    ]


def test_a_map_has_clean_pairs_at_the_top_unless_its_noise_has_a_level_without() -> None:
    made = results(CLEAN_CELL, NOISY_CELL, cell(80, 0, [7], how="weaker"), cell(80, 40, [5], how="weaker"))
    shown = {how: [(one["how"], one["rate"]) for one in cells] for _, how, cells in maps(made["cells"])}
    assert shown == {"flip": [("none", "0"), ("flip", "0.5")], "weaker": [("weaker", "0"), ("weaker", "0.5")]}
    assert [(how, len(cells)) for _, how, cells in maps(results(CLEAN_CELL)["cells"])] == [("none", 1)]


# Ways


def model(**config: Any) -> Manifest:
    return Manifest("preference", 1, "models", "k", {"loss": "dpo", "mask": "response", "seed": 0, **config}, [])


def test_ways_are_named_by_what_tells_them_apart() -> None:
    models = [model(beta=0.1, limit=80), model(beta=0.1, seed=1), model(beta=0.5), model(loss="ipo", beta=0.1)]
    apart = "dpo / response, beta 0.1"
    assert way_names(models) == [apart, apart, "dpo / response, beta 0.5", "ipo / response"]


def test_ways_that_differ_in_something_else_are_refused() -> None:
    with pytest.raises(UserError, match="differ in more than their pairs and seeds"):
        way_names([model(max_length=512), model(max_length=256)])
