"""The forms of replies: pydantic models whose JSON schema constrains an engine and whose validation reads the reply."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, create_model

from pipeline.store import canonical


class Form(BaseModel):
    """What a model replies, or a part of it. Every field is required and no other is allowed, as strict schemas ask."""

    model_config = ConfigDict(extra="forbid")


@lru_cache
def listed(field: str, one: type[Form], error_types: tuple[str, ...]) -> type[Form]:
    """The form of a list of `one`, each of one of these error types: ``{field: [{"error_type": ..., ...}]}``."""
    names: Any = Literal[error_types]
    typed = create_model(f"{one.__name__}OfType", __base__=one, error_type=(names, ...))
    items: dict[str, Any] = {field: (list[typed], ...)}
    return create_model(f"{one.__name__}List", __base__=Form, **items)


@lru_cache
def schema_of(form: type[BaseModel]) -> str:
    """The JSON schema of a form as canonical text."""
    return canonical(form.model_json_schema())
