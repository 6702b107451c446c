"""The node kinds of noise studies: few-shot pairs from multiple choice, and noise. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.contract import NodeConfig, NodeKind, Reference, Work

How = Literal["flip", "random-rejected", "weaker", "spans-shift", "spans-widen", "spans-drop", "spans-wrong-side"]
CHARACTERS = 10
"""How far spans are shifted or widened by default, about a word or two of code."""
MOVING = ("spans-shift", "spans-widen")


class FewShotConfig(NodeConfig):
    """Multiple choice as few-shot prompts, answered with a number: preference pairs, or choices to be scored."""

    kind: Literal["few-shot"]
    input: str = Field(description="Answers to choose from, such as HellaSwag's: `hellaswag.train`.")
    examples: str | None = Field(
        default=None,
        description="The rows that solved examples are drawn from, by the seed and the id of the row that gets them; "
        "the input by default. Name the training split where the input is a held-out one.",
    )
    shots: int = Field(default=1, ge=0, description="Solved examples in front of each question.")
    give: Literal["pairs", "choices"] = Field(
        default="pairs",
        description="`pairs`: the right number chosen, a wrong one, drawn, rejected. `choices`: all numbers, for "
        "`likelihood` with `space: false`, which then measures accuracy.",
    )
    limit: int | None = Field(default=None, gt=0, description="Rows taken from the input; all by default.")
    max_rejected: float = Field(default=0.0, ge=0, le=1, description="Share of rejected rows that is put up with.")


class FewShot(NodeKind):
    """Answers to choose from as prompts with examples."""

    name = "few-shot"
    product = "rows"
    version = 1
    Config = FewShotConfig

    def inputs(self, config: FewShotConfig) -> list[Reference]:
        examples = [Reference("examples", config.examples, ("rows",))] if config.examples else []
        return [Reference("input", config.input, ("rows",)), *examples]

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.noise.making import make_few_shot

        for work in works:
            make_few_shot(work)


class NoiseConfig(NodeConfig):
    """Makes a share of preference pairs wrong in one way. Rows noisy at one rate are so at every higher one."""

    kind: Literal["noise"]
    input: str = Field(description="The preference pairs; those of another `noise` node get both kinds of noise.")
    how: How = Field(
        description="`flip`: chosen and rejected change places. `random-rejected`: the rejected answer is another "
        "prompt's. `weaker`: it is the chosen one, rewritten so that its meaning stays. Or the spans are wrong: "
        "`spans-shift` moves them, `spans-widen` makes them longer on both sides, `spans-drop` loses one of them, "
        "`spans-wrong-side` reads each side's as positions in the other answer."
    )
    rate: float = Field(
        ge=0,
        le=1,
        description="Share of noisy rows: those whose draw, by the seed and the row's id, lies below it. Rows to which "
        "this noise cannot be done are rejected at every rate, so that levels have the same rows.",
    )
    characters: int | None = Field(
        default=None,
        gt=0,
        description=f"For `spans-shift` and `spans-widen` alone: how far, {CHARACTERS} characters by default.",
    )
    limit: int | None = Field(default=None, gt=0, description="Rows taken from the input; all by default.")
    max_rejected: float = Field(default=0.5, ge=0, le=1, description="Share of rejected rows that is put up with.")

    @model_validator(mode="after")
    def _characters_of_moving_spans(self) -> Self:
        if self.characters is not None and self.how not in MOVING:
            raise ValueError(f"{self.how} does not read characters: it is for {' and '.join(MOVING)}")
        return self


class Noise(NodeKind):
    """Preference pairs, a share of them wrong on purpose."""

    name = "noise"
    product = "rows"
    version = 1
    Config = NoiseConfig

    def inputs(self, config: NoiseConfig) -> list[Reference]:
        return [Reference("input", config.input, ("rows",))]

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.noise.making import make_noise

        for work in works:
            make_noise(work)
