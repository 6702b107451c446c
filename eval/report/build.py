"""From scored answers to the report: finds out how each model was made; results.json and its like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eval.nodes import CompareConfig
from eval.report.arms import ArmInput, Kind, values_of_rows
from eval.report.evidence import Evidence, evidence_of, manifest_of, merged_scores, rows_of, scores_of
from eval.report.files import write_all
from eval.report.forgetting import Kept
from eval.report.html import to_html
from eval.report.markdown import to_markdown
from eval.report.results import Results, build_results
from eval.report.rewards import rewards
from eval.report.sheet import to_csv
from pipeline.contract import UNKEYED, Source, Work, is_keyed
from pipeline.failures import UserError, nearest
from pipeline.records import VerdictRecord
from pipeline.sandbox.isolation import UNSAFE
from pipeline.shards import read_records
from pipeline.store import Manifest, content_key

KINDS: dict[str, Kind] = {"preference": "mended", "model": "model"}
"""What an arm is that is neither floor nor ceiling, by the kind of node that made its model."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that a report is made of: the arms under their names, and what stands behind each of them in that order."""

    arms: Sequence[ArmInput]
    evidence: Sequence[Evidence]
    floor: str | None = None
    ceiling: str | None = None
    verdicts: Mapping[str, Sequence[VerdictRecord]] = field(default_factory=dict)
    kept: Sequence[Kept] = ()
    notes: Sequence[str] = ()


def write_report(work: Work) -> None:
    """Write the comparison of a work's scores into its directory and commit it."""
    config: CompareConfig = work.config
    made = compared(
        work.all_sources("input"),
        config.floor,
        config.ceiling,
        verdicts=work.all_sources("verdicts"),
        forgetting=work.all_sources("forgetting"),
    )
    write_files(work.directory, work.experiment, made, config)
    work.commit(rows={"in": len(made.arms), "out": len(made.arms), "rejected": 0})


def compared(
    scores: Sequence[Source],
    floor: str | None,
    ceiling: str | None,
    *,
    verdicts: Sequence[Source] = (),
    forgetting: Sequence[Source] = (),
) -> Comparison:
    """What a node of the kind compare is about. `floor` and `ceiling` are names of models' nodes."""
    evidence = evidence_of(scores)
    arms = told_apart([arm_of(found, floor, ceiling) for found in evidence])
    named = [replace(found, name=arm.name) for found, arm in zip(evidence, arms, strict=True)]
    names = {arm.node: arm.name for arm in arms}
    kept, notes = kept_of(forgetting, named, _arm_name(floor, names), _arm_name(ceiling, names))
    return Comparison(
        arms,
        named,
        _arm_name(floor, names),
        _arm_name(ceiling, names),
        {source.name: list(read_records(source.data, VerdictRecord)) for source in verdicts},
        kept,
        [*caveats(arms), *unsafe_scores([*scores, *forgetting]), *notes],
    )


def write_files(directory: Path, title: str, made: Comparison, config: CompareConfig) -> Results:
    """Write results.json, results.csv, report.md and index.html, which say the same."""
    results = build_results(
        made.arms,
        experiment=title,
        floor=made.floor,
        ceiling=made.ceiling,
        notes=made.notes,
        seed=config.seed,
        resamples=config.resamples,
        verdicts=made.verdicts,
        kept=made.kept,
        rewards=rewards(made.evidence),
    )
    page = to_html(results, made.evidence, prompts=config.prompts)
    write_all(directory, results, to_csv(results), to_markdown(results), page)
    return results


def kept_of(
    sources: Sequence[Source], arms: Sequence[Evidence], floor: str | None, ceiling: str | None
) -> tuple[list[Kept], list[str]]:
    """The arms' scores on what corruption left out, each with the arm that its training began with; and notes.

    Where that model is no arm, an arm is held against the floor; the ceiling, which came before it, against none.
    """
    models = {arm.model.key: arm.name for arm in reversed(arms)}
    kept: list[Kept] = []
    others = []
    groups: dict[tuple[str, str], list[Source]] = {}
    for source in sources:
        groups.setdefault((rows_of(source), manifest_of(scores_of(source).model).key), []).append(source)
    for (rows, model), members in groups.items():
        if model not in models:
            others.append(scores_of(members[0]).node)
            continue
        arm = next(arm for arm in arms if arm.name == models[model])
        init = next((item.key for item in arm.model.inputs if item.role == "init"), None)
        before = models.get(init or "", None if arm.name == ceiling else floor)
        values = values_of_rows(list(merged_scores(members).values()))
        kept.append(Kept(arm.name, rows, before if before != arm.name else None, values))
    left = sorted(set(others))
    notes = [f"Forgetting of {', '.join(left)} is left out: no arms of this comparison."] if left else []
    return kept, notes


