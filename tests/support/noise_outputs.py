"""What the kinds of noise studies make of fixtures: pinned with their versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.worth.cells import Cell, Level, Study
from eval.worth.page import to_html
from eval.worth.results import results_of
from eval.worth.text import to_csv, to_markdown
from pipeline.noise.few_shot import FewShotStage, Give
from pipeline.noise.ring import Ring
from pipeline.noise.stage import NOISES, NoiseStage
from pipeline.records import ChoiceRecord, PreferenceRecord


def few_shot_output() -> Any:
    rows = [ChoiceRecord(str(n), f"Context {n}", ("one", "two", "three", "four"), n % 4, "s") for n in range(8)]
    ring = Ring(((row.id, row) for row in rows), 0)
    gives: tuple[Give, ...] = ("pairs", "choices")
    return [[row.to_row() for row in FewShotStage(ring, 2, 0, give)(rows)[0]] for give in gives]


def noise_output(pairs: Sequence[PreferenceRecord]) -> Any:
    others = Ring(((pair.id, (pair.prompt, pair.rejected)) for pair in pairs), 0)
    made = [NoiseStage(how, 0.5, 0, others=others)(pairs) for how in NOISES]
    return [found.to_row() for both in made for part in both for found in part]


def worth_output() -> Any:
    """The figures of made-up answers in the three forms in which they are rounded or laid out."""
    base = np.array([1.0] * 2 + [0.0] * 8)
    levels = {9: Level("none", "0", 160, 0), 6: Level("none", "0", 80, 0), 4: Level("flip", "0.5", 40, 40)}
    cells = [
        Cell("dpo / response", level, (0, 1), np.array([[1.0] * n + [0.0] * (10 - n) for n in (right, right + 1)]))
        for right, level in levels.items()
    ]
    study = Study(cells, {"corrupted": base}, "corrupted", [str(number) for number in range(10)], 1)
    found = results_of(study, experiment="pinned", metric="passed", seed=0, resamples=50)
    return [to_csv(found), to_markdown(found), to_html(found)]
