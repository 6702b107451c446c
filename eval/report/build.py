"""From scored answers to the report: finds out how each model was made; results.json, report.md and index.html."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval.nodes import CompareConfig
from eval.report.evidence import Evidence, evidence_of
from eval.report.html import to_html
from eval.report.markdown import to_markdown
from eval.report.results import ArmInput, Kind, build_results, to_json
from pipeline.contract import UNKEYED, Source, Work, is_keyed
from pipeline.failures import UserError, nearest
from pipeline.sandbox.isolation import UNSAFE
from pipeline.store import Manifest, content_key, write_text

KINDS: dict[str, Kind] = {"preference": "mended", "model": "model"}
"""What an arm is that is neither floor nor ceiling, by the kind of node that made its model."""


def write_report(work: Work) -> None:
    """Write the comparison of a work's scores into its directory and commit it."""
    config: CompareConfig = work.config
    evidence = [evidence_of(source) for source in work.all_sources("input")]
    arms = told_apart([arm_of(found, config) for found in evidence])
    names = {arm.node: arm.name for arm in arms}
    results = build_results(
        arms,
        experiment=work.experiment,
        floor=_arm_name(config.floor, names),
        ceiling=_arm_name(config.ceiling, names),
        notes=[*caveats(arms), *unsafe_scores(work.all_sources("input"))],
        seed=config.seed,
        resamples=config.resamples,
    )
    write_text(work.directory / "results.json", to_json(results))
    write_text(work.directory / "report.md", to_markdown(results))
    named = [replace(found, name=arm.name) for found, arm in zip(evidence, arms, strict=True)]
    write_text(work.directory / "index.html", to_html(results, named, prompts=config.prompts))
    work.commit(rows={"in": len(arms), "out": len(arms), "rejected": 0})


def unsafe_scores(sources: Sequence[Source]) -> list[str]:
    """A note where code ran without isolation: such a verdict can be forged."""
    unsafe = [source.name for source in sources if UNSAFE in source.manifest().facts.get("sandbox", ())]
    return [f"Code ran without isolation (--unsafe-exec) for {', '.join(unsafe)}."] if unsafe else []


def arm_of(evidence: Evidence, config: CompareConfig) -> ArmInput:
    """One arm from what stands behind it, under the name of its node."""
    node, model = evidence.name, evidence.model
    return ArmInput(
        name=node,
        node=node,
        family=_family(model),
        kind=_kind(node, model, config),
        loss=model.config.get("loss"),
        mask=mask_name(model.config.get("mask")),
        seed=model.config["seed"],
        learning_rate=model.config.get("learning_rate"),
        train_seconds=model.facts.get("train_seconds"),
        train_tokens=model.facts.get("train_tokens"),
        scores=[score for scores in evidence.scores.values() for score in scores],
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


def _kind(node: str, model: Manifest, config: CompareConfig) -> Kind:
    if node == config.ceiling:
        return "reference"
    if node == config.floor:
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
