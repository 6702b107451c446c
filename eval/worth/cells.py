"""The cells of a noise study: models that were trained in the same way on the same pairs, over their seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.report.arms import by_prompt, values_of_rows
from eval.report.build import mask_name
from eval.report.evidence import Evidence, evidence_of, input_of, manifest_of
from eval.statistics import Vector
from pipeline.contract import DATA, UNKEYED, Source
from pipeline.failures import UserError, nearest
from pipeline.noise.making import count_noisy
from pipeline.store import Manifest, Store

PREFERENCE, NOISE = "preference", "noise"
CLEAN = "none"
"""What the noise of pairs is called that no noise node made."""
PARAMETERS = (
    "learning_rate",
    "beta",
    "alpha",
    "label_smoothing",
    "gamma",
    "sft_weight",
    "epochs",
    "batch_size",
    "lora",
)
"""What is added to the name of a way of training where loss and mask do not tell two apart."""


@dataclass(frozen=True)
class Level:
    """What the pairs of a model were: the kind of noise, its nominal rate, and how many were clean and noisy."""

    how: str
    rate: str
    clean: int
    noisy: int

    @property
    def rows(self) -> int:
        return self.clean + self.noisy


@dataclass(frozen=True)
class Cell:
    """Models of one way and level. `values` has one row for each of `seeds`, one column a prompt."""

    way: str
    level: Level
    seeds: tuple[int, ...]
    values: Vector


@dataclass(frozen=True)
class Study:
    """All cells; the other models by name, [prompts] each, the baseline among them; prompts that all were judged on."""

    cells: list[Cell]
    models: dict[str, Vector]
    baseline: str
    prompts: list[str]
    unjudged: int


def study_of(sources: Sequence[Source], baseline: str, metric: str) -> Study:
    """Read the scores. Raises where the metric or the baseline is not there, or no model was trained on pairs."""
    evidence = evidence_of(sources)
    others = [found.name for found in evidence if found.model.kind != PREFERENCE]
    if baseline not in others:
        what = f"there are no scores of '{baseline}' here."
        raise UserError("config", what, "baseline", nearest(baseline, others) if others else "Score it as well.")
    trained = [found for found in evidence if found.model.kind == PREFERENCE]
    if not trained:
        raise UserError("data", "no model here was trained on pairs.", "input", "Add scores of preference nodes.")
    judged = {found.name: _judged(found, metric) for found in evidence}
    asked = set().union(*judged.values())
    prompts = sorted(id for id in asked if all(one.get(id) is not None for one in judged.values()))
    if not prompts:
        raise UserError("data", f"no prompt has '{metric}' of every model.", "input", "Score all of them alike.")
    values = {name: np.array([float(one[id] or 0.0) for id in prompts]) for name, one in judged.items()}
    root = sources[0].root.parent.parent
    cells = _cells(trained, values, Store(root))
    return Study(cells, {name: values[name] for name in others}, baseline, prompts, len(asked) - len(prompts))


def _judged(found: Evidence, metric: str) -> dict[str, float | None]:
    values = values_of_rows(list(found.scores.values()))
    if metric not in values:
        raise UserError("config", f"'{found.name}' has no score '{metric}'.", "metric", nearest(metric, list(values)))
    return by_prompt(values, metric)


def _cells(trained: Sequence[Evidence], values: Mapping[str, Vector], store: Store) -> list[Cell]:
    names = way_names([found.model for found in trained])
    levels: dict[tuple[str, int | None], Level] = {}
    groups: dict[tuple[str, Level], dict[int, Vector]] = {}
    for found, way in zip(trained, names, strict=True):
        data = next(item for item in found.model.inputs if item.role == "data")
        limit = found.model.config.get("limit")
        if (data.key, limit) not in levels:
            levels[data.key, limit] = level_of(store.directory(data.product, data.key), limit)
        seeds = groups.setdefault((way, levels[data.key, limit]), {})
        seed = found.model.config["seed"]
        if seed in seeds:
            raise UserError("data", f"two models are {way} with seed {seed} on the same pairs.", found.name)
        seeds[seed] = values[found.name]
    return [Cell(way, level, tuple(seeds), np.stack(list(seeds.values()))) for (way, level), seeds in groups.items()]


def level_of(rows: Path, limit: int | None) -> Level:
    """What the first `limit` pairs of an artifact are, by their own marks and the nodes that made them."""
    noisy, count = count_noisy(rows / DATA, limit)
    chain = _noise_chain(rows)
    how = " + ".join(config["how"] for config in chain) or CLEAN
    rate = " + ".join(f"{config['rate']:g}" for config in chain) or "0"
    return Level(how, rate, count - noisy, noisy)


def _noise_chain(rows: Path) -> list[dict[str, Any]]:
    """The configs of the noise nodes behind rows, the first one first."""
    found = manifest_of(rows)
    if found.kind != NOISE:
        return []
    before = input_of(rows, "input")
    assert before is not None, f"{rows} has no input"
    return [*_noise_chain(rows.parent / before.key), found.config]


def way_names(models: Sequence[Manifest]) -> list[str]:
    """What each model's way of training is called: loss and mask, and the parameters in which ways of both differ."""
    short = [f"{model.config['loss']} / {mask_name(model.config['mask'])}" for model in models]
    named = []
    for name, model in zip(short, models, strict=True):
        alike = [other.config for other, known in zip(models, short, strict=True) if known == name]
        apart = [field for field in PARAMETERS if len({str(config.get(field)) for config in alike}) > 1]
        named.append(", ".join([name, *(f"{field} {model.config.get(field)}" for field in apart)]))
    ways = {(name, _rest(model)) for name, model in zip(named, models, strict=True)}
    if len(ways) > len(set(named)):
        what = "models of one loss and mask differ in more than their pairs and seeds."
        raise UserError("config", what, "input", f"Beyond those they may differ in {', '.join(PARAMETERS)}.")
    return named


def _rest(model: Manifest) -> str:
    """All of a model's way but what is an axis, or changes nothing, and where it starts."""
    axes = UNKEYED | {"seed", "data", "limit"}
    starts = [item.key for item in model.inputs if item.role == "init"]
    return str([sorted((key, str(value)) for key, value in model.config.items() if key not in axes), starts])
