"""docs/config.md, written from the types that check experiment files: `python -m kintsugi.config_docs`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from inspect import getdoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo

from eval.nodes import JUDGE, RUBRIC
from eval.scorers import SCORERS
from kintsugi.experiment import Head
from kintsugi.kinds import KINDS
from kintsugi.rounds import Repeat
from pipeline.contract import UNKEYED, NodeConfig, NodeKind, Resources
from pipeline.errors import ERROR_TYPES
from pipeline.sources.formats import FORMATS
from pipeline.store import write_text

FILE = Path(__file__).parents[1] / "docs" / "config.md"
EXAMPLES = Path(__file__).parents[1] / "configs"

KNOWN: dict[str, Iterable[str]] = {
    "error_types": ERROR_TYPES,
    "scorers": (*SCORERS, JUDGE, RUBRIC),
    "format": ("auto", *FORMATS),
}
"""Names that keys take, where these come from a registry and not from a type."""

BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than", "min_length": "length at least"}
TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", ByteSize: "size", Any: "anything"}

TOP = """# Experiment files

<!-- Written by `make docs` from the types in nodes.py and config.py of the packages. Do not edit. -->

An experiment is a YAML file: a name, a seed, and named nodes. Unknown keys are errors, with the line and the nearest
key that exists. `kintsugi init` writes an example to start from; [recovery.yaml](../configs/recovery.yaml)
is a whole one.

"""

NODES = """
## Nodes

A node has a `kind`, which decides its other keys. Names are made of letters, digits, `-` and `_`.

**Inputs** are names of other nodes. Where a node has splits, one is named: `data: qa.train`. A name that stands for
several nodes (see below) means all of them where a list is taken.

**`matrix`** makes one node of each combination of values; **`arms`** makes one for each entry of a list:

    mended:                                      mended:
      kind: preference                             kind: preference
      ...                                          ...
      matrix: {loss: [dpo, tdpo2], seed: [0, 1]}   arms: [{loss: dpo, beta: 0.1}, {loss: tdpo2, alpha: 0.7}]

These are called `mended/dpo-0`, `mended/dpo-1` and so on: the values in order. Kinds that say *one node for each* below
multiply themselves: `answers` becomes `answers/reference`, `answers/mended/dpo-0` ...

**`repeat`** makes rounds of a group of nodes, each from what the one before made (`previous.NAME`):

    loop:
      repeat: 2
      first: {policy: base}
      nodes:
        samples: {kind: generate, models: previous.policy, ...}
        scored:  {kind: score, input: samples, ...}
        pairs:   {kind: pair, input: scored, metric: passed}
        policy:  {kind: preference, init: previous.policy, data: pairs, ...}

These become `samples/1`, `scored/1`, `pairs/1`, `policy/1`, `samples/2` and so on: nodes like any others, with keys of
their own, so a longer `repeat` keeps the rounds that are made. Elsewhere `policy` means those of all rounds and
`policy/2` one; `{round}` in any text of the group is the number of the round.
[preferences.yaml](../configs/preferences.yaml) is a whole one.

{repeat}
**`--set KEY=VALUE`** overrides a key for one run: `--set nodes.qa.rows=500`, `--set seed=3`,
`--set 'nodes.scores.scorers=[execution]'`. Values are YAML.

**What makes a node be made again**: its artifact is found by a key, the hash of kind, version of the kind, all other
keys and the inputs' artifacts. {unkeyed} do not count: they never change a result. Neither does the node's name.

