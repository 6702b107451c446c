"""Quotas: how many rows get which error type. Pure: from what a survey found to what each row is to try.

A survey finds for each row which types have a place in it. The rarest types choose first, rows come in the order of a
hash of (seed, id), so the plan does not depend on how rows were divided. An error that cannot be confirmed leaves its
type short; the next round gives that type other rows, and the row other types. Types that are hard to confirm are given
more rows than they need, and what turns out to be too much is left out again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import pyarrow as pa

from pipeline.errors import error_type
from pipeline.errors.answers import code_of
from pipeline.records import QARecord
from pipeline.stages.embed import Number

SURVEY = pa.schema([("draw", pa.uint64()), ("wanted", pa.int64()), ("types", pa.uint64())])
"""Of each row: its place in the drawing, how many errors it gets at most (0: it holds no code), and as bits the types
that have a place in it."""

SHARE = 15
MINIMUM = 1000
"""Types that fit fewer rows are left out. The seed's 1,000 were of 15,000 rows: of fewer rows, as many fewer."""

GROWTH = 4
"""In a round a type is given at most this many times the rows that it was given before."""


@dataclass(frozen=True)
class Survey:
    """Looks for places of every type in the rows of a shard."""

    error_types: tuple[str, ...]
    seed: int
    errors: Number

    def __call__(self, records: Sequence[QARecord]) -> pa.Table:
        return pa.Table.from_pylist([self.row(record) for record in records], schema=SURVEY)

    def row(self, record: QARecord) -> dict[str, int]:
        kinds = [error_type(name) for name in self.error_types]
        usable = code_of(record.response) is not None
        fits = [usable and bool(kind.propose(record.response, record.prompt)) for kind in kinds]
        return {
            "draw": int.from_bytes(hashlib.sha256(f"{self.seed}:{record.id}".encode()).digest()[:8]),
            "wanted": self.errors.drawn(self.seed, record.id) if usable else 0,
            "types": sum(1 << number for number, fit in enumerate(fits) if fit),
        }


@dataclass(frozen=True)
class Goal:
    """The quotas: rows wanted of each type that takes part, and why the others do not."""

    wanted: dict[str, int]
    applicable: dict[str, int]
    left_out: dict[str, str] = field(default_factory=dict)


