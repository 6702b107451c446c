"""Several finished comparisons as one: their arms side by side on the same prompts, without anything being rerun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from eval.report.arms import ArmInput
from eval.report.build import Comparison
from eval.report.evidence import Evidence
from eval.report.forgetting import Kept
from pipeline.failures import UserError
from pipeline.records import VerdictRecord

HINT = "Runs can be compared where they answered the same prompts: from the same source, splits, limits and seed."


@dataclass(frozen=True, slots=True)
class Run:
    """A finished comparison and what it is called."""

    label: str
    made: Comparison


def joined(runs: Sequence[Run]) -> Comparison:
    """The arms of all runs under the runs' names, each with its own floor and ceiling.

    What several runs share, such as a reference made once, is one arm. Raises a data error where prompts differ.
    """
    for other in runs[1:]:
        check_prompts(runs[0], other)
    owners = _owners(runs)
    names = {(run.label, arm.name): _name(owners[_identity(found)], arm.name) for run, arm, found in _members(runs)}
    arms: dict[str, ArmInput] = {}
    evidence: dict[str, Evidence] = {}
    for run, arm, found in _members(runs):
        name = names[run.label, arm.name]
        if name not in arms:
            arms[name] = replace(
                arm,
                name=name,
                node=f"{run.label}/{arm.node}",
                family=_name(owners[_identity(found)], arm.family),
                floor=names.get((run.label, run.made.floor or "")),
                ceiling=names.get((run.label, run.made.ceiling or "")),
            )
            evidence[name] = replace(found, name=name)
    nodes = {(run.label, arm.node): arms[names[run.label, arm.name]].node for run, arm, _ in _members(runs)}
    return Comparison(
        list(arms.values()),
        list(evidence.values()),
        verdicts={
            f"{run.label}: {by}": [_verdict(row, run.label, nodes) for row in rows]
            for run in runs
            for by, rows in run.made.verdicts.items()
        },
        kept=_kept(runs, names),
        notes=_notes(runs),
    )


def check_prompts(first: Run, other: Run) -> None:
    """Raise a data error that says how the prompts of two runs differ."""
    ours, theirs = (_prompts(run) for run in (first, other))
    where = f"{first.label} and {other.label}"
    apart = sorted(set(ours) ^ set(theirs))
    if apart:
        what = f"the runs answered different prompts: {len(apart)} are in one only, such as {apart[0]!r}."
        raise UserError("data", what, where, HINT)
    changed = [key for key in ours if ours[key] != theirs[key]]
    if changed:
        what = f"the runs asked different things: {len(changed)} prompts of one id differ, such as {changed[0]!r}."
        raise UserError("data", what, where, HINT)


def _prompts(run: Run) -> dict[str, str]:
    return {key: row.prompt for found in run.made.evidence for (key, _), row in found.answers.items()}


def _members(runs: Sequence[Run]) -> list[tuple[Run, ArmInput, Evidence]]:
    return [(run, arm, found) for run in runs for arm, found in zip(run.made.arms, run.made.evidence, strict=True)]


def _identity(found: Evidence) -> tuple[str, ...]:
    """Equal where the answers, the model and what scored them are the same."""
    return found.model.key, found.generation.key if found.generation else "", found.scoring.key


def _owners(runs: Sequence[Run]) -> dict[tuple[str, ...], list[str]]:
    """Which runs have an arm."""
    owners: dict[tuple[str, ...], list[str]] = {}
    for run, _, found in _members(runs):
        owners.setdefault(_identity(found), []).append(run.label)
    return owners


def _name(labels: Sequence[str], name: str) -> str:
    return f"{' + '.join(dict.fromkeys(labels))}: {name}"


def _verdict(row: VerdictRecord, label: str, nodes: dict[tuple[str, str], str]) -> VerdictRecord:
    a, b = (nodes.get((label, node), f"{label}/{node}") for node in (row.a, row.b))
    return replace(row, a=a, b=b)


def _kept(runs: Sequence[Run], names: dict[tuple[str, str], str]) -> list[Kept]:
    """What was kept, once for each arm and set of rows."""
    found: dict[tuple[str, str], Kept] = {}
    for run in runs:
        for one in run.made.kept:
            arm, before = names[run.label, one.arm], names.get((run.label, one.before or ""))
            found.setdefault((arm, one.rows), replace(one, arm=arm, before=before))
    return list(found.values())


def _notes(runs: Sequence[Run]) -> list[str]:
    """Every run's notes; those that all have once, without a name."""
    every = dict.fromkeys(note for run in runs for note in run.made.notes)
    common = [note for note in every if all(note in run.made.notes for run in runs)]
    return [*common, *(f"{run.label}: {note}" for run in runs for note in run.made.notes if note not in common)]
