"""Prompts are files: `prompts/<name>.md`, Jinja templates with a `system` and a `user` block."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
)

from pipeline.failures import UserError
from pipeline.llm.base import Message

BLOCKS = ("system", "user")
OURS = PackageLoader("pipeline.llm", "prompts")


@lru_cache
def template(name: str, folder: str = "") -> Template:
    """The prompt of this name: the one in `folder` where there is one, else ours. Both blocks must be there."""
    where = f"{folder or 'prompts'}/{name}.md"
    loaders = [*([FileSystemLoader(folder)] if folder else []), OURS]
    environment = Environment(
        loader=ChoiceLoader(loaders), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    try:
        found = environment.get_template(f"{name}.md")
    except TemplateNotFound:
        raise UserError("config", "there is no such prompt.", where) from None
    except TemplateError as error:
        raise UserError("config", f"the prompt is no template: {error}.", where) from None
    if missing := [block for block in BLOCKS if block not in found.blocks]:
        hint = "Write {% block system %}...{% endblock %}{% block user %}...{% endblock %}."
        raise UserError("config", f"the prompt has no block '{missing[0]}'.", where, hint)
    return found


def messages(name: str, facts: Mapping[str, Any], folder: str = "") -> tuple[Message, Message]:
    """The two messages that open a conversation. What rows say is put in as it stands, never read as a template."""
    found = template(name, folder)
    try:
        system, user = ("".join(found.blocks[block](found.new_context(dict(facts)))).strip() for block in BLOCKS)
    except TemplateError as error:
        hint = f"It may use {', '.join(sorted(facts))}."
        raise UserError("config", f"the prompt cannot be filled in: {error}.", f"{folder}/{name}.md", hint) from None
    return Message("system", system), Message("user", user)


def source(name: str, folder: str = "") -> str:
    """The text of a prompt, for content keys."""
    path = Path(folder) / f"{name}.md" if folder else None
    if path is not None and not Path(folder).is_dir():
        raise UserError("config", "there is no such folder of prompts.", folder)
    if path is not None and path.is_file():
        return path.read_text(encoding="utf-8")
    return (Path(__file__).parent / "prompts" / f"{name}.md").read_text(encoding="utf-8")
