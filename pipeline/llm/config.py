"""Which model does the work of a stage, how fast, and for how much: the `by` of a node."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from pipeline.contract import KEYED
from pipeline.failures import UserError

OPENAI = "https://api.openai.com/v1"

NEVER_DECIDES = (
    "api_key_env",
    "concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "timeout",
    "patience",
    "budget_tokens",
    "budget_cost",
    "budget_minutes",
    "prompt_price",
    "completion_price",
    "prompts",
    "script",
)
"""What changes no reply, and files, whose content is hashed instead: left out of the content key."""

NEEDS = {"endpoint": ("model",), "vllm": ("model",), "scripted": ("script",), "erring": ()}
BELONGS = {
    "endpoint": {"base_url", "api_key_env", "structured", "options", "requests_per_minute", "tokens_per_minute"},
    "vllm": {"max_length", "dtype"},
    "scripted": {"script"},
    "erring": {"error_rate"},
}
"""Which fields a back end must have, and which only it may have."""


class Writer(BaseModel):
    """The model that does a stage's work: an OpenAI-compatible endpoint, a model of this graph on vLLM, or a script.

    `erring` is no model but a judge that knows what is right, from the rows' tests, and errs as often as it is told.

    How it is used, and what it costs: [models in the pipeline](llm.md).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["endpoint", "vllm", "scripted", "erring"] = Field(description="Who answers.")
    model: str = Field(default="", description="endpoint: the model's name there. vllm: a node that gives a model.")
    base_url: str = Field(default=OPENAI, description="endpoint: its address, up to and including /v1.")
    api_key_env: str = Field(
        default="",
        description="endpoint: the NAME of the environment variable that holds the key, never the key. "
        "OPENAI_API_KEY where no base_url is given; an address of one's own gets no key unless one is named.",
    )
    structured: Literal["schema", "json", "none"] = Field(
        default="schema",
        description="endpoint: how a reply in JSON is asked for: by schema, as any JSON, or by the prompt alone.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="endpoint: more fields of the request, such as `reasoning_effort: low`."
    )
    script: str = Field(default="", description="scripted: a .jsonl file of `when` (text of the request) and `reply`.")
    error_rate: float = Field(
        default=0.0, ge=0, le=1, description="erring: the share of questions in which it says what is wrong."
    )
    max_length: int = Field(default=8192, gt=0, description="vllm: longest prompt and reply together, in tokens.")
    dtype: Literal["fp32", "bf16"] = Field(default="fp32", description="vllm: number format of the weights.")
    temperature: float | None = Field(default=0.0, ge=0, description="0 is greedy; null leaves it to the endpoint.")
    max_tokens: int = Field(default=4096, gt=0, description="Longest reply.")
    attempts: int = Field(default=3, gt=0, description="Times a question is put until the reply has the right form.")
    prompts: str = Field(default="", description="A folder with prompts that replace ours of the same name.")
    concurrency: int | None = Field(
        default=None, gt=0, description="Questions under way at a time; by default 16, with vllm 256."
    )
    requests_per_minute: float | None = Field(default=None, gt=0, description="endpoint: its limit, kept evenly.")
    tokens_per_minute: float | None = Field(default=None, gt=0, description="endpoint: its limit, kept evenly.")
    timeout: float = Field(default=120, gt=0, description="Seconds for one request.")
    patience: float = Field(default=900, gt=0, description="Seconds for one question with all its repetitions.")
    budget_tokens: int | None = Field(default=None, gt=0, description="Tokens that this node may take in all its runs.")
    budget_cost: float | None = Field(
        default=None, gt=0, description="Money that this node may take in all its runs, by the two prices."
    )
    budget_minutes: float | None = Field(default=None, gt=0, description="Minutes after which nothing new is asked.")
    prompt_price: float = Field(default=0, ge=0, description="Price of a million tokens of prompts.")
    completion_price: float = Field(default=0, ge=0, description="Price of a million tokens of replies.")

    @field_validator("base_url")
    @classmethod
    def _no_secrets(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url is an address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("base_url holds no user, password or query: it is written into manifests")
        return value.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, value: str) -> str:
        """The value is not repeated in the message: it may be a key."""
        if value and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
            raise ValueError("api_key_env is the name of an environment variable, in capitals, not a key")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Writer:
        for name in NEEDS[self.backend]:
            if not getattr(self, name):
                raise ValueError(f"backend {self.backend} needs '{name}'")
        for owner, fields in BELONGS.items():
            strange = sorted(self.model_fields_set & fields) if owner != self.backend else []
            if strange:
                raise ValueError(f"'{strange[0]}' belongs to backend {owner}, not {self.backend}")
        if self.budget_cost and not (self.prompt_price or self.completion_price):
            raise ValueError("budget_cost needs prompt_price and completion_price, for a million tokens each")
        return self

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """The fields of this back end; for a content key those that decide what is said."""
        value: dict[str, Any] = handler(self)
        foreign = {name for owner, fields in BELONGS.items() if owner != self.backend for name in fields}
        unkeyed = {*NEVER_DECIDES, *(["model"] if self.backend == "vllm" else [])} if info.context == KEYED else set()
        return {name: item for name, item in value.items() if name not in foreign | unkeyed}

    @property
    def width(self) -> int:
        """Questions under way at a time."""
        return self.concurrency or (256 if self.backend == "vllm" else 16)

    @property
    def key_name(self) -> str:
        """The environment variable that holds the key; empty where none is sent."""
        return self.api_key_env or ("OPENAI_API_KEY" if self.base_url == OPENAI else "")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6


def secret(writer: Writer) -> str:
    """The key from the environment. Raises an environment error, without the value, where it cannot be one."""
    value = os.environ.get(writer.key_name, "").strip() if writer.key_name else ""
    if not all("!" <= character <= "~" for character in value):
        what = f"the environment variable {writer.key_name} holds no key: keys are printable ASCII without spaces."
        raise UserError("environment", what, writer.base_url, "Set it again; look for quotes or a pasted line.")
    if writer.key_name and not value:
        what = f"the environment variable {writer.key_name} is not set."
        hint = f"Put the key for {writer.base_url} there, or name another variable as api_key_env."
        raise UserError("environment", what, "by.api_key_env", hint)
    return value


def writers(config: BaseModel) -> Iterator[Writer]:
    """Every writer in the config of a node, also in a section such as `judge`."""
    for _, value in config:
        if isinstance(value, Writer):
            yield value
        elif isinstance(value, BaseModel):
            yield from writers(value)
