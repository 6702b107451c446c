"""Reading an experiment file: YAML to plain values that remember their lines, and errors that name them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from pipeline.failures import UserError, nearest

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
NOT_YAML = (yaml.YAMLError, ValueError)
"""A ValueError is raised for a date that no calendar has."""
KeyPath = tuple[str, ...]
Model = TypeVar("Model", bound=BaseModel)


class Head(BaseModel):
    """The top of an experiment file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="Names the folder under runs/.")
    seed: int = Field(default=0, description="Seed of every node that gives none itself.")
    nodes: dict[str, dict[str, Any]] = Field(description="The graph: one entry for each node, or for a `repeat`.")


@dataclass(frozen=True)
class Experiment:
    """An experiment as written: its nodes are not expanded yet. `lines` gives the line of every key path.

    `renamed` says of a node in a round of `repeat` what the names that it uses stand for.
    """

    name: str
    seed: int
    nodes: dict[str, dict[str, Any]]
    file: str
    lines: dict[KeyPath, int] = field(default_factory=dict, repr=False)
    renamed: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)

    def where(self, *path: str) -> str:
        """'file:line' of a key path, or of the nearest enclosing one that was written in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.file}:{self.lines[path[:length]]}: {'.'.join(path)}"
        return f"{self.file}: {'.'.join(path)}" if path else self.file


def load(file: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file and apply ``--set`` overrides such as ``nodes.qa.rows=500``."""
    return experiment_of(*read(file, overrides))


def read(file: Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], Experiment]:
    """A YAML file as plain values, and a draft without nodes that knows the line of every key."""
    value, lines = _parse(file)
    for override in overrides:
        _override(value, override)
    return value, Experiment("", 0, {}, str(file), lines)


def experiment_of(value: dict[str, Any], draft: Experiment) -> Experiment:
    """The experiment that plain values describe, its head checked."""
    if "experiment" in value:
        hint = f"Try: kintsugi sweep {draft.file}"
        raise UserError("config", "this is a sweep, not an experiment.", draft.file, hint)
    head = checked(Head, value, draft, ())
    for name in head.nodes:
        if not NAME.fullmatch(name):
            raise UserError(
                "config", f"'{name}' is no node name.", draft.where("nodes", name), "Use letters, digits, '-' and '_'."
            )
    if not head.nodes:
        raise UserError("config", "there are no nodes.", draft.where("nodes"), "Start with a source node.")
    return Experiment(head.name, head.seed, head.nodes, draft.file, draft.lines)


def checked(
    model: type[Model], value: Any, experiment: Experiment, path: KeyPath, also_known: Sequence[str] = ()
) -> Model:
    """`value` as `model`, or a config error that names file, line, key and the nearest valid key.

    Keys in `also_known` are valid in the file too, though the model does not have them.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = _most_telling(
            [{**found, "loc": _keys(model, found["loc"])} for found in error.errors(include_url=False)]
        )
        place = (*path, *(str(part) for part in first["loc"]))
        raise UserError("config", *_explain(first, model, experiment.where(*place), also_known)) from None


def _most_telling(found: Sequence[Any]) -> Any:
    """A misspelt key is often a missing one as well: its right spelling says more.

    Where a key takes one of several things, each says why it is not that: what looks deepest was meant, and what a rule
    of its own refuses rather than what is another thing.
    """
    first = min(found, key=lambda one: one["type"] != "extra_forbidden")
    same = [one for one in found if one["loc"][:1] == first["loc"][:1] and one["type"] != "model_type"]
    return first if first["type"] == "extra_forbidden" or not same else max(same, key=_depth)


def _depth(found: Any) -> tuple[int, bool]:
    return len(found["loc"]), found["type"] == "value_error"


def _keys(model: type[BaseModel], location: Sequence[Any]) -> tuple[Any, ...]:
    """A place by its keys alone: where a key takes one of several things, pydantic names the thing behind it."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    if len(location) < 2 or location[0] not in fields:
        return tuple(location)
    options = [option for option in get_args(fields[location[0]].annotation) if option is not NoneType]
    union = get_origin(fields[location[0]].annotation) in (Union, UnionType) and len(options) > 1
    rest = location[2:] if union else location[1:]
    inner = [option for option in (fields[location[0]].annotation, *options) if isinstance(option, type)]
    nested = next((option for option in inner if issubclass(option, BaseModel)), None)
    return (location[0], *(_keys(nested, rest) if nested else rest))


