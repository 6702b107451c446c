"""The arms of a comparison: how each was trained, and its scores by metric, prompt and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.failures import UserError
from pipeline.records import ScoredRecord

Kind = Literal["reference", "corrupted", "mended", "control", "model"]
PASSED = "passed"
COMPILES = "compiles"
ERRORS = "errors/"
SHOWN = 4
"""Names that a note lists at most."""

Values = dict[str, dict[str, list[float | None]]]
"""Metric -> prompt id -> the value of each sample, of one arm."""


@dataclass(frozen=True, slots=True)
class ArmInput:
    """One model of the comparison: how it was trained, and every score of its answers.

    `family` is the name it shares with the arms that differ from it in their training seed alone. `floor` and `ceiling`
    name the arms between which its own gap lies, where these are not the same for all arms.
    """

    name: str
    node: str
    family: str
    kind: Kind
    loss: str | None
    mask: str | None
    seed: int
    learning_rate: float | None
    train_seconds: float | None
    train_tokens: int | None
    scores: Sequence[ScoredRecord]
    floor: str | None = None
    ceiling: str | None = None


def values_of(arms: Sequence[ArmInput]) -> tuple[dict[str, Values], list[str]]:
    """Every arm's values of the metrics that all arms have, and a note about those that only some have.

    Raises a data error where a metric was not measured on the same answers in every arm.
    """
    if not arms or not any(row.scores for row in arms[0].scores):
        raise UserError("data", "there are no scores to compare.", hint="Score the answers of at least one arm first.")
    values = {arm.name: _values(arm) for arm in arms}
    if len(values) < len(arms):
        raise UserError("data", "two arms have the same name.", ", ".join(arm.name for arm in arms))
    every = dict.fromkeys(metric for one in values.values() for metric in one)
    common = [metric for metric in every if all(metric in one for one in values.values())]
    first, *others = arms
    for other in others:
        _check_same(first, other, "prompts", *(_prompts(values[arm.name], common) for arm in (first, other)))
        for metric in common:
            answers = (_answers(values[arm.name][metric]) for arm in (first, other))
            _check_same(first, other, f"answers by '{metric}'", *answers)
    if not common:
        raise UserError(
            "data", "no metric was measured in every arm.", ", ".join(values), "Score all arms with the same scorers."
        )
    kept = {name: {metric: one[metric] for metric in common} for name, one in values.items()}
    return kept, _left_out([metric for metric in every if metric not in common], values)


def _values(arm: ArmInput) -> Values:
    try:
        return values_of_rows(arm.scores)
    except ValueError as error:
        raise UserError("data", str(error), f"arm '{arm.name}'") from None


def values_of_rows(rows: Sequence[ScoredRecord]) -> Values:
    """The values of one arm. Raises ValueError where an answer has two scores by one metric."""
    values: Values = {}
    known: set[tuple[str, int, str]] = set()
    for row in sorted(rows, key=lambda row: (row.id, row.sample)):
        for score in row.scores:
            place = (row.id, row.sample, score.metric)
            if place in known:
                raise ValueError(f"prompt {row.id!r} has more than one score '{score.metric}'.")
            known.add(place)
            values.setdefault(score.metric, {}).setdefault(row.id, []).append(score.value)
    return values


def _prompts(values: Values, metrics: Sequence[str]) -> set[object]:
    return {prompt for metric in metrics for prompt in values[metric]}


def _answers(prompts: Mapping[str, Sequence[float | None]]) -> set[object]:
    return {(prompt, place) for prompt, samples in prompts.items() for place in range(len(samples))}


def _check_same(first: ArmInput, other: ArmInput, what: str, ours: set[object], theirs: set[object]) -> None:
    apart = ours ^ theirs
    if apart:
        raise UserError(
            "data",
            f"not scored on the same {what}: {len(apart)} are in one only, such as {min(apart, key=str)!r}.",
            f"arms '{first.name}' and '{other.name}'",
            "Generate and score the answers of all arms from the same prompts, with the same scorers.",
        )


def _left_out(metrics: Sequence[str], values: Mapping[str, Values]) -> list[str]:
    """One sentence about the metrics that some arms lack."""
    if not metrics:
        return []
    shown = ", ".join(metrics[:SHOWN]) + (f" and {len(metrics) - SHOWN} more" if len(metrics) > SHOWN else "")
    lacking = [name for name, one in values.items() if any(metric not in one for metric in metrics)]
    arms = ", ".join(lacking[:SHOWN]) + (f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else "")
    return [f"Not compared, because not every arm has it: {shown} (missing in {arms})."]


def by_prompt(values: Values, metric: str) -> dict[str, float | None]:
    """A metric's value for each prompt: the mean over its scored samples, None where none could be scored."""
    return {prompt: mean_of(samples) for prompt, samples in values.get(metric, {}).items()}


def mean_of(samples: Sequence[float | None]) -> float | None:
    scored = [value for value in samples if value is not None]
    return sum(scored) / len(scored) if scored else None


def scored(values: Values, metric: str) -> list[float]:
    """The values of all answers that could be scored."""
    return [value for samples in values.get(metric, {}).values() for value in samples if value is not None]


def samples_of(values: Values) -> int:
    """Answers to a prompt, at most."""
    return max((len(samples) for prompts in values.values() for samples in prompts.values()), default=0)


def aligned(*sides: Mapping[str, float | None]) -> list[list[float]]:
    """The values of each side for the prompts that all sides have judged, in the order of their ids."""
    kept = [prompt for prompt in sorted(sides[0]) if all(side.get(prompt) is not None for side in sides)]
    return [[float(side[prompt] or 0.0) for prompt in kept] for side in sides]
