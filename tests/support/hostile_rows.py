"""Lines of a .jsonl file as nobody would wish for: each kind in its turn, the same for the same number."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle

LONG = 1_000_000


def _row(number: int, **fields: object) -> bytes:
    row = {"id": f"h{number}", "question": f"Question {number}?", "answer": f"Answer {number}.", **fields}
    return json.dumps(row, ensure_ascii=False).encode()


def _fenced(code: str, number: int, fence: str = "```", line: str = "\n") -> str:
    return line.join((f"Answer {number}:", "", f"{fence}python", *code.format(n=number).split("\n"), fence, ""))


LOOP = """def total(items):
    result = {n}
    for i in range(len(items)):
        result += items[i]
    return result"""
WOMAN = "\U0001f469\u200d\U0001f4bb"
"""One character to a reader, three code points."""

KINDS: dict[str, tuple[Callable[[int], bytes], str]] = {
    "broken utf-8": (lambda n: _row(n).replace(b"Answer", b"caf\xe9\xff"), "encoding"),
    "half a surrogate": (lambda n: _row(n).replace(b"Answer", b"\\ud83d"), "encoding"),
    "half a line": (lambda n: _row(n)[:-9], "bad-json"),
    "no object": (lambda n: json.dumps([n]).encode(), "not-an-object"),
    "deep": (lambda n: b"[" * 50_000, "bad-json"),
    "huge number": (lambda n: b'{"id": ' + b"9" * 5_000 + b"}", "bad-json"),
    "null character": (lambda n: _row(n, answer=f"a\0b {n}"), "null-character"),
    "wrong type": (lambda n: _row(n, answer=[n]), "wrong-type"),
    "wrong id": (lambda n: _row(n, id={"n": n}), "wrong-type"),
    "empty": (lambda n: _row(n, question=" \n"), "empty"),
    "missing": (lambda n: json.dumps({"id": f"h{n}", "question": "?"}).encode(), "missing-field"),
    "other format": (lambda n: _row(n, prompt="p", chosen="a", rejected="b"), "other-format"),
    "duplicate id": (lambda n: _row(n, id="again"), "duplicate-id"),
    "wrong tests": (lambda n: _row(n, tests="none"), "wrong-type"),
    "no code": (_row, ""),
    "crlf": (lambda n: _row(n, answer=_fenced(LOOP, n, line="\r\n")), ""),
    "carriage returns": (lambda n: _row(n, answer=_fenced(LOOP, n, line="\r")), ""),
    "emoji": (lambda n: _row(n, question=f"{WOMAN} {n}?", answer=f"\U0001f600 {_fenced(LOOP, n)}"), ""),
    "nested fences": (lambda n: _row(n, answer=f"````markdown\n{_fenced(LOOP, n)}````\n{_fenced(LOOP, n, '~~~')}"), ""),
    "open fence": (lambda n: _row(n, answer=f"```python\ndef f{n}():\n    return"), ""),
    "not python": (lambda n: _row(n, answer=f"```python\ndef ({n}:\n```\n"), ""),
    "separators": (lambda n: _row(n, answer=f"a\u2028b\x85c\v\f{n}\ufeff\u202e\u0000".replace("\0", "")), ""),
    "deep code": (lambda n: _row(n, answer=f"```python\nx = {'(' * 500}{n}{')' * 500}\n```\n"), ""),
    "a number as id": (lambda n: _row(n, id=n), ""),
    "no id": (lambda n: json.dumps({"question": f"{n}?", "answer": f"{n}"}).encode(), ""),
    "no id, again": (lambda n: json.dumps({"question": "same?", "answer": "same"}).encode(), ""),
}  # fmt: skip
"""Each kind, and the reason for which a source rejects it; nothing where it takes it."""


def hostile(count: int, long: int = 4) -> tuple[list[bytes], dict[str, int]]:
    """So many lines, a few of them of 1 MB; how many a source rejects for which reason."""
    lines, expected = [], {"too-long": long}
    for number, (make, reason) in zip(range(count - long), cycle(KINDS.values()), strict=False):
        lines.append(make(number))
        if reason:
            expected[reason] = expected.get(reason, 0) + 1
    expected["duplicate-id"] -= 1  # one of them is kept
    lines += [_row(count + i, answer="x" * LONG) for i in range(long)]
    return lines, expected
