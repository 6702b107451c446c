"""A judge of known error rate: what it says follows from truth, seed and question alone."""

import asyncio
import json

import pytest

from pipeline.failures import UserError
from pipeline.llm.base import Failure, Message, Reply, Request
from pipeline.llm.erring import Erring, Hidden, errs

QUESTIONS = [f"question {number}" for number in range(4000)]


def said(judge, hidden):
    request = Request((Message("user", "Which?"),), "", hidden.as_text() if hidden else "")
    return asyncio.run(judge.generate(request))


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 1.0])
def test_it_errs_as_often_as_it_is_told(rate):
    wrong = sum(errs(3, name, rate) for name in QUESTIONS)
    # Four standard deviations of a binomial share of 4,000.
    assert abs(wrong / len(QUESTIONS) - rate) <= 4 * (rate * (1 - rate) / len(QUESTIONS)) ** 0.5


def test_one_that_errs_more_often_errs_wherever_one_that_errs_less_does():
    less, more = ({name for name in QUESTIONS if errs(3, name, rate)} for rate in (0.1, 0.3))
    assert less < more
    assert less != {name for name in QUESTIONS if errs(4, name, 0.1)}


def test_it_says_the_right_or_the_wrong_reply():
    judge = Erring(0.2, 3)
    for name in QUESTIONS[:50]:
        reply = said(judge, Hidden(name, "right", "wrong"))
        assert isinstance(reply, Reply)
        assert reply.text == ("wrong" if errs(3, name, 0.2) else "right")
    assert judge.tally.replies == 50


def test_where_nobody_knows_there_is_a_failure_and_no_guess():
    assert said(Erring(0.0, 3), Hidden("q", why="it has no tests")) == Failure("no-truth", "it has no tests")


def test_a_stage_that_knows_nothing_cannot_use_it():
    with pytest.raises(UserError, match="known what is right"):
        said(Erring(0.0, 3), None)


def test_what_is_hidden_is_no_part_of_a_message_and_counts_in_the_cache():
    plain = Request((Message("user", "Which?"),))
    told = Request(plain.messages, "", Hidden("q", "right", "wrong").as_text())
    assert plain.key({}) != told.key({})
    assert "right" not in json.dumps([message.content for message in told.messages])