"""


def text() -> str:
    """The whole page."""
    *names, last = (f"`{name}`" for name in sorted(UNKEYED - {"kind"}))
    unkeyed = f"{', '.join(names)} and {last}"
    listed = "".join(
        f"| [`{kind.name}`](#{kind.name}) | {_purpose(kind)} | {kind.product} |\n" for kind in KINDS.values()
    )
    return (
        TOP
        + table(Head)
        + NODES.replace("{unkeyed}", unkeyed).replace("{repeat}", table(Repeat))
        + "| kind | what it does | gives |\n|---|---|---|\n"
        + listed
        + "\n### Every kind\n\n"
        + table(NodeConfig)
        + "\n### resources\n\n"
        + f"{getdoc(Resources)}\n\n"
        + table(Resources)
        + "".join(f"\n### {model.__name__.lower()}\n\n{getdoc(model)}\n\n{table(model)}" for model in nested())
        + "".join(f"\n{section(kind)}" for kind in KINDS.values())
    )


def nested() -> list[type[BaseModel]]:
    """The mappings that keys of any kind may hold, apart from `resources`, in order."""
    infos = [info for kind in KINDS.values() for info in kind.Config.model_fields.values()]
    found = [part for info in infos for part in _parts(info.annotation) if issubclass(part, BaseModel)]
    return [model for model in dict.fromkeys(found) if model is not Resources]


def _parts(annotation: Any) -> list[type]:
    """The classes that a type is made of."""
    parts = [inner for part in get_args(annotation) for inner in _parts(part)]
    return [annotation] if isinstance(annotation, type) and not parts else parts


def section(kind: NodeKind) -> str:
    """What one kind does, its inputs, its keys, and an example."""
    parts = [f"## {kind.name}", getdoc(kind.Config) or "", _inputs(kind), table(kind.Config, NodeConfig).rstrip()]
    return "\n\n".join(part for part in [*parts, _example(kind)] if part) + "\n"


def table(model: type[BaseModel], without: type[BaseModel] | None = None) -> str:
    """The keys of a model as a table; not those that `without` has too."""
    known = set(without.model_fields) if without else set()
    rows = [
        f"| `{info.alias or name}` | {_cell(_type(info))} | {_cell(_default(info))} | {_cell(_meaning(name, info))} |\n"
        for name, info in model.model_fields.items()
        if name not in known
    ]
    return "| key | type | default | meaning |\n|---|---|---|---|\n" + "".join(rows)


def _purpose(kind: NodeKind) -> str:
    return (getdoc(kind.Config) or "").partition("\n\n")[0].replace("\n", " ")


def _inputs(kind: NodeKind) -> str:
    """Which keys name other nodes, and what these must give."""
    named: dict[str, Any] = {
        name: name if _holds_text(info.annotation) else None
        for name, info in kind.Config.model_fields.items()
        if _holds_text(info.annotation) or info.is_required()
    }
    references = kind.inputs(kind.Config.model_construct(**named))
    said = [f"`{one.role}` ({' or '.join(one.products)}{', or outside the graph' * one.open})" for one in references]
    fan = f" One node for each of `{kind.fan_out}`." if kind.fan_out else ""
    inputs = f"Inputs: {', '.join(said)}." if said else "No inputs."
    return f"Gives {kind.product}. {inputs}{fan}"


def _holds_text(annotation: Any) -> bool:
    """Whether a key may hold any text, alone or in a list."""
    if get_origin(annotation) is Literal:
        return False
    return annotation is str or any(_holds_text(part) for part in get_args(annotation))


def _type(info: FieldInfo) -> str:
    parts = [_name(info.annotation), *_bounds(info)]
    return ", ".join(parts)


def _name(annotation: Any) -> str:
    """A type in the words of the page."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in parts)
    if origin in (Union, UnionType):
        return " or ".join(_name(part) for part in parts if part is not NoneType)
    if origin is list:
        return f"list of {_name(parts[0])}"
    if origin is dict:
        return f"mapping of {_name(parts[0])} to {_name(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__.lower()}](#{annotation.__name__.lower()})"
    return TYPES.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _bounds(info: FieldInfo) -> Iterator[str]:
    for constraint in info.metadata:
        for name, words in BOUNDS.items():
            if (value := getattr(constraint, name, None)) is not None:
                yield f"{words} {value}"
        if pattern := getattr(constraint, "pattern", None):
            yield f"like `{pattern}`"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "*required*"
    value = info.get_default(call_default_factory=True)
    if value is None or value in ({}, [], ""):
        return "none"
    if isinstance(value, ByteSize):
        return f"`{value.human_readable(decimal=True)}`"
    return "see there" if isinstance(value, BaseModel) else f"`{value}`"


def _meaning(name: str, info: FieldInfo) -> str:
    if info.description:
        known = ", ".join(f"`{value}`" for value in KNOWN.get(name, ()))
        return f"{info.description} Known: {known}." if known else info.description
    annotation = info.annotation
    assert isinstance(annotation, type) and issubclass(annotation, BaseModel), f"{info} has no description"
    return (getdoc(annotation) or "").partition(".")[0] + "."


def _cell(content: str) -> str:
    return content.replace("|", "\\|").replace("\n", " ")


def _example(kind: NodeKind) -> str:
    """The first node of this kind in the shipped experiments, as it is written there."""
    for file in sorted(EXAMPLES.glob("*.yaml")):
        lines = file.read_text(encoding="utf-8").splitlines()
        for start, line in enumerate(lines):
            if line.startswith("    kind: ") and line.split()[1] == kind.name:
                return "\n".join(["Example:", "", *(f"    {line[2:]}".rstrip() for line in _node(lines, start - 1))])
    return ""


def _node(lines: Sequence[str], start: int) -> list[str]:
    """The lines of the node that begins at `start`, up to the first that is not deeper than its name."""
    body = [lines[start]]
    for line in lines[start + 1 :]:
        if not line.startswith("    "):
            break
        body.append(line)
    return body


if __name__ == "__main__":
    write_text(FILE, text())
