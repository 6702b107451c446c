"""What `from:` may name: a file, a folder, a pattern, a place in an object store, a data set of the Hub.

Several files are one stream, in the order of their names. Only what stands in the store's or the file's content decides
the fingerprint, and the names, which decide that order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.failures import UserError
from pipeline.records import Reject
from pipeline.sources.parsing import SUFFIXES, rows_of
from pipeline.sources.places import Origin, Parsed, Part
from pipeline.store import content_key, file_hash

HUB = "hf:"
_WILD = re.compile(r"[*?[]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def find(origin: str | Path, **hub: Any) -> Origin:
    """The rows that `origin` names. `hub` says which config, split and revision of a data set of the Hub is meant.

    Raises a data error where there is nothing to read.
    """
    text = str(origin)
    if text.startswith(HUB):
        from pipeline.sources.hub import hub_origin

        return hub_origin(text.removeprefix(HUB), **hub)
    if scheme := _SCHEME.match(text):
        from pipeline.sources.objects import object_parts

        return _origin(text, *_chosen(text, object_parts(scheme[1].lower(), text), _is_pattern(text)))
    return _local(text)


def base_of(pattern: str) -> str:
    """The folder above the first wildcard of a pattern."""
    return _WILD.split(pattern, maxsplit=1)[0].rpartition("/")[0]


def _is_pattern(text: str) -> bool:
    return bool(_WILD.search(text))


def _local(text: str) -> Origin:
    path = Path(text)
    if path.is_dir():
        listed = sorted(item for item in path.rglob("*") if item.is_file())
        parts = [_local_part(item, item.relative_to(path).as_posix()) for item in listed]
        return _origin(text, *_chosen(text, parts, pattern=False))
    if _is_pattern(text) and not path.exists():
        base = Path(base_of(text) or ".")
        listed = sorted(path for path in base.glob(text[len(base_of(text)) :].lstrip("/")) if path.is_file())
        parts = [_local_part(item, item.relative_to(base).as_posix()) for item in listed]
        return _origin(text, *_chosen(text, parts, pattern=True))
    _check_file(path)
    return _origin(text, [_local_part(path, path.name)])


def _local_part(path: Path, name: str) -> Part:
    return Part(name, str(path), lambda: path.open("rb"), partial(file_hash, path))


def _chosen(where: str, found: Sequence[Part], pattern: bool) -> tuple[list[Part], list[str]]:
    """The files to read, in order, and those of a folder that are passed over: hidden ones, and unknown suffixes."""
    shown = [part for part in found if not any(step.startswith((".", "_")) for step in part.name.split("/"))]
    parts = sorted((part for part in shown if part.name.endswith(SUFFIXES)), key=lambda part: part.name)
    others = sorted({part.name for part in found} - {part.name for part in parts})
    for part in shown:
        if not part.name.endswith(SUFFIXES) and (pattern or part.where == where):
            raise _unknown_suffix(part.where)
    if not parts:
        seen = f" Seen: {', '.join(others[:8])}." if others else ""
        what = "no file matches the pattern." if pattern else "the folder has no data file."
        hint = "Quote it, and mind that * stops at a slash and ** does not." if pattern and not others else ""
        raise UserError("data", what, where, f"{hint}{seen} Files end in {', '.join(SUFFIXES)}.".strip())
    return parts, others


def _origin(text: str, parts: Sequence[Part], passed_over: Sequence[str] = ()) -> Origin:
    single = len(parts) == 1 and parts[0].where == text
    name = Path(text).name if single else text.rstrip("/").rpartition("/")[2] or text
    return Origin(name, text, partial(_rows, parts), partial(_fingerprint, parts), len(parts), tuple(passed_over))


def _rows(parts: Sequence[Part]) -> Iterator[Parsed | Reject]:
    return chain.from_iterable(map(rows_of, parts))


def _fingerprint(parts: Sequence[Part]) -> str:
    if len(parts) == 1:
        return parts[0].hash()
    return content_key([[part.name, part.hash()] for part in parts])


def _check_file(path: Path) -> None:
    if not path.exists():
        close = get_close_matches(path.name, [entry.name for entry in path.parent.glob("*")], n=1)
        hint = f"Did you mean '{close[0]}'?" if close else "A relative path starts where the command is run."
        raise UserError("data", "there is no such file.", str(path), hint)
    if not path.is_file():
        raise UserError("data", "this is not a file.", str(path), f"Name files: {', '.join(SUFFIXES)}.")
    if not path.name.endswith(SUFFIXES):
        raise _unknown_suffix(str(path))


def _unknown_suffix(where: str) -> UserError:
    suffix = Path(where).suffix
    what = f"the suffix '{suffix}' is not known." if suffix else "the file has no suffix."
    return UserError("data", what, where, f"Rename or convert it: {', '.join(SUFFIXES)} can be read.")
