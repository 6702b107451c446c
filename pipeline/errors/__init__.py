"""The error types: each can embed an error, verify that it is there, and recognise it."""

from __future__ import annotations

from pipeline.errors.base import ErrorType
from pipeline.errors.edge_cases import EdgeCases
from pipeline.errors.off_by_one import OffByOne
from pipeline.errors.omitted_imports import OmittedImports

ERROR_TYPES: dict[str, ErrorType] = {kind.name: kind for kind in (OffByOne(), EdgeCases(), OmittedImports())}
"""Every error type by name, in the order in which documents list them."""
