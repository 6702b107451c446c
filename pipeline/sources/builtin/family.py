"""What a task family is, and how one exercise is drawn from it.

A family is text with gaps, and three small functions: `choose` draws what goes into the gaps, `inputs` gives the calls
to test, and `solve` computes what they must return. `solve` is written apart from the answer's code, so that a mistake
in either shows up as a failing test rather than as a wrong expectation.

A model of 1.8 M parameters has to learn this from some two thousand rows. So the prompt always says everything
that the tests check (names, numbers, what happens at the edges), and copying it is all that the answer needs. What was
seen to be too hard in a few hundred steps: two free numbers in one prompt (they are swapped), a free letter, and a word
such as rises/falls that turns one token of the code about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pipeline.records import FunctionTest
from pipeline.sources.builtin import words
from pipeline.sources.builtin.words import Words

Facts = dict[str, Any]
"""What fills the gaps of a family's texts: gap -> word or number."""

Arguments = Sequence[Any]
"""The arguments of one call: plain JSON values."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """One drawn exercise: the question, the good answer and the calls that check it."""

    prompt: str
    response: str
    tests: tuple[FunctionTest, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Exercises of one kind. Texts are `str.format` templates over the facts, the parameters and `name`."""

    name: str

    verbs: Words
    """The first half of the function's name; a noun of `words.NOUNS` is the second."""

    parameters: Mapping[str, Words]
    """Gap -> names to choose from, one entry per parameter of the function, in order."""

    requests: Words
    """What the prompt asks for, from the verb on: 'counts the entries above 3 ...'. Says what happens at edges."""

    summary: str
    """The same in short, from the verb on, for the answer's opening sentence."""

    remark: str
    """The same as an order ('Count the entries above 3.'), for a docstring or a comment."""

    code: str
    """The whole block; `{note}` stands at the start of the function's body for a docstring, a comment or nothing."""

    explanations: Words
    """What the answer says after the code: complexity and behaviour."""

    choose: Callable[[Random], Facts]
    inputs: Callable[[Random, Facts], Sequence[Arguments]]
    """Four to eight calls: boundaries (empty, single, exactly at each threshold) and typical ones."""

    solve: Callable[..., Any]
    """`solve(facts, *arguments)`: the expected value, or ValueError where the function must raise it."""

    def draw(self, random: Random) -> Exercise:
        """One exercise, from this generator alone."""
        facts = self.choose(random)
        name = f"{random.choice(self.verbs)}_{random.choice(words.NOUNS)}"
        chosen = {gap: random.choice(names) for gap, names in self.parameters.items()}
        gaps = {**facts, **chosen, "name": name, "call": f"{name}({', '.join(chosen.values())})"}
        return Exercise(
            prompt=_fill(random.choice(words.ASKING), gaps, request=_fill(random.choice(self.requests), gaps)),
            response=self._response(random, gaps),
            tests=self._tests(name, facts, self.inputs(random, facts)),
        )

    def _response(self, random: Random, gaps: Facts) -> str:
        """Prose, one fenced block, prose."""
        opening = _fill(random.choice(words.OPENING), gaps, summary=_fill(self.summary, gaps))
        note = _fill(random.choice(words.NOTES), gaps, remark=_fill(self.remark, gaps))
        code = _fill(self.code, gaps, note=note)
        return f"{opening}\n\n```python\n{code}```\n\n{_fill(random.choice(self.explanations), gaps)}"

    def _tests(self, name: str, facts: Facts, inputs: Sequence[Arguments]) -> tuple[FunctionTest, ...]:
        """One test per input; boundaries that coincide for these numbers are tried once."""
        return tuple(dict.fromkeys(self._test(name, facts, arguments) for arguments in inputs))

    def _test(self, name: str, facts: Facts, arguments: Arguments) -> FunctionTest:
        try:
            return FunctionTest.of(name, *arguments, expected=self.solve(facts, *arguments))
        except ValueError:
            return FunctionTest.of(name, *arguments, raises="ValueError")


def _fill(template: str, gaps: Facts, **more: str) -> str:
    return template.format_map({**gaps, **more})
