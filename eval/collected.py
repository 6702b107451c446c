"""The report on collected preferences."""

from __future__ import annotations

from pipeline.contract import Work


def write_collected(work: Work) -> None:
    raise NotImplementedError(work.name)