def unsafe_scores(sources: Sequence[Source]) -> list[str]:
    """A note where code ran without isolation: such a verdict can be forged."""
    unsafe = [source.name for source in sources if UNSAFE in source.manifest().facts.get("sandbox", ())]
    return [f"Code ran without isolation (--unsafe-exec) for {', '.join(unsafe)}."] if unsafe else []


def arm_of(evidence: Evidence, floor: str | None, ceiling: str | None) -> ArmInput:
    """One arm from what stands behind it, under the name of its node."""
    node, model = evidence.name, evidence.model
    return ArmInput(
        name=node,
        node=node,
        family=_family(model),
        kind=_kind(node, model, floor, ceiling),
        loss=model.config.get("loss"),
        mask=mask_name(model.config.get("mask")),
        seed=model.config["seed"],
        learning_rate=model.config.get("learning_rate"),
        train_seconds=model.facts.get("train_seconds"),
        train_tokens=model.facts.get("train_tokens"),
        scores=list(evidence.scores.values()),
    )


def mask_name(mask: Any) -> str | None:
    """What a model's mask is called: its name, or its policies in words, `chosen none, rejected spans x 2 with EOS`."""
    if not isinstance(mask, dict):
        return mask if mask is None else str(mask)
    if "tokens" not in mask:
        return ", ".join(f"{side} {mask_name(policy)}" for side, policy in mask.items())
    end = f" {'with' if mask['eos'] else 'without'} EOS" if "eos" in mask else ""
    scale = f" x {mask['scale']:g}" if "scale" in mask else ""
    return f"{mask['tokens']}{scale}{end}"


def _kind(node: str, model: Manifest, floor: str | None, ceiling: str | None) -> Kind:
    if node == ceiling:
        return "reference"
    if node == floor:
        return "corrupted"
    return KINDS.get(model.kind, "control")


def _arm_name(node: str | None, names: dict[str, str]) -> str | None:
    if node is None or node in names:
        return names[node] if node else None
    raise UserError("config", f"'{node}' is not among the arms.", "floor and ceiling", nearest(node, list(names)))


def told_apart(arms: Sequence[ArmInput]) -> list[ArmInput]:
    """Arms and families under names of their own.

    A family is called by its loss and mask, or its node; where that is not enough, the node's label is added. Arms of
    one family get their seed.
    """
    families: dict[str, list[ArmInput]] = {}
    for arm in arms:
        families.setdefault(arm.family, []).append(arm)
    short = {family: _short(members) for family, members in families.items()}
    shared = Counter(short.values())
    names = {
        family: name if shared[name] == 1 else f"{name} ({Path(families[family][0].node).name})"
        for family, name in short.items()
    }
    named = [(arm, names[arm.family] + (f", seed {arm.seed}" if len(families[arm.family]) > 1 else "")) for arm in arms]
    taken = Counter(name for _, name in named)
    return [
        replace(arm, family=names[arm.family], name=name if taken[name] == 1 else f"{name} ({arm.node})")
        for arm, name in named
    ]


def _short(members: Sequence[ArmInput]) -> str:
    first = members[0]
    if first.kind == "mended":
        return f"{first.loss} / {first.mask}"
    return first.node.partition("/")[0] if len(members) > 1 else first.node


def _family(model: Manifest) -> str:
    """What the models share that differ in their training seed alone, and in what never changes a result."""
    config = {name: value for name, value in model.config.items() if name not in UNKEYED | {"seed"}}
    inputs = [[item.role, item.key] for item in model.inputs if is_keyed(item.role)]
    return content_key([model.kind, model.version, config, inputs])


def caveats(arms: Sequence[ArmInput]) -> list[str]:
    """What a reader must know before believing the table."""
    mended = [arm for arm in arms if arm.kind == "mended"]
    rates = {arm.learning_rate for arm in mended}
    notes = []
    if len(mended) > 1 and len(rates) == 1:
        notes.append(
            f"All mended arms share one untuned learning rate, {rates.pop():g}. Losses and masks differ in the size of "
            "their gradients, so an arm may look worse for its learning rate alone: compare arms each at its own best "
            "rate before drawing conclusions."
        )
    if mended and len({arm.seed for arm in mended}) == 1:
        notes.append(
            "Each arm was trained once, with one seed. The intervals cover the choice of prompts, not the chance in "
            "training."
        )
    return notes
