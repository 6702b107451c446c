"""What became of every span: counted from characters to weighted tokens, for each run. Pure: no torch.

Counts add up. Rows: `read` = `trained_on` + all of `left_out`. Spans: `read` = `with_tokens` + `cut_off` +
`in_rows_left_out`. What is cut does not depend on the mask (`training.truncation`), and so neither does what is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.failures import UserError
from pipeline.offsets import Offset
from pipeline.records import Reject
from pipeline.spans import Span
from training.encoding import Answer, Row, Text
from training.tokens import Example, PairExample
from training.truncation import SPANS_CUT, lost_spans, shortened_spans

SHOWN_ROWS = 5


@dataclass
class SideAudit:
    """Counts over the answers of one side, in rows that are trained on.

    Attributes:
        answers: the answers.
        without_weight: those without a weighted token.
        spans: the spans that have a token.
        tokens: tokens of answers, EOS among them.
        weighted_tokens: those with weight.
        partial_tokens: those of which spans cover some characters, but not all.
        weight: the sum of weights.
        mean_share: the mean over answers of the share of tokens that have weight.
    """

    answers: int = 0
    without_weight: int = 0
    spans: int = 0
    tokens: int = 0
    weighted_tokens: int = 0
    partial_tokens: int = 0
    weight: float = 0.0
    mean_share: float = 0.0

    def add(self, answer: Answer, example: Example) -> None:
        weights = example.weights[example.response_start :]
        weighted = sum(weight > 0 for weight in weights)
        self.answers += 1
        self.without_weight += weighted == 0
        self.spans += len(answer.spans) - len(lost_spans(answer))
        self.tokens += len(weights)
        self.weighted_tokens += weighted
        self.partial_tokens += partial_tokens(answer.offsets[: answer.kept], answer.spans)
        self.weight += sum(weights)
        self.mean_share += (weighted / len(weights) - self.mean_share) / self.answers


@dataclass
class Truncation:
    """Counts over rows that fit into `max_length`, some of them because they were cut."""

    rows: int = 0
    prompts: int = 0
    answers: int = 0
    spans_cut_in_part: int = 0

    def add(self, row: Row, fit: Row, sides: Iterable[str]) -> None:
        self.rows += fit is not row
        self.prompts += fit.prompt_ids != row.prompt_ids
        for side in sides:
            self.answers += not fit.answers[side].ends
            self.spans_cut_in_part += len(shortened_spans(fit.answers[side]))


@dataclass
class Audit:
    """The audit of one run over the sides it trains on: `add` every row that is read, then `refuse_losses`."""

    sides: dict[str, SideAudit]
    truncation: Truncation = field(default_factory=Truncation)
    left_out: Counter[str] = field(default_factory=Counter)
    trained_on: int = 0
    spans: Counter[str] = field(default_factory=Counter)
    tried: int = 0
    losers: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, *sides: str) -> Audit:
        return cls({side: SideAudit() for side in sides})

    def add(
        self, texts: Mapping[str, Text], row: Row | Reject, fit: Row | Reject, made: Example | PairExample | Reject
    ) -> None:
        """One record and what became of it.

        Args:
            texts: its answers with their spans.
            row: the same as tokens.
            fit: the same after truncation.
            made: what is trained on.
        """
        spans = sum(len(texts[side][1]) for side in self.sides)
        cut_off = self._cut_off(fit, spans)
        self.spans.update(read=spans, cut_off=cut_off)
        if isinstance(fit, Row):
            assert isinstance(row, Row), "what fits was encoded"
            self.truncation.add(row, fit, self.sides)
        if isinstance(fit, Row) or cut_off:
            self.tried += spans
        if cut_off:
            self.losers.append(fit.id)
        if isinstance(made, Reject):
            self.left_out[made.reason] += 1
            self.spans["in_rows_left_out"] += spans - cut_off
            return
        assert isinstance(fit, Row), "what is trained on fits"
        self.trained_on += 1
        self.spans["with_tokens"] += spans - cut_off
        for side, counts in self.sides.items():
            counts.add(fit.answers[side], made if isinstance(made, Example) else getattr(made, side))

    def _cut_off(self, fit: Row | Reject, spans: int) -> int:
        if isinstance(fit, Reject):
            return spans if fit.reason == SPANS_CUT else 0
        return sum(len(lost_spans(fit.answers[side])) for side in self.sides)

    def refuse_losses(self, most: float, max_length: int, where: str) -> None:
        """Raise a data error where more than the share `most` of spans is cut off.

        Spans of rows that are left out whole, as too long, do not count here: how many of those are put up with is
        `max_skipped`'s business.
        """
        cut_off = self.spans["cut_off"]
        if cut_off <= most * self.tried:
            return
        first = ", ".join(self.losers[:SHOWN_ROWS])
        raise UserError(
            "data",
            f"cut to max_length {max_length}, {cut_off} of {self.tried} spans are lost ({cut_off / self.tried:.1%}), "
            f"and max_lost_spans is {most:.1%}. They are in {len(self.losers)} rows, such as {first}.",
            where,
            "Raise max_length, lower min_prompt, leave long rows out with too_long: reject, or raise max_lost_spans.",
        )

    def as_facts(self) -> dict[str, Any]:
        """Everything counted, for the manifest."""
        names = ("read", "with_tokens", "cut_off", "in_rows_left_out")
        return {
            "rows": {
                "read": self.trained_on + self.left_out.total(),
                "trained_on": self.trained_on,
                "left_out": dict(sorted(self.left_out.items())),
            },
            "truncation": asdict(self.truncation),
            "spans": {name: self.spans[name] for name in names},
            "sides": {
                name: {
                    key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(side).items()
                }
                for name, side in self.sides.items()
            },
        }

    def notes(self, max_length: int) -> list[str]:
        """What a user should hear of without looking: rows that were left out, and rows that were cut."""
        said = []
        read = self.trained_on + self.left_out.total()
        if self.left_out:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.left_out.items()))
            said.append(f"{self.left_out.total()} of {read} rows left out: {reasons}")
        if self.truncation.rows:
            cut = self.truncation
            said.append(
                f"{cut.rows} of {read} rows cut to {max_length} tokens (prompts {cut.prompts}, answers {cut.answers}); "
                f"of {self.tried} spans {self.spans['cut_off']} lost, {cut.spans_cut_in_part} cut in part"
            )
        return said


def partial_tokens(offsets: Sequence[Offset], spans: Sequence[Span]) -> int:
    """The tokens of which the spans together cover some characters, but not all. Anchors cover none."""
    covered: set[int] = set()
    for span in spans:
        covered.update(range(span.start, span.end))
    inside = [sum(place in covered for place in range(start, end)) for start, end in offsets]
    return sum(0 < count < end - start for count, (start, end) in zip(inside, offsets, strict=True))
