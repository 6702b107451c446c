"""best.yaml: the experiment again, with every arm at its best setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from kintsugi.graph import EXPANDING
from kintsugi.sweep.ledger import Trial
from kintsugi.sweep.plan import Plan


def best_experiment(plan: Plan, best: Mapping[str, Trial]) -> str:
    """An experiment file: the nodes of the sweep's experiment, the tuned one with an arm for each best setting and
    seed, and comments that say where each setting comes from."""
    config, experiment = plan.sweep.config, plan.sweep.experiment
    parts = [
        f"# The best setting of every arm, found by the sweep '{config.name}' on {config.evaluation.data}.\n"
        f"# Trials trained with seed {config.seeds[0]}; what other seeds say is not yet known.\n",
        _yaml({"name": f"{config.name}-best", "seed": experiment.seed}),
        "nodes:\n",
    ]
    for name, raw in experiment.nodes.items():
        parts.append(_tuned(plan, name, raw, best) if name == config.arms.node else _indented(_yaml({name: raw}), 2))
    return "\n".join(parts[:2]) + "\n" + parts[2] + "\n".join(parts[3:])


def _tuned(plan: Plan, name: str, raw: dict[str, Any], best: Mapping[str, Trial]) -> str:
    arms = {arm: {**plan.arms[arm].fields, **best[arm].setting} for arm in plan.arms if arm in best}
    listed = {"seed", *EXPANDING, *(key for fields in arms.values() for key in fields)}
    kept = {key: value for key, value in {**raw, **plan.sweep.config.arms.set}.items() if key not in listed}
    lines = [_indented(_yaml({name: kept}), 2), "    arms:\n"]
    for arm, fields in arms.items():
        lines.append(f"      # {origin(plan, best[arm])}\n")
        lines += [f"      - {_flow({**fields, 'seed': seed})}\n" for seed in plan.sweep.config.seeds]
    lines += [f"      # {arm}: no trial finished\n" for arm in plan.arms if arm not in best]
    return "".join(lines)


def origin(plan: Plan, trial: Trial) -> str:
    """Which trial a setting comes from, and what it scored."""
    config = plan.sweep.config
    figure = trial.figure(config.metric)
    told = [f"{config.metric} {figure:.4g}"] if figure is not None else []
    if trial.pass_rate is not None:
        told.insert(0, f"{trial.passed} of {trial.judged} validation answers passed ({100 * trial.pass_rate:.1f} %)")
    return f"{trial.arm}: trial {trial.number} of {config.trials}; {', '.join(told) or 'not judged'}"


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=True, width=1000).strip()


def _indented(text: str, spaces: int) -> str:
    return "".join(f"{' ' * spaces}{line}" if line.strip() else line for line in text.splitlines(keepends=True))
