"""What stands behind the figures of an arm: its answers, their scores, and the log of its training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.contract import DATA, Source
from pipeline.failures import UserError
from pipeline.records import GenerationRecord, ScoredRecord
from pipeline.shards import read_records
from pipeline.store import Input, Manifest, Store, read_manifest

METRICS = "metrics.jsonl"

Key = tuple[str, int]
"""Which answer: the prompt's id and the sample."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One arm: answers and scores by prompt and sample, and the figures of its training, where it was trained here.

    Without answers, as where only log-probabilities of given texts were taken, there is no `generation` either.
    """

    name: str
    model: Manifest
    generation: Manifest | None
    scoring: Manifest
    answers: Mapping[Key, GenerationRecord]
    scores: Mapping[Key, ScoredRecord]
    metrics: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """One scores artifact: the model that it is about, and that model's answers where these were scored."""

    source: Source
    model: Path
    answers: Path | None

    @property
    def node(self) -> str:
        """The name of the model's node."""
        return self.source.name.partition("/")[2] or self.source.name


def evidence_of(sources: Sequence[Source]) -> list[Evidence]:
    """The arms behind scores, in the order of these: a model's answers are one arm, with all scores of them.

    Scores of a model itself, such as log-probabilities of given texts, belong to every arm of that model.
    """
    found = [scores_of(source) for source in sources]
    arms: dict[Path, list[Scores]] = {}
    answered = {one.model for one in found if one.answers is not None}
    for one in found:
        if one.answers is not None or one.model not in answered:
            arms.setdefault(one.answers or one.model, []).append(one)
    for one in found:
        if one.answers is None and one.model in answered:
            for members in arms.values():
                if members[0].model == one.model:
                    members.append(one)
    shared = Counter(members[0].node for members in arms.values())
    return [
        _gathered(members, members[0].node if shared[members[0].node] == 1 else members[0].source.name)
        for members in arms.values()
    ]


def scores_of(source: Source) -> Scores:
    """Where the model and the answers are that a scores artifact is about."""
    generation = input_of(source.root, "input")
    if generation is None:
        return Scores(source, behind(source.root, "models"), None)
    answers = behind(source.root, "input")
    return Scores(source, behind(answers, "models"), answers)


def _gathered(members: Sequence[Scores], name: str) -> Evidence:
    first = members[0]
    answers: dict[Key, GenerationRecord] = {}
    if first.answers is not None:
        answers = {(row.id, row.sample): row for row in read_records(first.answers / DATA, GenerationRecord)}
    return Evidence(
        name,
        manifest_of(first.model),
        manifest_of(first.answers) if first.answers is not None else None,
        first.source.manifest(),
        answers,
        merged_scores([one.source for one in members]),
        _metrics(first.model / METRICS),
    )


def merged_scores(sources: Sequence[Source]) -> dict[Key, ScoredRecord]:
    """All scores of each answer."""
    found: dict[Key, ScoredRecord] = {}
    for source in sources:
        for row in read_records(source.data, ScoredRecord):
            key, known = (row.id, row.sample), found.get((row.id, row.sample))
            found[key] = replace(known, scores=(*known.scores, *_new(known, row, source))) if known else row
    return found


def _new(known: ScoredRecord, row: ScoredRecord, source: Source) -> Sequence[Any]:
    """The scores that are not known yet. Two nodes may run the same scorer, as long as they say the same."""
    values = {score.metric: score.value for score in known.scores}
    for score in row.scores:
        if score.metric in values and values[score.metric] != score.value:
            what = f"the score '{score.metric}' of {row.id!r} is {values[score.metric]} and {score.value}."
            raise UserError("data", what, source.name, "Give scores of the same answers by other scorers.")
    return [score for score in row.scores if score.metric not in values]


def rows_of(source: Source) -> str:
    """What the prompts, or the given texts, of a scores artifact are called."""
    found = scores_of(source)
    root, role = (source.root, "rows") if found.answers is None else (found.answers, "prompts")
    rows = input_of(root, role)
    assert rows is not None, f"{source.name} has no rows"
    return f"{rows.name}.{rows.split}" if rows.split else rows.name


def input_of(directory: Path, role: str) -> Input | None:
    """The one input that an artifact of the store has in a role, where it has one."""
    return next((item for item in manifest_of(directory).inputs if item.role == role), None)


def behind(directory: Path, role: str) -> Path:
    """The directory of the one input that an artifact of the store has in a role."""
    store = Store(directory.parent.parent)
    step = input_of(directory, role)
    assert step is not None, f"{directory} has no input in the role '{role}'"
    store.require(step.product, step.key)
    return store.directory(step.product, step.key)


def manifest_of(directory: Path) -> Manifest:
    """The manifest of an artifact that is there."""
    found = read_manifest(directory)
    assert found is not None, f"{directory} was read before it was made"
    return found


def _metrics(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