def goal_of(survey: Sequence[pa.Table], error_types: Sequence[str], per_type: int | None, minimum: int | None) -> Goal:
    """What is wanted of each type: `per_type` rows, or rows in proportion to those in which it has a place."""
    rows = sum(table.num_rows for table in survey)
    least = min(MINIMUM, rows // SHARE) if minimum is None else minimum
    applicable = dict.fromkeys(error_types, 0)
    for types in _column(survey, "types"):
        for name in names_in(types, error_types):
            applicable[name] += 1
    left_out = {
        name: f"it has a place in {count} rows, and {least} are the least"
        for name, count in applicable.items()
        if count < max(least, 1)
    }
    taking_part = [name for name in error_types if name not in left_out]
    if per_type is not None:
        return Goal(dict.fromkeys(taking_part, per_type), applicable, left_out)
    room = zip(_column(survey, "wanted"), _column(survey, "types"), strict=True)
    total = sum(min(most, len(set(names_in(types, error_types)) - left_out.keys())) for most, types in room)
    return Goal(_shares(total, {name: applicable[name] for name in taking_part}), applicable, left_out)


def _column(survey: Sequence[pa.Table], name: str) -> Iterator[int]:
    for table in survey:
        yield from table[name].to_pylist()


def names_in(types: int, error_types: Sequence[str]) -> list[str]:
    """The error types whose bits are set."""
    return [name for number, name in enumerate(error_types) if types >> number & 1]


def _shares(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """`total` divided by weights into whole numbers: largest remainders (Hamilton's method)."""
    whole = sum(weights.values())
    shares = {name: total * weight // whole for name, weight in weights.items()}
    remainders = sorted(weights, key=lambda name: -(total * weights[name] % whole))
    for name in remainders[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


@dataclass
class Drawing:
    """Who tries what, round after round. Rows are known by their number among all rows."""

    goal: Goal
    error_types: tuple[str, ...]
    least: int
    order: list[int]
    """Rows in the order in which they are drawn."""
    room: list[int]
    """How many errors each row may still get; 0 once it is done with."""
    open: list[int]
    """As bits: the types that have a place in each row and were not tried there."""
    missing: Counter[str]
    tried: Counter[str] = field(default_factory=Counter)
    confirmed: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, survey: Sequence[pa.Table], goal: Goal, error_types: Sequence[str], least: int) -> Drawing:
        draws = list(_column(survey, "draw"))
        allowed = sum(1 << number for number, name in enumerate(error_types) if name in goal.wanted)
        return cls(
            goal,
            tuple(error_types),
            least,
            sorted(range(len(draws)), key=draws.__getitem__),
            list(_column(survey, "wanted")),
            [types & allowed for types in _column(survey, "types")],
            Counter(goal.wanted),
        )

    def round(self) -> dict[int, tuple[str, ...]]:
        """For each row that is drawn now the types to try, the rarest first; nothing once no type needs more."""
        rarity = sorted(self.missing, key=lambda name: (self.goal.applicable[name], name))
        needed = {name: self._asked(name) for name in rarity if self.missing[name] > 0}
        drawn: dict[int, tuple[str, ...]] = {}
        for row in self.order:
            if not needed:
                break
            possible = set(names_in(self.open[row], self.error_types)) if self.room[row] else set()
            types = tuple(name for name in needed if name in possible)[: self.room[row]]
            if len(types) < max(self.least, 1):
                continue
            drawn[row] = types
            for name in types:
                needed[name] -= 1
                if not needed[name]:
                    del needed[name]
        return drawn

    def _asked(self, name: str) -> int:
        """How many rows to give to a type, by the share of its rows that were confirmed so far (rule of succession)."""
        missing, tried = self.missing[name], self.tried[name]
        if not tried:
            return missing
        return min(ceil(missing * (tried + 2) / (self.confirmed[name] + 1)), max(GROWTH * tried, missing))

    def tell(self, row: int, tried: Sequence[str], made: Sequence[str], reason: str) -> bool:
        """What came of a row: the types whose errors it has now, or the reason why it has none. Whether it is kept.

        Told in the order of the drawing, so that what is too much is what was drawn last.
        """
        for name in tried:
            self.open[row] &= ~(1 << self.error_types.index(name))
            self.tried[name] += 1
            self.confirmed[name] += name in made
            if name not in made:
                self.reasons.setdefault(name, Counter())[reason or "not-beside-the-others"] += 1
        if reason == "good-answer-fails":
            self.room[row] = 0
        kept = any(self.missing[name] > 0 for name in made)
        if kept:
            self.room[row] = 0
            self.made.update(made)
            self.missing.subtract(made)
        return kept

    def facts(self) -> dict[str, dict[str, Any]]:
        """Of each type, in the order given: rows applicable, wanted, tried, made, how many short, and why."""
        return {name: self._facts(name) for name in self.error_types}

    def _facts(self, name: str) -> dict[str, Any]:
        goal = self.goal
        wanted = goal.wanted.get(name, 0)
        counts = {
            "applicable": goal.applicable[name],
            "wanted": wanted,
            "tried": self.tried[name],
            "made": self.made[name],
            "short": max(wanted - self.made[name], 0),
        }
        return {**counts, "why": self._why(name, counts["short"])}

    def _why(self, name: str, short: int) -> str:
        if name in self.goal.left_out:
            return f"left out: {self.goal.left_out[name]}"
        if not short:
            return ""
        seen = ", ".join(f"{reason} {count}" for reason, count in self.reasons.get(name, Counter()).most_common())
        untried = self.goal.applicable[name] - self.tried[name]
        return "; ".join(filter(None, [seen, f"{untried} rows with a place went to other types" if untried else ""]))
