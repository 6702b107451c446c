"""The built-in corpus: Python questions and answers made by program, with executable tests, from a seed alone.

It exists so that the whole system runs with no download: a small model learns it from scratch in minutes, and every
answer offers places where an error can be embedded and is then caught by the answer's own tests.

To add a task family, write a `Family` in a module here and list it in `FAMILIES`.
"""

from __future__ import annotations

from random import Random

from pipeline.failures import UserError
from pipeline.records import QARecord
from pipeline.sources.builtin import lists, numbers, recursion, searching, slices, tables, text
from pipeline.sources.builtin.family import Exercise, Family

FAMILIES: tuple[Family, ...] = (
    lists.THRESHOLD_COUNT,
    slices.WINDOWS,
    recursion.STEPS,
    text.WORDS,
    numbers.RANGE_SUM,
    tables.LOOKUP,
    lists.NEIGHBOURS,
    searching.COMMA_WALK,
    numbers.BOXES,
    tables.REPEATS,
    slices.TRIM,
    searching.WHILE_SEARCH,
    recursion.MEMO,
    numbers.CLAMP,
    text.CHARACTERS,
    slices.MIDDLE,
)
"""Rows take the families in turn. Their order, like their number, decides what every seed gives."""

REDRAWS = 1000
"""A new prompt that is not found in so many draws means that the family's prompts are as good as used up."""


def build(rows: int, seed: int) -> list[QARecord]:
    """The first `rows` records of the corpus of this seed, all with different prompts.

    Row i depends on the seed and on the rows before it, so a smaller corpus is a prefix of a larger one.
    """
    prompts: set[str] = set()
    records = []
    for index in range(rows):
        family = FAMILIES[index % len(FAMILIES)]
        exercise = _new_exercise(family, seed, index, prompts)
        prompts.add(exercise.prompt)
        records.append(_record(family, exercise, f"builtin-{seed}-{index:06d}"))
    return records


def _new_exercise(family: Family, seed: int, index: int, prompts: set[str]) -> Exercise:
    """The row's first draw whose prompt is new. Every draw comes from the row's own generator, never a global one."""
    random = Random(f"{seed}:{index}")
    for _ in range(REDRAWS):
        exercise = family.draw(random)
        if exercise.prompt not in prompts:
            return exercise
    raise UserError(
        "data",
        f"found no new prompt for row {index} in {REDRAWS} draws.",
        f"builtin/{family.name}",
        "The built-in corpus has no more different prompts: ask for fewer rows.",
    )


def _record(family: Family, exercise: Exercise, row_id: str) -> QARecord:
    return QARecord(row_id, exercise.prompt, exercise.response, f"builtin/{family.name}", exercise.tests)
