"""Pairs of answers before a language model, which is asked about both orders. Where they disagree it is a tie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from eval.judging import ask, asked_reasons
from eval.scorers.execution import score_execution
from eval.scorers.fences import code_of, fenced
from eval.scorers.judge import row_of, told
from eval.scorers.rubric import asked_about
from eval.versus import ALIKE, DISAGREE, IDENTICAL, UNJUDGED, Decided, Duel
from pipeline.contract import DATA, Work
from pipeline.llm.asked import AskedRecord
from pipeline.llm.asking import REPLIES
from pipeline.llm.erring import Hidden
from pipeline.llm.forms import Form
from pipeline.records import GenerationRecord, Reject, ScoreRecord
from pipeline.shards import read_shard, shard_paths, write_shards
from pipeline.store import SCRATCH

if TYPE_CHECKING:
    from eval.versus_nodes import VersusConfig

SHARD_PAIRS = 128


Winner = Literal["first", "second", "tie"]
SAID: dict[Winner, str] = {
    "first": "The first passes the tests and the second fails them.",
    "second": "The second passes the tests and the first fails them.",
    "tie": "Either both pass the tests, or both fail them.",
}
"""What a judge that knows the tests' outcome says, or pretends."""


class Preference(Form):
    """Which of the two that were shown is better."""

    explanation: str = Field(description="The reason, in one to three sentences.")
    winner: Winner


@dataclass(frozen=True)
class DuelStage:
    """What the judge is asked about a `Duel`."""

    seed: int
    with_reference: bool = False
    prompt: str = "versus"

    def reply_type(self) -> type[Preference]:
        return Preference

    def facts(self, record: Duel) -> dict[str, Any] | Reject:
        if record.identical:
            return Reject(record.id, IDENTICAL, "both answers are the same text")
        code = code_of(self.seed, record.id)
        first, second = record.shown
        return {
            "code": code,
            "with_reference": self.with_reference and bool(record.reference),
            "question": fenced("question", record.prompt, code),
            "reference": fenced("good-answer", record.reference, code),
            "first": fenced("first", first, code),
            "second": fenced("second", second, code),
        }

    def problems(self, record: Duel, said: Preference) -> list[str]:
        return [] if said.explanation.strip() else ["explanation is empty"]

    def conclude(self, record: Duel, said: Preference) -> tuple[float, str]:
        """1 where `a` is better, 0 where `b` is, 0.5 in a tie; and why."""
        value = {"first": 1.0, "second": 0.0, "tie": 0.5}[said.winner]
        return (1 - value if record.swapped else value), said.explanation.strip()

    def hidden(self, record: Duel) -> Hidden:
        """The answer that passes its tests; a mistaken judge names the other, or the one shown first in a tie."""
        named = asked_about(record.id, *record.shown)
        found = [self._passes(record, text) for text in record.shown]
        for score in found:
            if score.value is None:
                return Hidden(named, why=score.explanation)
        first, second = (score.value for score in found)
        right: Winner = "tie" if first == second else "first" if first else "second"
        wrong: Winner = "second" if right == "first" else "first"
        return Hidden.of(named, *(Preference(explanation=SAID[winner], winner=winner) for winner in (right, wrong)))

    def _passes(self, record: Duel, text: str) -> ScoreRecord:
        answer = GenerationRecord(
            record.id, record.prompt, text, "stop", 0, 0, record.reference, record.source, record.tests
        )
        return next(score for score in score_execution(answer) if score.metric == "passed")

    def decide(self, orders: Sequence[AskedRecord]) -> Decided:
        """The verdict on a pair by what was said about its two orders."""
        record = Duel.from_row(row_of(orders[0]))
        failed = [f"{name}: {told(one)}" for name, one in zip(ORDERS, orders, strict=True) if one.reason]
        if record.identical:
            return Decided(record.verdict(0.5, "tie: both answers are the same text"), ALIKE)
        if failed:
            return Decided(record.verdict(None, f"not judged, {'; '.join(failed)}"), UNJUDGED)
        values, reasons = zip(*(self._read(one) for one in orders), strict=True)
        why = "; ".join(f"{name}: {reason}" for name, reason in zip(ORDERS, reasons, strict=True))
        if values[0] == values[1]:
            return Decided(record.verdict(values[0], f"{_winner(record, values[0])}; {why}"))
        said = f"{_winner(record, values[0])} when shown first to last, {_winner(record, values[1])} when swapped"
        return Decided(record.verdict(0.5, f"tie, for the orders disagree ({said}); {why}"), DISAGREE)

    def _read(self, asked: AskedRecord) -> tuple[float, str]:
        return self.conclude(Duel.from_row(row_of(asked)), Preference.model_validate_json(asked.reply))


ORDERS = ("a first", "b first")


def _winner(record: Duel, value: float) -> str:
    return {1.0: f"{record.a} wins", 0.0: f"{record.b} wins", 0.5: "tie"}[value]


def verdicts(work: Work, duels: Sequence[Duel]) -> tuple[Iterator[tuple[str, list[Decided]]], dict[str, Any]]:
    """The verdicts in shards, by their names, and facts: what asking took, and how many questions have no reply.

    Both orders of a pair stand one after the other in one shard.
    """
    config: VersusConfig = work.config
    assert config.judge is not None, "the config was checked"
    stage = DuelStage(config.seed, config.judge.with_reference)
    orders = [replace(duel, swapped=swapped) for duel in duels for swapped in (False, True)]
    source = work.directory / SCRATCH / "duels" / DATA
    write_shards(source, orders, Duel.SCHEMA, 2 * SHARD_PAIRS)
    facts = ask(work, config.judge, stage, Duel, source)
    failed = {reason: number for reason, number in asked_reasons(work).items() if reason not in ("", IDENTICAL)}
    return _decided(work, stage), {"model": facts, "judge": {"asked": len(orders), "failed": failed}}


def _decided(work: Work, stage: DuelStage) -> Iterator[tuple[str, list[Decided]]]:
    for path in shard_paths(work.directory / REPLIES):
        asked = read_shard(path, AskedRecord)
        yield path.name, [stage.decide(pair) for pair in zip(asked[::2], asked[1::2], strict=True)]
