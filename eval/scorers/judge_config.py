"""Who judges, and what it is shown: the `judge` and `pairrm` of the nodes that judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

from pipeline.contract import KEYED
from pipeline.failures import UserError
from pipeline.llm.config import Writer
from pipeline.llm.nodes import ErrorTypes

PAIRRM = "llm-blender/PairRM-hf"
"""The published pair ranker (Jiang, Ren and Lin, LLM-Blender, ACL 2023), in the form that transformers reads."""


class Comparer(BaseModel):
    """A language model that says which of two answers is better."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Writer
    with_reference: bool = Field(default=False, description="Show the judge the good answer too, where there is one.")


class Judge(Comparer):
    """A language model that judges answers: four aspects, yes or no with a reason each, and the errors it sees."""

    error_types: ErrorTypes = Field(
        default_factory=list, validate_default=True, description="The error types it may name; all by default."
    )


class Rubric(Comparer):
    """A language model that grades answers from 1 to 5, with a reason: the score `rubric/score`."""

    criteria: str = Field(default="", description="What counts above all, in a sentence, beside the rubric's words.")


class PairRM(BaseModel):
    """A DeBERTa-v3 pair ranker, loaded from safetensors by transformers alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default=PAIRRM,
        description="A node that gives it (`{kind: model, from: ...}`), a directory, or a Hugging Face name: "
        "OWNER/NAME or OWNER/NAME@REVISION.",
    )
    batch_size: int = Field(
        default=16, gt=0, description="Pairs that are ranked at a time: it decides memory and speed."
    )

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """For a content key what the model is counts, not where it lies; nor how many pairs go at a time."""
        return {} if info.context == KEYED else handler(self)


def ranker_fingerprint(model: str, where: str) -> str:
    """What identifies a ranker outside the graph: its files, or its Hugging Face name. A config error if neither."""
    from pipeline.model_files import check_model_directory, directory_hash

    if Path(model).is_dir():
        check_model_directory(Path(model))
        return directory_hash(Path(model))
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return model
    what = f"'{model}' is no node, no model directory and no Hugging Face name."
    raise UserError("config", what, where, f"Name a model node of this file, a directory, or {PAIRRM}.")
