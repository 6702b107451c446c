"""The error types that change prose or comments and leave the program alone."""

from pipeline.errors import (
    formatting,
    inconsistent_terms,
    incorrect_explanations,
    irrelevant,
    misleading_comments,
    redundant,
)

COMMENTS, EXPLANATION, ASIDE = misleading_comments.NAME, incorrect_explanations.NAME, irrelevant.NAME
REPEATED, TERMS, FORMAT = redundant.NAME, inconsistent_terms.NAME, formatting.NAME

PROSE = (COMMENTS, EXPLANATION, ASIDE, REPEATED, TERMS, FORMAT)
"""In the order in which they are registered."""
