"""Rows for the error types that no row of the built-in corpus has a place for: sets, queues and tables that grow."""

from __future__ import annotations

from pipeline.records import FunctionTest, QARecord

UNIQUE = """def unique(items):
    seen = set()
    result = []
    for item in items:
        if item not in seen:
            seen.add(item)
            result.append(item)
    return result
"""
REACHABLE = """from collections import deque

def reachable(graph, start):
    queue = deque([start])
    order = [start]
    while queue:
        node = queue.popleft()
        for other in graph.get(node, []):
            if other not in order[:2]:
                order.append(other)
                queue.append(other)
    return len(order)
"""
COUNTED = """def counted(words):
    counts = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts
"""

F = FunctionTest.of
_GRAPH = {"a": ["b", "c"], "b": [], "c": ["d"]}
_TESTS = {
    "unique": (F("unique", [1, 2, 1, 3], expected=[1, 2, 3]), F("unique", [], expected=[])),
    "reachable": (F("reachable", _GRAPH, "a", expected=4), F("reachable", {}, "a", expected=1)),
    "counted": (F("counted", ["a", "b", "a"], expected={"a": 2, "b": 1}), F("counted", [], expected={})),
}


def extra_rows() -> list[QARecord]:
    codes = {"unique": UNIQUE, "reachable": REACHABLE, "counted": COUNTED}
    return [
        QARecord(f"extra-{name}", f"Write `{name}`.", f"Like so:\n\n```python\n{code}```\n", "tests", _TESTS[name])
        for name, code in codes.items()
    ]