def _explain(error: Any, model: type[BaseModel], where: str, also_known: Sequence[str]) -> tuple[str, str, str]:
    """What is wrong, where, and what to do: the nearest key, or what the field means."""
    location = [str(part) for part in error["loc"]] or [""]
    fields = _fields_at(model, location)
    key = location[-1] if location[-1] in fields else location[0]
    info = fields.get(key) or _fields_at(model, location[:1]).get(key)
    meaning = f"{key}: {info.description}" if info and info.description else ""
    if error["type"] == "extra_forbidden":
        known = [*fields, *(also_known if len(location) == 1 else ())]
        return f"unknown key '{location[-1]}'.", where, nearest(location[-1], known)
    if error["type"] == "missing":
        return f"the key '{location[-1]}' is missing.", where, f"Add it. {meaning}".rstrip()
    if error["type"] == "value_error":
        return f"{error['ctx']['error']}.", where, meaning
    return f"{error['msg']} (it is {error['input']!r}).", where, meaning


def _fields_at(model: type[BaseModel], location: Sequence[str]) -> dict[str, FieldInfo]:
    """The fields, by their names in files, of the model in which the last part of `location` stands."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    if len(location) < 2:
        return fields
    annotation = fields[location[0]].annotation
    options = [option for option in (annotation, *get_args(annotation)) if isinstance(option, type)]
    inner = next((option for option in options if issubclass(option, BaseModel)), None)
    return _fields_at(inner, location[1:]) if inner else {}


def _parse(file: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        hint = "Experiment files are in configs/; name one, such as configs/recovery.yaml."
        raise UserError("config", f"cannot read the experiment file ({error.strerror}).", str(file), hint) from None
    except UnicodeDecodeError:
        raise UserError("config", "the experiment file is not UTF-8.", str(file), "Save it as UTF-8 text.") from None
    try:
        value = yaml.safe_load(text)
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        what = f"this is not YAML: {_problem(error)}."
        raise UserError("config", what, where, "Look at the line and the one above.") from None
    try:
        lines = dict(_lines(yaml.compose(text, Loader=yaml.SafeLoader), (), str(file)))
    except RecursionError:
        hint = "Look for an anchor (&) and its alias (*)."
        raise UserError("config", "an alias stands inside of what it refers to.", str(file), hint) from None
    if not isinstance(value, dict):
        hint = "Experiment files are in configs/."
        raise UserError("config", "the file is no mapping of keys to values.", str(file), hint)
    return value, lines


def _problem(error: Exception) -> str:
    return getattr(error, "problem", None) or str(error).partition("\n")[0]


def _lines(node: yaml.Node | None, path: KeyPath, file: str) -> Iterator[tuple[KeyPath, int]]:
    """The line of every key; a key given twice is an error, for YAML would silently keep the last."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, child in node.value:
        line = key.start_mark.line + 1
        if key.value in seen:
            raise UserError("config", f"the key '{key.value}' is given twice.", f"{file}:{line}", "Remove one.")
        seen.add(key.value)
        yield (*path, key.value), line
        yield from _lines(child, (*path, key.value), file)


def _override(value: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals:
        raise UserError("config", f"'{override}' sets nothing.", "--set", "Write --set nodes.qa.rows=500.")
    *parents, last = path.split(".")
    place: Any = value
    for depth, part in enumerate(parents):
        if not isinstance(place.get(part, {}), dict):
            raise UserError("config", f"'{part}' is a value, not a mapping.", f"--set {override}")
        if part not in place and depth < 2:
            raise UserError("config", f"there is no '{part}'.", f"--set {override}", nearest(part, list(place)))
        place = place.setdefault(part, {})
    try:
        place[last] = yaml.safe_load(text)
    except NOT_YAML as error:
        hint = "Quote lists for the shell: --set 'nodes.scores.scorers=[execution, errors]'."
        raise UserError("config", f"the value is not YAML: {_problem(error)}.", f"--set {override}", hint) from None
