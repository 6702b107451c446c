"""A record as tokens: its prompt and every answer that it has, with the characters and spans of each. Pure: no torch.

What becomes of a record is decided on all of its answers, whichever of them a run trains on: so the runs of one
comparison, which train on different answers and under different masks, have the same rows, cut in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.attributes.records import ControlledRecord
from pipeline.chat import Tokenizer, prompt_ids
from pipeline.failures import UserError
from pipeline.offsets import Offset, encode_response, span_weights, touched
from pipeline.records import CorruptionRecord, PreferenceRecord, QARecord, Reject
from pipeline.spans import Span

Record = QARecord | CorruptionRecord | PreferenceRecord | ControlledRecord
Text = tuple[str, Sequence[Span]]
"""An answer and its spans."""

NO_OFFSETS = "no-offsets"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as n tokens and EOS: n + 1 positions, of which the first `kept` are trained on.

    Attributes:
        ids: n + 1 ids, EOS last.
        offsets: the characters of the n tokens.
        spans: the spans of this answer.
        touched: for each span the positions that it selects in the whole answer.
        length: its characters.
        kept: n + 1 unless the answer was cut; then EOS is gone too.
    """

    ids: tuple[int, ...]
    offsets: tuple[Offset, ...]
    spans: tuple[Span, ...]
    touched: tuple[tuple[int, ...], ...]
    length: int
    kept: int

    @property
    def ends(self) -> bool:
        """Whether the answer is whole and EOS its last position."""
        return self.kept == len(self.ids)

    def span_weights(self) -> list[float]:
        """The weight that spans give each kept position."""
        return span_weights(self.offsets, self.spans, self.length)[: self.kept]


@dataclass(frozen=True, slots=True)
class Row:
    """A record as tokens.

    Attributes:
        prompt: the text behind `prompt_ids`; a chat template may stand around it there.
        answers: by the names of `texts_of`.
        weight: what its loss is multiplied by.
        control: the control tokens, which stand within `prompt_ids` and are not part of `prompt`.
    """

    id: str
    prompt: str
    prompt_ids: tuple[int, ...]
    answers: dict[str, Answer]
    weight: float = 1.0
    control: tuple[str, ...] = ()

    @property
    def spans(self) -> int:
        return sum(len(answer.spans) for answer in self.answers.values())


def texts_of(record: Record) -> dict[str, Text]:
    """The answers of a record with their spans, under the names by which `target` calls them."""
    if isinstance(record, QARecord | ControlledRecord):
        return {"response": (record.response, ())}
    if isinstance(record, CorruptionRecord):
        chosen, rejected = record.spans()
        return {"chosen": (record.response, chosen), "rejected": (record.rejected, rejected)}
    return {
        "chosen": (record.chosen, record.chosen_spans),
        "rejected": (record.rejected, record.rejected_spans),
    }


def encoded(
    tokenizer: Tokenizer,
    record_id: str,
    prompt: str,
    texts: dict[str, Text],
    weight: float = 1.0,
    control: tuple[str, ...] = (),
) -> Row | Reject:
    """A prompt and its answers as tokens, whole.

    One record's text is the record's fault and gives a `Reject`; a tokenizer's fault is raised and stops the run.
    """
    eos = _eos(tokenizer)
    try:
        ids = tuple(prompt_ids(tokenizer, prompt, control=control))
        answers = {name: _answer(tokenizer, text, spans, eos) for name, (text, spans) in texts.items()}
    except UserError as error:
        if error.kind != "data":
            raise
        return Reject(record_id, NO_OFFSETS, error.what)
    return Row(record_id, prompt, ids, answers, weight, control)


def _answer(tokenizer: Tokenizer, text: str, spans: Sequence[Span], eos: int) -> Answer:
    ids, offsets = encode_response(tokenizer, text)
    positions = tuple(tuple(touched(offsets, span, len(text))) for span in spans)
    return Answer((*ids, eos), tuple(offsets), tuple(spans), positions, len(text), len(ids) + 1)


def _eos(tokenizer: Tokenizer) -> int:
    if tokenizer.eos_token_id is None:
        raise UserError(
            "config",
            "the tokenizer has no EOS token, so a model could not learn where to stop.",
            f"tokenizer {tokenizer.name_or_path}",
            "Set eos_token in its tokenizer_config.json.",
        )
    return int(tokenizer.eos_token_id)
