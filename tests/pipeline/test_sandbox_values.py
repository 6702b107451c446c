"""Python values through JSON and back, and their text, for whatever values there are."""

from __future__ import annotations

import ast
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import FunctionTest
from pipeline.sandbox.typed import tagged, text_of, untagged
from pipeline.sandbox.values import equals, form_of, met, shown

hashable: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)
python_values: Any = st.recursive(
    hashable,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(hashable, inner, max_size=3), st.sets(hashable, max_size=3)
    ),
    max_leaves=10,
)
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(python_values)
def test_values_come_back_with_their_types(value: Any) -> None:
    written = json.dumps(tagged(value))
    assert repr_of(untagged(json.loads(written))) == repr_of(value)
    assert met(written, FunctionTest.of("f", expected=equals(value)))


def repr_of(value: Any) -> str:
    """`repr`, in which sets have an order."""
    return text_of(tagged(value))


@given(python_values)
def test_their_text_is_python(value: Any) -> None:
    text = text_of(json.loads(json.dumps(tagged(value))))
    assert ast.literal_eval(text) == value


@given(python_values, python_values)
def test_met_is_pythons_equality(left: Any, right: Any) -> None:
    assert met(json.dumps(tagged(left)), FunctionTest.of("f", expected=equals(right))) is (left == right)


@given(json_values)
def test_plain_json_is_no_form_and_is_shown_as_it_is(value: Any) -> None:
    test = FunctionTest.of("f", expected=value)
    assert form_of(test) is None and shown(test) == json.dumps(value) and met(json.dumps(value), test)
