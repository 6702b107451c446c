"""What a call is held against, and whether it gave that. The parent decides, from JSON; see `FunctionTest.expected`.

A test expects a JSON value, or one of the forms here: an object whose keys begin with `$`.
"""

from __future__ import annotations

import json
import math
from typing import Any

from pipeline.records import FunctionTest
from pipeline.sandbox.typed import tagged, text_of, untagged

EQUALS, NEAR, UNSCORED = "$equals", "$near", "$unscored"
BELOW, WITHIN, RELATIVE = "$below", "$within", "$relative"
FORMS = (frozenset({EQUALS}), frozenset({UNSCORED}), frozenset({NEAR, BELOW}), frozenset({NEAR, WITHIN, RELATIVE}))

RELATIVE_TOLERANCE = 1e-9
"""Floats agree up to this where a JSON value is expected: summing in another order is no error."""


def equals(value: Any) -> dict[str, Any]:
    """Expects what Python's `==` calls equal: a tuple is no list, 1 is True and 1.0, and floats are exact."""
    return {EQUALS: tagged(value)}


def below(value: float, distance: float) -> dict[str, Any]:
    """Expects a number x with ``abs(x - value) < distance``."""
    return {NEAR: value, BELOW: distance}


def near(value: float, *, relative: float, within: float) -> dict[str, Any]:
    """Expects a number that ``math.isclose(x, value, rel_tol=relative, abs_tol=within)`` takes."""
    return {NEAR: value, WITHIN: within, RELATIVE: relative}


def unscored(function: str, reason: str) -> FunctionTest:
    """Stands for tests that cannot be told here: answers to this prompt are not scored, and this is why."""
    return FunctionTest.of(function, expected={UNSCORED: reason})


def form_of(test: FunctionTest) -> dict[str, Any] | None:
    """The form of what a test expects, or None where it is a JSON value or an exception."""
    if test.raises or '"$' not in test.expected:
        return None
    value = json.loads(test.expected)
    return value if isinstance(value, dict) and value.keys() in FORMS else None


def why_unscored(test: FunctionTest) -> str:
    """Why answers cannot be held against this, or nothing."""
    form = form_of(test) or {}
    return str(form.get(UNSCORED, ""))


def wants_types(test: FunctionTest) -> bool:
    """Whether the call is to say of what type its value is: where Python's equality decides."""
    return EQUALS in (form_of(test) or ())


def met(value: str, test: FunctionTest) -> bool:
    """Whether a value, as JSON from the sandbox, is what the test expects."""
    form = form_of(test)
    if form is None:
        return same_json(value, test.expected)
    try:
        found = json.loads(value)
        if EQUALS in form:
            return bool(untagged(found) == untagged(form[EQUALS]))
        return NEAR in form and _is_near(found, form)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return False


def shown(test: FunctionTest) -> str:
    """What a test expects as one short text: a JSON or Python value, a name of an exception."""
    form = form_of(test)
    if form is None:
        return test.raises or test.expected
    if EQUALS in form:
        return text_of(form[EQUALS])
    if BELOW in form:
        return f"{form[NEAR]} within {form[BELOW]}"
    if NEAR in form:
        return f"{form[NEAR]} within {form[RELATIVE]} of it or {form[WITHIN]}"
    return "what cannot be told"


def shown_value(value: str, test: FunctionTest) -> str:
    """A value from the sandbox as `shown` has the expected one."""
    if wants_types(test):
        try:
            return text_of(json.loads(value))
        except (ValueError, TypeError, RecursionError):
            return value
    return value


def _is_near(found: Any, form: dict[str, Any]) -> bool:
    if not isinstance(found, int | float):
        return False
    if BELOW in form:
        return bool(abs(found - form[NEAR]) < form[BELOW])
    return math.isclose(found, form[NEAR], rel_tol=form[RELATIVE], abs_tol=form[WITHIN])


def same_json(left: str, right: str) -> bool:
    """Whether two JSON texts hold the same value. Booleans are not numbers; NaN equals NaN; floats agree closely."""
    if left == right:
        return True
    try:
        return _same(json.loads(left), json.loads(right))
    except (ValueError, RecursionError):
        return False


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, float) or isinstance(right, float):
        return _same_number(left, right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(value, right[key]) for key, value in left.items())
    return type(left) is type(right) and bool(left == right)


def _same_number(left: Any, right: Any) -> bool:
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        return False
    try:
        both_missing = math.isnan(left) and math.isnan(right)
        return both_missing or math.isclose(left, right, rel_tol=RELATIVE_TOLERANCE)
    except OverflowError:  # an integer beyond every float
        return False
