"""The error types: each can embed an error, verify that it is there, and recognise it."""

from __future__ import annotations

from pipeline.errors.base import ErrorType
from pipeline.errors.base_cases import BaseCases
from pipeline.errors.contextual_references import ContextualReferences
from pipeline.errors.data_structures import DataStructures
from pipeline.errors.edge_cases import EdgeCases
from pipeline.errors.formatting import PoorFormatting
from pipeline.errors.inconsistent_terms import InconsistentTerms
from pipeline.errors.incorrect_explanations import IncorrectExplanations
from pipeline.errors.infinite_loops import InfiniteLoops
from pipeline.errors.irrelevant import IrrelevantInformation
from pipeline.errors.misleading_comments import MisleadingComments
from pipeline.errors.off_by_one import OffByOne
from pipeline.errors.omitted_imports import OmittedImports
from pipeline.errors.redundant import RedundantInformation
from pipeline.errors.syntax_errors import SyntaxErrors
from pipeline.errors.unused_imports import UnusedImports
from pipeline.failures import UserError, nearest

_KINDS: tuple[ErrorType, ...] = (
    OffByOne(),
    EdgeCases(),
    BaseCases(),
    InfiniteLoops(),
    DataStructures(),
    SyntaxErrors(),
    UnusedImports(),
    OmittedImports(),
    ContextualReferences(),
    MisleadingComments(),
    IncorrectExplanations(),
    IrrelevantInformation(),
    RedundantInformation(),
    InconsistentTerms(),
    PoorFormatting(),
)

ERROR_TYPES: dict[str, ErrorType] = {kind.name: kind for kind in _KINDS}
"""Every error type by name, in the order in which documents list them."""


def error_type(name: str, where: str = "") -> ErrorType:
    """The error type of this name; a config error at `where` if there is none."""
    if name not in ERROR_TYPES:
        raise UserError("config", f"there is no error type '{name}'.", where, nearest(name, list(ERROR_TYPES)))
    return ERROR_TYPES[name]
