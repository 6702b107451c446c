"""Nodes that come several times, each round after the one before: what `repeat` in an experiment file stands for.

A group of nodes is written once and becomes `name/1`, `name/2` ... In a round the names of the group mean that round's
nodes, and `previous.name` that of the round before; in the first round it is what `first` says. What comes out are
ordinary nodes, so planning, keys, status and resume know nothing of rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kintsugi.experiment import NAME, Experiment, KeyPath, checked
from pipeline.contract import Reference
from pipeline.failures import UserError, nearest

REPEAT = "repeat"
PREVIOUS = "previous."
NUMBER = "{round}"
"""In any text of a group: the number of the round, as in `prompts: qa.part{round}`."""


class Repeat(BaseModel):
    """Rounds of nodes: the group comes `repeat` times, and each round may start from what the one before made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repeat: int = Field(ge=1, le=99, description="How many rounds.")
    first: dict[str, str] = Field(
        default_factory=dict,
        description="What `previous.NAME` is in the first round: `{policy: corrupted}`. Later it is NAME of the round "
        "before.",
    )
    nodes: dict[str, dict[str, Any]] = Field(
        description="The nodes of a round. In the file's other nodes `NAME/2` is that of round 2, and NAME all rounds'."
    )


def unrolled(experiment: Experiment) -> Experiment:
    """The experiment with every round's nodes in the place of their group. Raises config errors that name the line."""
    if not any(REPEAT in raw for raw in experiment.nodes.values()):
        return experiment
    nodes: dict[str, dict[str, Any]] = {}
    lines, renamed = dict(experiment.lines), dict(experiment.renamed)
    for group, raw in experiment.nodes.items():
        if REPEAT not in raw:
            nodes[group] = raw
            continue
        rounds = checked(Repeat, raw, experiment, ("nodes", group))
        _check(experiment, group, rounds)
        for number in range(1, rounds.repeat + 1):
            for name, inner in rounds.nodes.items():
                nodes[f"{name}/{number}"] = _numbered(inner, number)
                renamed[f"{name}/{number}"] = _names(rounds, number)
                lines.update(_moved(experiment.lines, ("nodes", group, "nodes", name), ("nodes", f"{name}/{number}")))
    return replace(experiment, nodes=nodes, lines=lines, renamed=renamed)


def _check(experiment: Experiment, group: str, rounds: Repeat) -> None:
    def refuse(what: str, hint: str, *path: str) -> UserError:
        return UserError("config", what, experiment.where("nodes", group, *path), hint)

    if not rounds.nodes:
        raise refuse("there are no nodes to repeat.", "Write them under `nodes`.")
    for name in rounds.first:
        if name not in rounds.nodes:
            raise refuse(f"no node of the group is called '{name}'.", nearest(name, list(rounds.nodes)), "first", name)
    others = {
        name: where
        for where, raw in experiment.nodes.items()
        if where != group
        for name in ([where] if REPEAT not in raw else raw.get("nodes") or [])
    }
    for name in rounds.nodes:
        if not NAME.fullmatch(name):
            raise refuse(f"'{name}' is no node name.", "Use letters, digits, '-' and '_'.", "nodes", name)
        if name in others:
            raise refuse(f"there is another node '{name}'.", f"See '{others[name]}'.", "nodes", name)


def _names(rounds: Repeat, number: int) -> dict[str, str]:
    """What the names that a round's nodes use stand for; `previous.name` of a first round may stand for nothing."""
    before = {name: f"{name}/{number - 1}" for name in rounds.nodes} if number > 1 else rounds.first
    return {
        **{name: f"{name}/{number}" for name in rounds.nodes},
        **{PREVIOUS + name: before.get(name, "") for name in rounds.nodes},
    }


def _numbered(value: Any, number: int) -> Any:
    if isinstance(value, str):
        return value.replace(NUMBER, str(number))
    if isinstance(value, dict):
        return {key: _numbered(inner, number) for key, inner in value.items()}
    return [_numbered(inner, number) for inner in value] if isinstance(value, list) else value


def _moved(lines: Mapping[KeyPath, int], old: KeyPath, new: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    """The lines below one place of the file under another name."""
    for path, line in lines.items():
        if path[: len(old)] == old:
            yield (*new, *path[len(old) :]), line


def in_round(experiment: Experiment, origin: str, raw: dict[str, Any], references: Sequence[Reference]) -> Any:
    """The keys of a node with its references as its round means them; `raw` itself where it stands in none."""
    names = experiment.renamed.get(origin)
    if names is None:
        return raw
    for role in dict.fromkeys(reference.role for reference in references):
        path = role.split(".")
        raw = _at(raw, path, lambda text, path=path: _renamed(experiment, origin, path, names, text))
    return raw


def _at(value: Any, path: Sequence[str], change: Any) -> Any:
    """A copy of a mapping, with the text at the end of a path, or each text of a list there, changed."""
    if path:
        return {**value, path[0]: _at(value[path[0]], path[1:], change)} if path[0] in value else value
    return [change(text) for text in value] if isinstance(value, list) else change(value)


def _renamed(experiment: Experiment, origin: str, path: Sequence[str], names: Mapping[str, str], text: str) -> str:
    head, dot, split = text.rpartition(".")
    for name, rest in ((text, ""), (head, dot + split)):
        if names.get(name):
            return names[name] + rest
        if name in names:
            where = experiment.where("nodes", origin, *path)
            hint = f"Add `first: {{{name.removeprefix(PREVIOUS)}: NODE}}` to the group."
            raise UserError("config", f"there is no '{name}' in the first round.", where, hint)
    if text.startswith(PREVIOUS):
        known = [name for name in names if name.startswith(PREVIOUS)]
        raise UserError("config", f"'{text}' is no node of the group.", experiment.where("nodes", origin, *path),
                        nearest(text, known))  # fmt: skip
    return text
