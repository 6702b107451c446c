"""VADER: sentiment by a lexicon and rules, which the package `vaderSentiment` ships.

Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from pipeline.attributes.base import Item, Label

POSITIVE, NEUTRAL, NEGATIVE = "pos", "neu", "neg"
THRESHOLD = 0.05
"""Of the compound score, in [-1, 1]: the authors' own (README of vaderSentiment, "About the Scoring")."""


def classify(items: Sequence[Item]) -> list[Label]:
    """`pos`, `neg`, or `neu` between the thresholds: neutral is a class of its own, and not negative."""
    return [_label(_analyzer().polarity_scores(item.text)["compound"]) for item in items]


def _label(compound: float) -> Label:
    name = POSITIVE if compound >= THRESHOLD else NEGATIVE if compound <= -THRESHOLD else NEUTRAL
    return Label(name, compound, f"compound {compound:+.4f}")


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
