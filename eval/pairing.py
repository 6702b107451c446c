"""From several judged answers to one prompt to preference pairs: which is chosen over which, and why another is not.

Pure functions of the answers, their values and a seed. Every pair that was looked at becomes a pair or a reject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

from pipeline.records import Reject
from pipeline.store import content_key

Choose = Literal["best-worst", "top-k", "all"]
ROUNDING = 1e-9
"""Values that are means may miss a margin by their rounding alone."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One answer to a prompt and what the collector thinks of it: the more, the better; None is not judged."""

    sample: int
    text: str
    value: float | None
    explanation: str = ""
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class Preferred:
    """An answer over another one to the same prompt."""

    chosen: Sampled
    rejected: Sampled

    @property
    def label(self) -> str:
        """The numbers of the samples, the chosen one's first."""
        return f"{self.chosen.sample}-{self.rejected.sample}"


@dataclass(frozen=True)
class Rule:
    """Which of a prompt's answers are set against each other, and what becomes a pair of theirs.

    `best-worst`: one pair. `top-k`: the best over the worst, the second best over the second worst, `k` times at most.
    `all`: every two. A pair needs a difference above 0 and of at least `margin`. `chosen_at_least` and
    `rejected_at_most` bound the values of its sides: without them the worst of four good answers is rejected as well.
    """

    choose: Choose = "best-worst"
    k: int = 1
    margin: float = 0.0
    chosen_at_least: float | None = None
    rejected_at_most: float | None = None
    seed: int = 0

    def pairs(
        self, record_id: str, answers: Sequence[Sampled], direct: Direct | None = None
    ) -> Iterator[Preferred | Reject]:
        """What becomes of a prompt's answers: a reject for each that is not judged, and for each pair that is none.

        `direct` is what was said of two answers when they met: 1 where the first is better, by their samples' numbers.
        A pair whose values and whose own verdict differ is none.
        """
        judged = [answer for answer in answers if answer.value is not None]
        for answer in (answer for answer in answers if answer.value is None):
            yield Reject(f"{record_id}#{answer.sample}", "unscored", answer.explanation)
        if len(judged) < 2:
            yield Reject(record_id, "too-few", f"{len(judged)} of {len(answers)} answers are judged; a pair needs two")
            return
        seen: set[tuple[str, str]] = set()
        for pair in self._met(record_id, judged):
            texts = pair.chosen.text.strip(), pair.rejected.text.strip()
            repeated = ("repeated", "the same two texts are a pair already") if texts in seen else None
            reason = self._against(pair, direct or {}) or repeated
            if reason:
                yield Reject(f"{record_id}#{pair.label}", *reason)
            else:
                seen.add(texts)
                yield pair

    def _met(self, record_id: str, judged: Sequence[Sampled]) -> Iterator[Preferred]:
        """The pairs that are looked at. Of equally good answers chance says which goes first."""
        ordered = sorted(judged, key=lambda one: (-_value(one), content_key([self.seed, record_id, one.sample])))
        if self.choose == "all":
            yield from (Preferred(*two) for two in combinations(ordered, 2))
            return
        times = 1 if self.choose == "best-worst" else min(self.k, len(ordered) // 2)
        yield from (Preferred(ordered[place], ordered[-1 - place]) for place in range(times))

    def _against(self, pair: Preferred, direct: Direct) -> tuple[str, str] | None:
        """The reason why a pair is none, and what was seen."""
        chosen, rejected = pair.chosen, pair.rejected
        high, low = _value(chosen), _value(rejected)
        seen = f"{high:g} and {low:g}"
        if chosen.text.strip() == rejected.text.strip():
            return "identical", "both answers are the same text"
        if high == low:
            return "tie", seen
        if high - low < self.margin - ROUNDING:
            return "below-margin", f"{seen}: the margin is {self.margin:g}"
        if self.chosen_at_least is not None and high < self.chosen_at_least - ROUNDING:
            return "chosen-too-bad", f"{seen}: the chosen one must have {self.chosen_at_least:g}"
        if self.rejected_at_most is not None and low > self.rejected_at_most + ROUNDING:
            return "rejected-too-good", f"{seen}: the rejected one may have {self.rejected_at_most:g}"
        if chosen.cut_off:
            return "cut-off", "the chosen answer was cut off at the limit of its length"
        said = direct.get((chosen.sample, rejected.sample))
        if said is not None and said <= 0.5:
            return "contradicted", f"{seen}, but when these two met, {'neither was better' if said else 'it lost'}"
        return None


Direct = Mapping[tuple[int, int], float]
"""(sample, other sample) -> 1 where the first is better, 0 where the other is, 0.5 in a tie."""


def _value(answer: Sampled) -> float:
    assert answer.value is not None, "only judged answers are ordered"
    return answer.value


@dataclass
class Meetings:
    """What a judge said of a prompt's answers, two at a time."""

    said: dict[tuple[int, int], float | None] = field(default_factory=dict)

    def add(self, a: int, b: int, value: float | None) -> None:
        """1 where `a` is better. None is not judged."""
        self.said[a, b] = value
        self.said[b, a] = None if value is None else 1 - value

    def value(self, sample: int) -> float | None:
        """The share of its meetings that a sample wins, a tie as half of one (Copeland's score); None without any."""
        found = [value for (one, _), value in self.said.items() if one == sample and value is not None]
        return sum(found) / len(found) if found else None

    def direct(self) -> dict[tuple[int, int], float]:
        return {samples: value for samples, value in self.said.items() if value is not None}
